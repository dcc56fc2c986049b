"""ONNX operators that are made of others, against onnxruntime, with operands known when the network runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright.errors import IRError, ModelError, ResourceError
from tilewright.ir import interp


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "image", "block", "attributes"),
    [
        ((2, 12, 20), [5, 6], [2, 2], {}),
        ((1, 18, 9), [6, 7], [3, 3], {"strides": [2, 2], "pads": [0, 0, 1, 0]}),
        ((2, 8, 12), [5, 7], [2, 2], {"dilations": [2, 3]}),
        ((2, 6, 5), [7], [3], {}),
        ((2, 12, 6), [4, 9], [2, 3], {"strides": [2, 3]}),
        ((1, 12, 6), [5, 9], [2, 3], {"strides": [2, 3]}),
        ((1, 4, 6), [4, 3, *[1] * 6], [2, *[1] * 7], {"strides": [2, *[1] * 7]}),
    ],
)
def test_col2im(shape: tuple[int, ...], image: list, block: list, attributes: dict, rng: np.random.Generator) -> None:
    x = [floats(rng, *shape), np.array(image), np.array(block)]
    assert_imports_like_onnxruntime(node_model("Col2Im", x, constants=(1, 2), **attributes), x)


def test_blocks_that_are_not_those_of_the_image(rng: np.random.Generator) -> None:
    x = [floats(rng, 2, 12, 21), np.array([5, 6]), np.array([2, 2])]
    with pytest.raises(IRError, match=r"x does not fit; expected \[N, C \* 4, 20\]"):
        import_checked(node_model("Col2Im", x, constants=(1, 2)))


@pytest.mark.parametrize(("batch", "time"), [(1, 0), (0, 2), (2, 1)])
def test_reverse_sequence(batch: int, time: int, rng: np.random.Generator) -> None:
    # onnxruntime knows sequences along the first two dimensions only.
    x, lengths = floats(rng, 4, 4, 4), np.array([4, 1, 3, 2])
    model = node_model("ReverseSequence", [x, lengths], batch_axis=batch, time_axis=time)
    (found,) = interp.run(import_checked(model), {"x0": x, "x1": lengths}).values()
    moved = np.moveaxis(x, (batch, time), (0, 1)).copy()
    for sequence, length in zip(moved, lengths, strict=True):
        sequence[:length] = sequence[:length][::-1].copy()
    np.testing.assert_array_equal(found, np.moveaxis(moved, (0, 1), (batch, time)))


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [-2, 1])
def test_tensor_scatter(mode: str, axis: int, rng: np.random.Generator) -> None:
    cache, update = floats(rng, 3, 6, 6, 2), floats(rng, *((3, 2, 6, 2) if axis == 1 else (3, 6, 2, 2)))
    inputs = [cache, update, np.array([0, 4, 5 if mode == "circular" else 3])]
    model = node_model("TensorScatter", inputs, opset=24, mode=mode, axis=axis)
    (found,) = interp.run(import_checked(model), {f"x{i}": array for i, array in enumerate(inputs)}).values()
    expected = np.moveaxis(cache, axis, 1).copy()
    for sample, start in enumerate(inputs[2]):
        for step in range(2):
            expected[sample, (start + step) % 6] = np.moveaxis(update, axis, 1)[sample, step]
    np.testing.assert_array_equal(found, np.moveaxis(expected, 1, axis))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 1], "pads": [1, 0, 1, 2]},
        {"group": 2, "offset_group": 2, "pads": [1, 1, 1, 1]},
        {"dilations": [2, 1], "offset_group": 4, "pads": [1, 1, 1, 1]},
    ],
)
@pytest.mark.parametrize("is_whole", [False, True])
def test_deform_conv(attributes: dict[str, Any], is_whole: bool, rng: np.random.Generator) -> None:
    apart, group = attributes.get("offset_group", 1), attributes.get("group", 1)
    x, w = floats(rng, 2, 4, 6, 7), floats(rng, 6, 4 // group, 3, 2)
    pads, dilation = attributes.get("pads", [0] * 4), attributes.get("dilations", [1, 1])
    strides = attributes.get("strides", [1, 1])
    places = [(6, 7)[d] + pads[d] + pads[2 + d] - dilation[d] * ((3, 2)[d] - 1) - 1 for d in range(2)]
    result = [place // stride + 1 for place, stride in zip(places, strides, strict=True)]
    inputs = [x, w, floats(rng, 2, apart * 12, *result)]
    inputs += [floats(rng, 6), floats(rng, 2, apart * 6, *result)] if is_whole else []
    assert_imports_like_onnxruntime(node_model("DeformConv", inputs, **attributes), inputs)


@pytest.mark.parametrize("size", [(1, 3, 4, 5), (3, 2, 5, 2), (1, 1, 2, 3, 4), (2, 1, 3, 3, 2)])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_affine_grid(size: tuple[int, ...], align_corners: int, rng: np.random.Generator) -> None:
    """Of a batch of one as well, whose dimension the function of the standard squeezes away."""
    rank = len(size) - 2
    inputs = [floats(rng, size[0], rank, rank + 1), np.array(size)]
    model = node_model("AffineGrid", inputs, opset=20, constants=(1,), align_corners=align_corners)
    module = assert_imports_like_onnxruntime(model, inputs)
    assert sum(constant.array.nbytes for constant in module.constants.values()) < 4 * sum((*size, 16))
    theta = [inputs[0][:, 1:], inputs[1]]
    with pytest.raises(ModelError, match="theta and the size do not fit"):
        import_checked(node_model("AffineGrid", theta, opset=20, constants=(1,)))


def test_max_unpool_puts_elements_where_max_pool_found_them(rng: np.random.Generator) -> None:
    x = floats(rng, 2, 3, 4, 6)
    pool = node_model("MaxPool", [x], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    assert_imports_like_onnxruntime(pool, [x])
    found = interp.run(import_checked(pool), {"x0": x})
    inputs = [found["y0"], found["y1"]]
    module = assert_imports_like_onnxruntime(
        node_model("MaxUnpool", inputs, kernel_shape=[2, 2], strides=[2, 2]), inputs
    )
    (y,) = interp.run(module, {"x0": inputs[0], "x1": inputs[1]}).values()
    assert (y == np.where(y != 0, x, 0)).all()
    assert np.count_nonzero(y) == inputs[0].size
    matlab = import_checked(
        node_model("MaxUnpool", [*inputs, np.array(x.shape)], domain="com.mathworks", constants=[2])
    )
    np.testing.assert_array_equal(interp.run(matlab, {"x0": inputs[0], "x1": inputs[1]})["y0"], y)
    with pytest.raises(ModelError, match="indices, shape and x do not fit"):
        import_checked(node_model("MaxUnpool", [*inputs, np.array([4])], domain="com.mathworks", constants=[2]))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(
    "attributes", [{}, {"exclude_outside": 1}, {"coordinate_transformation_mode": "align_corners"}]
)
@pytest.mark.parametrize("sizes", [[1, 2, 3, 4], [1, 2, 24, 18]])
def test_antialiased_resize(mode: str, attributes: dict[str, Any], sizes: list[int], rng: np.random.Generator) -> None:
    x = [floats(rng, 1, 2, 20, 26), None, None, np.array(sizes)]
    model = node_model("Resize", x, constants=(3,), mode=mode, antialias=1, **attributes)
    assert_imports_like_onnxruntime(model, x)


def test_dimensions_that_are_too_long_for_antialiasing() -> None:
    x = [np.broadcast_to(np.float32(0), (1, 1, 2**31 - 1, 1)), None, None, np.array([1, 1, 7, 1])]
    with pytest.raises(ResourceError, match="a dimension is too long to be resampled; expected at most 2097152"):
        import_checked(node_model("Resize", x, constants=(3,), mode="linear", antialias=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("sizes", [[1, 2, 14, 18], [1, 2, 28, 9]])
def test_what_lies_between_integers_loses_its_fraction(dtype: type, sizes: list[int], rng: np.random.Generator) -> None:
    x = [rng.integers(*(0, 256) if dtype is np.uint8 else (-128, 128), (1, 2, 7, 9)).astype(dtype), None, None]
    # Weights of quarters and eighths are exact, whatever the order of the sums.
    model = node_model("Resize", [*x, np.array(sizes)], constants=(3,), mode="linear")
    assert_imports_like_onnxruntime(model, x)


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("skips", [0, 1, 9])
@pytest.mark.parametrize("lengths", [(1, 1), (2, 2), (1, 3)])
def test_tf_idf(mode: str, skips: int, lengths: tuple[int, int], rng: np.random.Generator) -> None:
    x = rng.integers(0, 3, (2, 8)).astype(np.int32)
    attributes = {
        "pool_int64s": [0, 2, 0, 1, 1, 1, 2, 0, 0, 1, 2],
        "ngram_counts": [0, 2, 8],
        "ngram_indexes": [4, 0, 2, 3, 1, 6],
        "weights": [0.5, 2.0, 3.0, 0.25, 1.0, 7.0],
    }
    low, high = lengths
    model = node_model(
        "TfIdfVectorizer",
        [x],
        mode=mode,
        min_gram_length=low,
        max_gram_length=high,
        max_skip_count=skips,
        **attributes,
    )
    assert_imports_like_onnxruntime(model, [x])
