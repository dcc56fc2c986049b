"""Transposed convolutions become ordinary ones, in single precision and in integers."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import random_inputs, run_pass

from tilewright.compiler.pipeline import float_pipeline
from tilewright.ir import interp
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.ops.activation import Relu
from tilewright.ir.ops.convolution import ConvTranspose
from tilewright.ir.ops.quantization import Dequantize, Quantize
from tilewright.ir.types import DType, Quantization, TensorType

CASES = {
    "kernel as large as the stride": ((6, 5, 7), (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (0, 0), 1, 1),
    "kernel twice the stride": ((6, 5, 7), (4, 4), (2, 2), (1, 1), (1, 1, 1, 1), (0, 0), 1, 1),
    "kernel a little smaller than whole strides": ((4, 5, 6), (4, 5), (2, 2), (1, 1), (1, 2, 1, 2), (0, 1), 1, 1),
    "odd kernel, output padding": ((6, 5, 7), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (1, 1), 1, 4),
    "unequal strides": ((4, 5, 6), (3, 1), (2, 1), (1, 1), (1, 0, 1, 0), (1, 0), 1, 2),
    "groups": ((6, 5, 7), (4, 4), (2, 2), (1, 1), (1, 1, 1, 1), (0, 0), 3, 4),
    "phases without taps": ((3, 5, 4), (1, 2), (3, 3), (1, 1), (0, 0, 0, 0), (2, 0), 1, 1),
    "groups and phases without taps": ((6, 5, 4), (1, 2), (3, 3), (1, 1), (0, 0, 0, 0), (2, 0), 3, 2),
    "a signal of more strides than taps": ((4, 11), (3,), (8,), (1,), (0, 0), (0,), 1, 1),
    "one factor of dilation and stride": ((3, 5, 4), (3, 2), (2, 2), (2, 3), (0, 1, 0, 0), (1, 0), 1, 2),
    "dilation and stride without common factor": ((3, 6, 6), (3, 3), (2, 2), (3, 3), (1, 2, 3, 0), (0, 0), 1, 4),
    "much cut off": ((3, 5, 6), (2, 3), (2, 2), (1, 1), (3, 1, 1, 3), (0, 0), 1, 4),
    "stride 1": ((3, 5, 6), (3, 3), (1, 1), (1, 1), (1, 2, 2, 0), (0, 0), 1, 1),
    "a signal": ((4, 11), (16,), (8,), (1,), (4, 4), (0,), 1, 1),
    "a volume": ((4, 3, 4, 2), (2, 4, 2), (2, 2, 2), (1, 1, 1), (0, 1, 0, 0, 1, 1), (0, 0, 0), 1, 1),
}
"""Channels and image, kernel, strides, dilations, pads, output padding, group, and how many convolutions come of it."""


def network(
    name: str, rng: np.random.Generator, activation: bool, dtype: DType = DType.F32, computed: bool = False
) -> Module:
    shape, kernel, strides, dilations, pads, output_padding, group, _ = CASES[name]
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((2, *shape), dtype))
    weights = rng.standard_normal((shape[0], 5, *kernel)).astype(dtype.numpy)
    w = function.add_parameter("w", TensorType(weights.shape, dtype)) if computed else module.add_constant("w", weights)
    b = module.add_constant("b", rng.standard_normal(5 * group).astype(dtype.numpy)) if len(kernel) == 2 else None
    operator = ConvTranspose(strides, pads, dilations, output_padding, group)
    value: Value = function.append(operator, [x, w, b], names=["y"]).result
    function.set_results((function.append(Relu(), [value], names=["r"]).result if activation else value,))
    return module


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("activation", [True, False])
@pytest.mark.parametrize("computed", [False, True])
def test_convolutions_give_what_the_transposed_one_gives(
    name: str, activation: bool, computed: bool, rng: np.random.Generator
) -> None:
    module = network(name, rng, activation, computed=computed)
    inputs = random_inputs(module, rng)
    (expected,) = interp.run(module, inputs).values()
    run_pass("transposed_convolutions", module)
    names = [op.name for op in module.ops]
    assert "conv_transpose" not in names
    assert names.count("conv") == CASES[name][-1]
    assert names.count("relu") == (names.count("conv") if activation else 0)
    (found,) = interp.run(module, inputs).values()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_one_convolution_of_whole_strides_multiplies_with_no_zero(rng: np.random.Generator) -> None:
    module = network("kernel twice the stride", rng, activation=False)
    run_pass("transposed_convolutions", module)
    assert all(constant.array.all() for constant in module.constants.values())


def test_double_precision_and_a_bias_that_is_computed_stay(rng: np.random.Generator) -> None:
    module = network("stride 1", rng, activation=False, dtype=DType.F64)
    run_pass("transposed_convolutions", module)
    assert [op.name for op in module.ops] == ["conv_transpose"]
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((1, 2, 5), DType.F32))
    w = function.add_parameter("w", TensorType((2, 3, 4), DType.F32))
    b = function.add_parameter("b", TensorType((3,), DType.F32))
    function.set_results(function.append(ConvTranspose((2,), (0, 0), (1,), (0,)), [x, w, b]).results)
    run_pass("transposed_convolutions", module)
    assert [op.name for op in module.ops] == ["conv_transpose"]


def test_phases_without_taps_take_no_constants_of_their_size(rng: np.random.Generator) -> None:
    """Their bias is expanded in the run: results of many pixels had as many constants."""
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((2, 2, 64, 64), DType.F32))
    w = module.add_constant("w", rng.standard_normal((2, 3, 2, 2)).astype(np.float32))
    function.set_results(function.append(ConvTranspose((8, 8), (0,) * 4, (1, 1), (0, 0)), [x, w]).results)
    float_pipeline().run(module)
    assert "expand" in [op.name for op in module.ops]
    assert sum(constant.array.nbytes for constant in module.constants.values()) < 4096


def test_windows_too_far_apart_stay(rng: np.random.Generator) -> None:
    """A result of a few elements may have any number of phases, each of which takes time to look at."""
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((1, 2, 1, 1), DType.F32))
    w = module.add_constant("w", rng.standard_normal((2, 3, 2, 2)).astype(np.float32))
    operator = ConvTranspose((300_000, 300_000), (0,) * 4, (1, 1), (0, 0))
    function.set_results(function.append(operator, [x, w]).results)
    run_pass("transposed_convolutions", module)
    assert [op.name for op in module.ops] == ["conv_transpose"]


def test_phases_of_a_volume_share_the_planes_that_they_see() -> None:
    """Each copied them for itself, and put the channels of the whole volume in another order before."""
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((1, 16, 4, 5, 5), DType.F32))
    w = module.add_constant("w", np.ones((16, 8, 3, 3, 3), np.float32))
    function.set_results((function.append(ConvTranspose((2, 2, 2), (1,) * 6, (1,) * 3, (0,) * 3), [x, w]).result,))
    float_pipeline().run(module)
    assert [op.name for op in module.ops].count("gather") == 1


@pytest.mark.parametrize(("outputs", "count"), [(3, 1), (16, 4)])
def test_phases_of_few_outputs_are_one_convolution_of_integers(outputs: int, count: int) -> None:
    """They would each be multiplied as a whole block of channels; the result is what it is by real numbers, rounded."""
    rng = np.random.default_rng(0)
    module = Module("m")
    function = module.add_function(Function("main"))

    def stored(name: str, shape: tuple[int, ...], dtype: DType, scales: int, zero: int, axis: int | None) -> Value:
        quant = Quantization(tuple(2.0**-k for k in range(scales)), (zero,) * scales, axis)
        array = rng.integers(-99, 99, shape).astype(dtype.numpy)
        constant = module.add_constant(name, array, TensorType(shape, dtype, quant))
        return function.append(Dequantize(), [constant]).result

    of_x = Quantization((1.0,), (7,))
    x = function.append(Dequantize(), [function.add_parameter("x", TensorType((1, 4, 5, 6), DType.I8, of_x))]).result
    w = stored("w", (4, outputs, 3, 3), DType.I8, outputs, 0, 1)
    b = stored("b", (outputs,), DType.I32, outputs, 0, 0)
    operator = ConvTranspose((2, 2), (1, 1, 1, 1), (1, 1), (1, 1), 1)
    y = function.append(operator, [x, w, b]).result
    y = function.append(Quantize(), [y], [y.type.with_dtype(DType.I8).with_quant(Quantization((64.0,), (3,)))]).result
    function.set_results((y,))
    inputs = random_inputs(module, rng)
    (expected,) = interp.run(module, inputs).values()
    run_pass("import_quantization", module)
    assert [op.name for op in module.ops].count("conv") == count
    (found,) = interp.run(module, inputs).values()
    np.testing.assert_array_equal(found, expected)
