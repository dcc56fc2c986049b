"""Layers of IR v10 and v11 that move elements, by place or by index: what NumPy makes of the same words."""

from __future__ import annotations

import numpy as np
import pytest
from opset_documents import computed, document_of, known

from tilewright.compiler.frontend.formats import import_model
from tilewright.errors import TilewrightError

X = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


def check(found: list[np.ndarray], *expected: np.ndarray) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("special", "wanted", "shape"),
    [(True, (0, -1), (2, 12)), (True, (0, 0, 2, -1), (2, 3, 2, 2)), (False, (-1, 8), (3, 8))],
)
def test_reshape(special: bool, wanted: tuple[int, ...], shape: tuple[int, ...]) -> None:
    check(computed("Reshape", [X, known(wanted)], [shape], special_zero=special), X.reshape(shape))


@pytest.mark.parametrize(
    ("mode", "x", "target", "axes", "expected"),
    [
        ("numpy", X[:1], (5, 2, 3, 4), None, np.broadcast_to(X[:1], (5, 2, 3, 4))),
        ("bidirectional", X, (1, 4), None, X),
        ("bidirectional", X[:1, :1], (3, 1), None, np.broadcast_to(X[:1, :1], (1, 3, 4))),
        ("explicit", X[0, :, 0], (2, 3, 4), (1,), np.broadcast_to(X[0, :, :1], (2, 3, 4))),
    ],
)
def test_broadcast(
    mode: str, x: np.ndarray, target: tuple[int, ...], axes: tuple[int, ...] | None, expected: np.ndarray
) -> None:
    inputs = [x, known(target), *([known(axes)] if axes is not None else [])]
    check(computed("Broadcast", inputs, [expected.shape], opset=3, mode=mode), expected)


STRIDED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, tuple[int, ...]], np.ndarray]] = [
    ((1, 0), (2, 2), {"begin_mask": (0, 1), "end_mask": (1, 0)}, X[1:, :2]),
    ((0, -1, 1), (0, 0, 3), {"shrink_axis_mask": (0, 1, 0), "begin_mask": (1,), "end_mask": (1,)}, X[:, -1, 1:3]),
    ((0, 1), (0, 3), {"ellipsis_mask": (1, 0)}, X[..., 1:3]),
    ((0, 0, 1), (0, 0, 2), {"new_axis_mask": (0, 1), "begin_mask": (1,), "end_mask": (1,)}, X[:, None, 1:2]),
    ((0, 0, 2), (0, 0, 3), {"ellipsis_mask": (0, 1), "shrink_axis_mask": (1, 0, 1)}, X[0, ..., 2]),
]


@pytest.mark.parametrize(("begin", "end", "masks", "expected"), STRIDED)
def test_strided_slice(
    begin: tuple[int, ...], end: tuple[int, ...], masks: dict[str, tuple[int, ...]], expected: np.ndarray
) -> None:
    check(
        computed("StridedSlice", [X, known(begin), known(end)], [expected.shape], opset=1, element="f32", **masks),
        expected,
    )


def test_strides_go_backwards() -> None:
    inputs = [X, known((-1, 2)), known((0, 0)), known((-1, -2))]
    expected = X[::-1, 2::-2]
    check(computed("StridedSlice", inputs, [expected.shape], begin_mask=(0, 0), end_mask=(1, 1)), expected)


def test_splits() -> None:
    inputs = [X, known(-1), known((1, -1))]
    check(computed("VariadicSplit", inputs, [(2, 3, 1), (2, 3, 3)]), X[..., :1], X[..., 1:])
    check(computed("Split", [X, known(1)], [(2, 1, 4)] * 3, num_splits=3), X[:, :1], X[:, 1:2], X[:, 2:])


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_pad(mode: str) -> None:
    before, after = (0, 2, 1), (1, 0, 3)
    expected = np.pad(X, tuple(zip(before, after, strict=True)), mode=mode)  # pyright: ignore[reportArgumentType, reportCallIssue]
    check(computed("Pad", [X, known(before), known(after)], [expected.shape], pad_mode=mode), expected)


def test_pads_that_remove() -> None:
    found = computed("Pad", [X, known((0, -1, 2)), known((0, 0, -1))], [(2, 2, 5)], opset=12, pad_mode="constant")
    check(found, np.pad(X[:, 1:, :-1], ((0, 0), (0, 0), (2, 0))))


def test_roll_reverse_and_shuffle() -> None:
    check(computed("Roll", [X, known((1, -3)), known((1, -1))], [X.shape], opset=7), np.roll(X, (1, -3), (1, -1)))
    check(computed("Reverse", [X, known((1, -1))], [X.shape], mode="index"), X[:, ::-1, ::-1])
    groups = X.reshape(1, 6, 4)
    shuffled = groups.reshape(1, 3, 2, 4).transpose(0, 2, 1, 3).reshape(1, 6, 4)
    check(
        computed(
            "ShuffleChannels",
            [
                groups,
            ],
            [(1, 6, 4)],
            axis=1,
            group=3,
        ),
        shuffled,
    )
    sequences = computed("ReverseSequence", [X, known((1, 3))], [X.shape], batch_axis=0, seq_axis=1)
    check(sequences, np.stack([X[0], X[1, ::-1]]))


