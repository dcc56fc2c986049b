"""QLinearConv and QLinearMatMul: one operator on quantised types, or integers and their computed scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, node_model
from random_seeds import in_turn

import tilewright
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import ModelError
from tilewright.ir import interp
from tilewright.ir.verify import verify

Arrays = Sequence[np.ndarray | None]


def scalar(value: float, dtype: Any = np.float32) -> np.ndarray:
    return np.asarray(value, dtype)


def integers(rng: np.random.Generator, dtype: Any, shape: Sequence[int]) -> np.ndarray:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, tuple(shape), endpoint=True).astype(dtype)


def weights(rng: np.random.Generator, dtype: Any, shape: Sequence[int]) -> np.ndarray:
    """Small enough that no processor saturates the sum of two products, as x86 without VNNI does in onnxruntime."""
    return rng.integers(0 if dtype is np.uint8 else -64, 64, tuple(shape), endpoint=True).astype(dtype)


DTYPES = [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]


def convolution(rng: np.random.Generator, dtypes: tuple[Any, Any], is_per_channel: bool, spatial: int) -> Arrays:
    x_dtype, w_dtype = dtypes
    extents, taps = (6, 5, 4)[:spatial], (3,) * spatial
    zero_w = 3 if w_dtype is np.uint8 else 0
    return (
        integers(rng, x_dtype, (1, 3, *extents)),
        scalar(0.04),
        scalar(9, x_dtype),
        weights(rng, w_dtype, (5, 3, *taps)),
        rng.uniform(0.001, 0.01, 5).astype(np.float32) if is_per_channel else scalar(0.007),
        np.full(5, zero_w, w_dtype) if is_per_channel else scalar(zero_w, w_dtype),
        scalar(0.05),
        scalar(100, x_dtype),
        rng.integers(-5000, 5000, 5).astype(np.int32),
    )


def product(rng: np.random.Generator, dtypes: tuple[Any, Any], is_per_column: bool) -> Arrays:
    x_dtype, w_dtype = dtypes
    return (
        integers(rng, x_dtype, (3, 4, 17)),
        scalar(0.04),
        scalar(9, x_dtype),
        weights(rng, w_dtype, (17, 5)),
        rng.uniform(0.001, 0.01, 5).astype(np.float32) if is_per_column else scalar(0.01),
        rng.integers(0, 9, 5).astype(w_dtype) if is_per_column else scalar(3, w_dtype),
        scalar(0.07),
        scalar(77, x_dtype),
    )


def check(op_type: str, arrays: Arrays, known: Sequence[int], **attributes: Any) -> list[str]:
    """Compare reference and kernels with onnxruntime; the operators that were imported."""
    model = node_model(op_type, arrays, constants=known, **attributes)
    fed = {f"x{i}": array for i, array in enumerate(arrays) if array is not None and i not in known}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, fed)[0])
    module = import_onnx(model)
    verify(module)
    np.testing.assert_array_equal(interp.run(module, fed)["y0"], expected)
    artifact = tilewright.compile(model.SerializeToString(), precision="fp32", strict=True)
    with tilewright.load(artifact) as compiled:
        np.testing.assert_array_equal(compiled.run(fed)["y0"], expected)
    return [op.name for op in module.ops]


TYPED = {"QLinearConv": ["storage_cast", "conv", "storage_cast"]}
TYPED["QLinearMatMul"] = ["storage_cast", "matmul", "storage_cast"]


@pytest.mark.parametrize("dtypes", DTYPES, ids=lambda pair: f"{pair[0].__name__}-{pair[1].__name__}")
@pytest.mark.parametrize(("is_per_channel", "are_known"), in_turn([True, False], [True, False]))
def test_convolution(rng: np.random.Generator, dtypes: tuple[Any, Any], is_per_channel: bool, are_known: bool) -> None:
    arrays = convolution(rng, dtypes, is_per_channel, 2)
    attributes = {"strides": [2, 1], "pads": [0, 1, 2, 0], "dilations": [1, 2]}
    known = range(1, 9) if are_known else [3, 8]
    found = check("QLinearConv", arrays, known, **attributes)
    assert found == TYPED["QLinearConv"] if are_known else found[0] == "conv_integer"
    check("QLinearConv", arrays[:8], known[:-1])


@pytest.mark.parametrize("spatial", [1, 3])
def test_convolution_of_other_ranks(rng: np.random.Generator, spatial: int) -> None:
    assert check("QLinearConv", convolution(rng, DTYPES[1], True, spatial), range(1, 9)) == TYPED["QLinearConv"]


def test_depthwise_convolution_of_computed_scale(rng: np.random.Generator) -> None:
    x, zero = integers(rng, np.int8, (2, 19, 5, 5)), scalar(-3, np.int8)
    w, zero_w = weights(rng, np.int8, (19, 1, 3, 3)), scalar(0, np.int8)
    arrays = (x, scalar(0.5), zero, w, scalar(0.25), zero_w, scalar(8), zero)
    found = check("QLinearConv", arrays, [3], pads=[1, 1, 1, 1], group=19)
    assert sorted(found) == ["cast", "conv_integer", "div", "mul", "mul", "quantize_linear"]


@pytest.mark.parametrize("dtypes", DTYPES, ids=lambda pair: f"{pair[0].__name__}-{pair[1].__name__}")
@pytest.mark.parametrize(("is_per_column", "are_known"), in_turn([False, True], [False, True]))
def test_product(rng: np.random.Generator, dtypes: tuple[Any, Any], is_per_column: bool, are_known: bool) -> None:
    found = check("QLinearMatMul", product(rng, dtypes, is_per_column), range(1, 8) if are_known else [3])
    assert found == TYPED["QLinearMatMul"] if are_known else found[0] == "matmul_integer"


def test_parameters_that_no_operator_takes_are_said() -> None:
    x, zero = integers(np.random.default_rng(0), np.uint8, (2, 3)), scalar(3, np.uint8)
    for scale, known, message in (
        (scalar(0.5), [2, 3, 4, 5, 6, 7], "the scale must be known at compile time, but %x1 is computed"),
        (scalar(-0.5), range(1, 8), "scale 'x1' is not positive and finite; found -0.5"),
        (np.full(3, 0.5, np.float32), range(1, 8), r"found \[0.5, 0.5, 0.5\] and 3"),
    ):
        arrays = (x, scale, zero, x, scalar(0.5), zero, scalar(0.5), zero)
        with pytest.raises(ModelError, match=message):
            import_onnx(node_model("QLinearAdd", arrays, constants=known, domain="com.microsoft"))


@pytest.mark.parametrize("shapes", [((3, 4), (4,)), ((4,), (4, 5)), ((4,), (4,)), ((4,), (2, 4, 5))])
def test_integers_in_vectors(shapes: Sequence[Sequence[int]], rng: np.random.Generator) -> None:
    x, w = integers(rng, np.uint8, shapes[0]), weights(rng, np.int8, shapes[1])
    inputs = [x, w, np.array(117, np.uint8), np.array(0, np.int8)]
    assert_imports_like_onnxruntime(node_model("MatMulInteger", inputs, constants=(2, 3)), inputs)
    end = (scalar(0.07), scalar(77, np.uint8))
    arrays = (x, scalar(0.04), scalar(9, np.uint8), w, scalar(0.01), scalar(3, np.int8), *end)
    check("QLinearMatMul", arrays, range(1, 8))


def test_products_and_convolutions_may_have_no_results(rng: np.random.Generator) -> None:
    end = (scalar(0.07), scalar(77, np.uint8))
    none, vector = np.zeros(0, np.float32), (integers(rng, np.uint8, (5,)), scalar(0.04), scalar(9, np.uint8))
    check("QLinearMatMul", (*vector, np.zeros((5, 0), np.int8), none, none.astype(np.int8), *end), range(1, 8))
    image = (integers(rng, np.uint8, (1, 3, 6, 5)), scalar(0.04), scalar(9, np.uint8))
    no_weights = (np.zeros((0, 3, 3, 3), np.uint8), scalar(0.01), scalar(2, np.uint8))
    check("QLinearConv", (*image, *no_weights, *end, none.astype(np.int32)), range(1, 9))
