"""Layers of IR of versions 2 to 7 that shape, move, pick and reduce elements, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from legacy_ir import LegacyIr
from legacy_layer_runs import imported, layer_network, run_layer, run_node

from tilewright.errors import ModelError, TilewrightError, UnsupportedError
from tilewright.ir import interp

RNG = np.random.default_rng(13)
X = RNG.standard_normal((2, 6, 4, 5)).astype(np.float32)


def i32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


MOVES: list[tuple[str, dict[str, object], list[np.ndarray], np.ndarray]] = [
    ("Reshape", {"dim": "0,-1"}, [], X.reshape(2, -1)),
    ("Reshape", {"dim": "2,3,-1,5", "axis": "0", "num_axes": "-1"}, [], X.reshape(2, 3, 8, 5)),
    ("Reshape", {"dim": "3,2", "axis": "1", "num_axes": "1"}, [], X.reshape(2, 3, 2, 4, 5)),
    ("Reshape", {"dim": "-1", "axis": "2"}, [], X.reshape(2, 6, 20)),
    ("Reshape", {"dim": "0,2,-1", "axis": "1"}, [], X.reshape(2, 6, 2, 10)),
    ("Reshape", {"dim": "1,1", "axis": "-1", "num_axes": "0"}, [], X.reshape(2, 6, 4, 5, 1, 1)),
    ("Reshape", {}, [], X.reshape(2, 120)),
    ("Reshape", {}, [np.array([0, 3, -1])], X.reshape(2, 3, 40)),
    ("Flatten", {}, [], X.reshape(2, 120)),
    ("Flatten", {"axis": "1", "end_axis": "2"}, [], X.reshape(2, 24, 5)),
    ("Flatten", {"axis": "-2", "end_axis": "-1"}, [], X.reshape(2, 6, 20)),
    ("Permute", {"order": "0,2,3,1"}, [], X.transpose(0, 2, 3, 1)),
    ("Unsqueeze", {}, [i32(0, 2)], X.reshape(1, 2, 1, 6, 4, 5)),
    ("Tile", {"axis": "1", "tiles": "3"}, [], np.tile(X, (1, 3, 1, 1))),
    ("Crop", {"axis": "2,3", "offset": "1,2", "dim": "2,3"}, [], X[:, :, 1:3, 2:5]),
    ("Crop", {"axis": "2", "crop_begin": "1", "crop_end": "2"}, [], X[:, :, 1:2]),
    ("Crop", {"axis": "2,3", "offset": "2,0"}, [X[:, :, :2, :3]], X[:, :, 2:, :3]),
    ("Pad", {"pads_begin": "0,1,0,2", "pads_end": "0,0,1,0", "pad_mode": "constant", "pad_value": "1.5"}, [],
        np.pad(X, ((0, 0), (1, 0), (0, 1), (2, 0)), constant_values=1.5)),
    ("Pad", {"pads_begin": "0,0,1,1", "pads_end": "0,0,1,1", "pad_mode": "symmetric"}, [],
        np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="symmetric")),
    ("Pad", {"pads_begin": "0,0,1,1", "pads_end": "0,0,1,1", "pad_mode": "reflect"}, [],
        np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")),
    ("ShuffleChannels", {"axis": "1", "group": "3"}, [],
        X.reshape(2, 3, 2, 4, 5).transpose(0, 2, 1, 3, 4).reshape(X.shape)),
    ("ReverseSequence", {"seq_axis": "1", "batch_axis": "0"}, [i32(2, 6)],
        np.stack([np.concatenate([X[0, 1::-1], X[0, 2:]]), X[1, ::-1]])),
    ("StridedSlice", {"begin_mask": "1,1,1,1", "end_mask": "1,0,1,1"},
        [i32(0, 1, 0, 4), i32(1, 2, 4, -6), i32(1, 2, 3, -1)],
        X[0:1, 1::2, 0:4:3, ::-1]),
    ("StridedSlice", {"begin_mask": "", "shrink_axis_mask": "1,0", "new_axis_mask": "0,1"}, [i32(1, 0), i32(2, 0)],
        X[1][None]),
    ("Broadcast", {}, [i32(3, 2, 6, 4, 5)], np.broadcast_to(X, (3, 2, 6, 4, 5))),
    ("Gather", {"axis": "1"}, [i32(5, 0, 5)], X[:, [5, 0, 5]]),
    ("Gather", {}, [np.array([1.0, 0.0], np.float32)], X[::-1]),
    ("Copy", {}, [], X),
    ("ReduceSum", {}, [i32(1, -1)], X.sum((1, 3), keepdims=True)),
    ("ReduceMean", {"keep_dims": "False"}, [i32(2)], X.mean(2)),
    ("ReduceMax", {"keep_dims": "1"}, [i32(2, 3)], X.max((2, 3), keepdims=True)),
    ("ReduceMin", {"keep_dims": "0"}, [i32(1)], X.min(1)),
    ("ReduceProd", {"keep_dims": "0"}, [i32(1)], X.prod(1)),
    ("ReduceL1", {"keep_dims": "0"}, [i32(1)], np.abs(X).sum(1)),
    ("ReduceL2", {"keep_dims": "0"}, [i32(1)], np.sqrt(np.square(X).sum(1))),
    ("ReduceSumSquare", {"keep_dims": "0"}, [i32(1)], np.square(X).sum(1)),
    ("ReduceLogSumExp", {"keep_dims": "0"}, [i32(1)], np.log(np.exp(X).sum(1))),
]  # fmt: skip


@pytest.mark.parametrize("case", MOVES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_layers_with_constants(case: tuple[str, dict[str, object], list[np.ndarray], np.ndarray]) -> None:
    type, attributes, further, expected = case
    constants = () if type == "Crop" else range(1, 1 + len(further))
    found = run_layer(type, [X, *further], [expected.shape], attributes, version=6, constants=tuple(constants))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_squeeze() -> None:
    x = X[:, :1, :, :1]
    np.testing.assert_array_equal(run_layer("Squeeze", [x, i32(1)], [(2, 4, 1)], version=6, constants=(1,)), x[:, 0])
    np.testing.assert_array_equal(run_layer("Squeeze", [x], [(2, 4)], version=6), x[:, 0, :, 0])


@pytest.mark.parametrize("type", ["Split", "Slice"])
def test_split(type: str) -> None:
    shapes = [(2, 6, 1, 5), (2, 6, 3, 5)]
    found = run_layer(type, [X], shapes, {"axis": "2"})
    for part, expected in zip(found, (X[:, :, :1], X[:, :, 1:]), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_equal_parts_follow_another_input() -> None:
    module = imported(layer_network("Split", [X], [(2, 3, 4, 5)] * 2), {"x0": (1, 8, 3, 5)})
    assert [value.type.shape for value in module.main.results] == [(1, 4, 3, 5)] * 2


def test_concat() -> None:
    parts = [X, X[:, :2], X[:, 3:]]
    np.testing.assert_array_equal(run_layer("Concat", parts, [(2, 11, 4, 5)]), np.concatenate(parts, 1))
    np.testing.assert_array_equal(
        run_layer("Concat", [X, X], [(2, 6, 4, 10)], {"axis": "-1"}), np.concatenate([X, X], 3)
    )


def test_blocks() -> None:
    x = RNG.standard_normal((2, 8, 4, 6)).astype(np.float32)
    expected = run_node("DepthToSpace", [x], blocksize=2, mode="DCR")
    np.testing.assert_array_equal(run_layer("DepthToSpace", [x], [expected.shape], {"block_size": "2"}), expected)
    expected = run_node("SpaceToDepth", [x], blocksize=2)
    np.testing.assert_array_equal(run_layer("SpaceToDepth", [x], [expected.shape], {"block_size": "2"}), expected)


def test_constants() -> None:
    net = LegacyIr("sample", 6)
    (x,) = [net.input("x", (4,))]
    start, stop, step = (
        net.layer("Const", name, [], [()], None, {"custom": np.array([value], np.int32)}, "I32")[0]
        for name, value in (("start", 5), ("stop", -2), ("step", -2))
    )
    (numbers,) = net.layer("Range", "numbers", [start, stop, step], [(4,)], precision="I32")
    (extents,) = net.layer("Const", "extents", [], [(1,)], None, {"custom": np.array([4], np.int64)}, "I64")
    (value,) = net.layer("Const", "value", [], [()], None, {"custom": np.array([0.5], np.float32)})
    (filled,) = net.layer("Fill", "filled", [extents, value], [(4,)])
    (total,) = net.layer("Eltwise", "total", [x, numbers], [(4,)], {"operation": "sum"})
    net.layer("Eltwise", "y", [total, filled], [(4,)], {"operation": "mul"})
    found = interp.run(imported(net), {"x": np.ones(4, np.float32)})["y"]
    np.testing.assert_array_equal(found, [3, 2, 1, 0])


def test_one_hot() -> None:
    attributes = {"depth": "4", "on_value": "2", "off_value": "-1", "axis": "1"}
    found = run_layer("OneHot", [i32(0, 3, 1)], [(3, 4)], attributes, version=6)
    np.testing.assert_array_equal(found, np.where(np.eye(4)[[0, 3, 1]] == 1, 2, -1).astype(np.float32))


def test_scatter_update() -> None:
    indices, updates = i32(3, 0), -X[:, :2]
    expected = X.copy()
    expected[:, [3, 0]] = updates
    found = run_layer("ScatterUpdate", [X, indices, updates], [X.shape], {"axis": "1"}, version=7)
    np.testing.assert_array_equal(found, expected)
    matrix, places = X[0, 0], RNG.integers(0, 4, (2, 5)).astype(np.int32)
    expected = matrix.copy()
    np.put_along_axis(expected, places, matrix[:2] + 1, 0)
    found = run_layer("ScatterUpdate", [matrix, places, matrix[:2] + 1], [(4, 5)], {"axis": "0"}, version=7)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("type", "function"), [("ReduceAnd", np.all), ("ReduceOr", np.any)])
def test_reductions_of_truth_values(type: str, function: Any) -> None:
    x = (X > -0.5).astype(np.float32)
    found = run_layer(type, [x, i32(3)], [(2, 6, 4)], {"keep_dims": "0"}, version=6, constants=(1,))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, function(x != 0, 3).astype(np.float32))


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("sort", ["value", "index"])
def test_top_k(mode: str, sort: str) -> None:
    order = np.argsort(-X if mode == "max" else X, 1, kind="stable")[:, :3]
    order = np.sort(order, 1) if sort == "index" else order
    attributes = {"axis": "1", "mode": mode, "sort": sort}
    shapes = [(2, 3, 4, 5)] * 2
    values, indices = run_layer("TopK", [X, i32(3)], shapes, attributes, version=7, constants=(1,), precision="I32")
    np.testing.assert_array_equal(values, np.take_along_axis(X, order, 1))
    np.testing.assert_array_equal(indices, order)
    assert indices.dtype == np.int32


def test_arg_max() -> None:
    best = np.argsort(-X.reshape(2, -1), 1, kind="stable")[:, None, :2]
    found = run_layer("ArgMax", [X], [(2, 1, 2, 1)], {"top_k": "2"})
    np.testing.assert_array_equal(found, best[..., None].astype(np.float32))
    found = run_layer("ArgMax", [X], [(2, 2, 2)], {"top_k": "2", "out_max_val": "1"})
    np.testing.assert_array_equal(found[:, :1], best)
    np.testing.assert_array_equal(found[:, 1], np.take_along_axis(X.reshape(2, -1), best[:, 0], 1))
    found = run_layer("ArgMax", [X], [(2, 1, 4, 5)], {"axis": "1"})
    np.testing.assert_array_equal(found, X.argmax(1, keepdims=True).astype(np.float32))


WRONG: list[tuple[str, dict[str, object], list[np.ndarray], type[Exception], str]] = [
    ("Reshape", {"dim": "2,50"}, [], ModelError, r"does not hold the elements of the input; .*Only 0 and -1 follow"),
    ("Reshape", {"dim": "-1,-1"}, [], ModelError, r"only one extent may be left open"),
    ("Reshape", {"dim": "7,-1"}, [], ModelError, r"x does not divide into the shape"),
    ("Reshape", {"dim": "-1", "axis": "3", "num_axes": "2"}, [], ModelError, r"axis and num_axes leave the input"),
    ("Flatten", {"axis": "2", "end_axis": "1"}, [], ModelError, r"axis is behind end_axis; found 2 and 1"),
    ("Permute", {"order": "0,1"}, [], TilewrightError, r"perm is no permutation of the dimensions"),
    ("Permute", {}, [], ModelError, r"attribute 'order' is missing"),
    (
        "Crop",
        {"axis": "2", "offset": "3", "dim": "2"},
        [],
        ModelError,
        r"leaves dimension 2; expected within 4",
    ),
    (
        "Crop",
        {"axis": "2,3", "offset": "0,0", "dim": "2"},
        [],
        ModelError,
        r"different lengths; found 2, 2 and 1",
    ),
    ("Crop", {"axis": "2,2", "offset": "0,0", "dim": "2,2"}, [], ModelError, r"an axis is given twice"),
    ("Pad", {"pads_begin": "1", "pads_end": "1"}, [], ModelError, r"the pads need one number a dimension; expected 4"),
    ("Split", {"axis": "1"}, [], ModelError, r"mismatch of dimensions.*found \[2, 6, 4, 5\]"),
    ("Concat", {"axis": "9"}, [], ModelError, r"the axis is out of range; expected -4 to 3, found 9"),
    ("ShuffleChannels", {"group": "4"}, [], ModelError, r"the channels do not split into groups"),
    ("Tile", {"axis": "1", "tiles": "-1"}, [], TilewrightError, r"repeats needs one number from 0"),
    ("ReduceSum", {}, [], ModelError, r"input 1 is missing"),
    ("TopK", {"mode": "most"}, [i32(1)], ModelError, r"unknown selection; expected one k; max or min"),
    ("StridedSlice", {}, [i32(0), i32(1, 2)], ModelError, r"begins, ends and strides have different lengths"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}-{case[1]}")
def test_wrong_layers(case: tuple[str, dict[str, object], list[np.ndarray], type[Exception], str]) -> None:
    type, attributes, further, error, message = case
    constants = tuple(range(1, 1 + len(further)))
    with pytest.raises(error, match=message):
        imported(
            layer_network(
                type,
                [X, *further],
                [(1, 1)] if type != "Split" else [(2, 1, 4, 5)],
                attributes,
                version=6,
                constants=constants,
            )
        )


def test_a_shape_that_fixes_the_batch_refuses_another() -> None:
    for attributes in ({"dim": "2,-1"}, {"dim": "2,120"}):
        net = layer_network("Reshape", [X], [(2, 120)], attributes)
        assert imported(net).main.results[0].type.shape == (2, 120)
        with pytest.raises(ModelError, match=r"Reshape.*'y'.*the shape fixes the batch; expected a batch of 2, found"):
            imported(net, {"x0": (4, 6, 4, 5)})


def test_a_shape_with_an_open_batch_follows_it() -> None:
    for attributes in ({"dim": "0,-1"}, {"dim": "-1,120"}):
        net = layer_network("Reshape", [X], [(2, 120)], attributes)
        assert imported(net, {"x0": (4, 6, 4, 5)}).main.results[0].type.shape == (4, 120)


def test_fully_connected_layers_refuse_another_picture() -> None:
    w = RNG.standard_normal((3, 120)).astype(np.float32)
    net = layer_network("FullyConnected", [X], [(2, 3)], {"out-size": "3"}, {"weights": w})
    assert imported(net, {"x0": (5, 6, 4, 5)}).main.results[0].type.shape == (5, 3)
    with pytest.raises(ModelError, match=r"the weights do not fill their shape; expected 432 .*found 360"):
        imported(net, {"x0": (2, 6, 4, 6)})


def test_lengths_must_be_known() -> None:
    net = layer_network("ReverseSequence", [X, i32(1, 1)], [X.shape], version=6)
    with pytest.raises(UnsupportedError, match=r"lengths must be known at compile time"):
        imported(net)