@pytest.mark.parametrize("mode", ["blocks_first", "depth_first"])
@pytest.mark.parametrize("spatial", [(3,), (2, 3), (1, 2, 3)])
def test_depth_and_space_are_inverse(mode: str, spatial: tuple[int, ...]) -> None:
    deep = np.arange(2 * 3 * 2 ** len(spatial) * np.prod(spatial), dtype=np.float32)
    deep = deep.reshape(2, 3 * 2 ** len(spatial), *spatial)
    wide_shape = (2, 3, *(2 * extent for extent in spatial))
    (wide,) = computed("DepthToSpace", [deep], [wide_shape], mode=mode, block_size=2)
    # A block of the first pixel holds what its channels hold.
    channels = deep[(0, slice(None), *(0,) * len(spatial))]
    per_depth = channels.reshape(-1, 3).T if mode == "blocks_first" else channels.reshape(3, -1)
    block = wide[(0, slice(None), *(slice(0, 2),) * len(spatial))]
    np.testing.assert_array_equal(block.reshape(3, -1), per_depth)
    check(computed("SpaceToDepth", [wide], [deep.shape], mode=mode, block_size=2), deep)


def test_batches_of_blocks() -> None:
    blocks, none = known((1, 2, 2)), known((0, 0, 0))
    inputs = [X, blocks, known((0, 1, 0)), none]
    (parts,) = computed("SpaceToBatch", inputs, [(8, 2, 2)], opset=2)
    padded = np.pad(X, ((0, 0), (1, 0), (0, 0)))
    np.testing.assert_array_equal(parts, np.concatenate([padded[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]))
    check(computed("BatchToSpace", [parts, blocks, known((0, 1, 0)), none], [X.shape], opset=2), X)


def test_gather_with_batches() -> None:
    indices = np.array([[0, -1, 2], [3, 1, 1]], np.int32)
    expected = np.stack([X[b][:, indices[b]] for b in range(2)])
    check(computed("Gather", [X, indices, known(2)], [expected.shape], opset=8, batch_dims=1), expected)


def test_batches_of_gather_nd_were_one_dimension_before_version_8() -> None:
    indices = np.array([[[0], [1], [3]], [[2], [2], [0]]])
    expected = np.take_along_axis(X, indices, 2)[..., 0]
    check(computed("GatherND", [X, indices], [(6,)], opset=5, batch_dims=2), expected.reshape(6))
    check(computed("GatherND", [X, indices], [(2, 3)], opset=8, batch_dims=2), expected)


def test_scatters() -> None:
    updates = -np.ones((2, 2, 4), np.float32)
    expected = X.copy()
    expected[:, [2, 0]] = updates
    check(computed("ScatterUpdate", [X, known((2, 0)), updates, known(1)], [X.shape], opset=3), expected)
    points, less = np.array([[0, 1], [1, 2], [0, 1]]), np.full((3, 4), 2, np.float32)
    expected = X.copy()
    np.subtract.at(expected, (points[:, 0], points[:, 1]), less)
    check(computed("ScatterNDUpdate", [X, points, less], [X.shape], opset=15, reduction="sub"), expected)


@pytest.mark.parametrize("mode", ["ignore_negative", "normalize"])
def test_one_hot(mode: str) -> None:
    indices = np.array([0, 2, -1, 5])
    inputs = [indices, known(3), known(7), known(-1)]
    expected = np.full((4, 3), -1)
    expected[0, 0] = expected[1, 2] = 7
    if mode == "normalize":
        expected[2, 2] = 7
    found = computed("OneHot", inputs, [(4, 3)], opset=16, element="i64", axis=-1, negative_indices_mode=mode)
    check(found, expected)


def test_numbers_that_are_known() -> None:
    check(
        computed("Range", [known(2), known(9), known(3)], [(3,)], opset=4, output_type="f32"),
        np.array([2, 5, 8], np.float32),
    )
    check(computed("ShapeOf", [X], [(3,)], opset=3, output_type="i32"), np.array([2, 3, 4], np.int32))
    check(computed("NonZero", [known((0, 5, 0, 7))], [(1, 2)], opset=3, output_type="i64"), np.array([[1, 3]]))
    inputs = [known(2), known(3), known(1)]
    check(computed("Eye", inputs, [(2, 3)], opset=9, output_type="f32"), np.eye(2, 3, 1, np.float32))


WRONG = {
    "splits": (document_of("Split", [X, known(1)], [(2, 1, 4)] * 2, num_splits=2), "does not split into these parts"),
    "masks": (
        document_of("StridedSlice", [X, known((0, 0)), known((1, 1))], [(1,)], begin_mask=(1,), ellipsis_mask=(1, 1)),
        "there can be one ellipsis",
    ),
    "begins": (
        document_of("StridedSlice", [X, known((0,) * 4), known((1,) * 4)], [(1,)], begin_mask=(1,)),
        "there are more begins than dimensions",
    ),
    "mode": (document_of("Broadcast", [X, known((1,))], [(1,)], opset=3, mode="pdpd"), "the mode is not supported"),
    "reduction": (
        document_of("ScatterNDUpdate", [X, np.array([[0]]), X[:1]], [X.shape], opset=15, reduction="mean"),
        "the reduction is not supported",
    ),
    "shape": (
        document_of("Reshape", [X, np.array([24])], [(24,)], special_zero=False),
        "must be known at compile time",
    ),
    "batch": (
        document_of("Gather", [X, np.array([[1]]), known(2)], [X.shape], opset=8, batch_dims=1),
        "do not share the batch dimensions",
    ),
    "blocks": (document_of("DepthToSpace", [X], [X.shape], mode="rows_first", block_size=2), "unknown mode"),
}


@pytest.mark.parametrize("name", WRONG)
def test_layers_that_are_wrong(name: str) -> None:
    document, message = WRONG[name]
    with pytest.raises(TilewrightError, match=message) as caught:
        import_model(document)
    assert caught.value.node == "layer"
