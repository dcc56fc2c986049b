"""Scales by channel around functions between a convolution and a depthwise one, and ranges of what functions read."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

import tilewright
from tilewright.compiler.calibration.channel_ranges import ChannelHistogram
from tilewright.compiler.calibration.ranges import MeanSquaredError
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.ladder.output_noise import OutputNoise, harmed_results
from tilewright.compiler.quantization.methods import Choices
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir import interp
from tilewright.ir.core import Module, is_op
from tilewright.ir.ops.activation import Swish
from tilewright.ir.ops.elementwise import Mul
from tilewright.ir.types import DType

F32 = onnx.TensorProto.FLOAT
REACH = np.asarray([100.0, 0.3, 30.0, 0.1, 3.0, 60.0, 0.5, 0.2])


def block(reach: np.ndarray = REACH) -> bytes:
    """A convolution whose channels reach differently, SiLU, a depthwise convolution that evens them out, one more."""
    rng = np.random.default_rng(0)
    channels = len(reach)
    arrays = {
        "w": rng.standard_normal((channels, 3, 1, 1)) * reach.reshape(-1, 1, 1, 1),
        "d": rng.standard_normal((channels, 1, 3, 3)) / reach.reshape(-1, 1, 1, 1),
        "p": rng.standard_normal((2, channels, 1, 1)),
    }
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["c"]),
            onnx.helper.make_node("Sigmoid", ["c"], ["s"]),
            onnx.helper.make_node("Mul", ["c", "s"], ["r"]),
            onnx.helper.make_node("Conv", ["r", "d"], ["e"], pads=[1, 1, 1, 1], group=channels),
            onnx.helper.make_node("Conv", ["e", "p"], ["y"]),
        ],
        "block",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", F32, [1, 2, 8, 8])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


def scores() -> bytes:
    """A convolution and, in floating point, a function of its results."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 1, 1)) * REACH.reshape(-1, 1, 1, 1)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["c"]), onnx.helper.make_node("Sigmoid", ["c"], ["y"])],
        "scores",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", F32, [1, 8, 8, 8])],
        [onnx.numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


SAMPLES = np.random.default_rng(1).standard_normal((24, 3, 8, 8)).astype(np.float32)


def quantized(model: bytes, methods: str, choices: Choices | None = None, wide: tuple[str, ...] = ()) -> Module:
    options = CompileOptions(calibration=SAMPLES[:16], methods=methods, wide=wide)
    return quantize_module(import_model(model), options, None, choices)


def decibels(model: bytes, methods: str) -> float:
    """Signal over noise on samples that were not calibrated on."""
    exact, found = import_model(model), quantized(model, methods)
    pairs = [[interp.run(each, {"x": x})["y"] for each in (exact, found)] for x in SAMPLES[16:, None]]
    signal, wrong = (
        sum(float(np.square(each).sum()) for each in at) for at in zip(*((a, b - a) for a, b in pairs), strict=True)
    )
    return 10 * float(np.log10(signal / wrong))


def test_channels_that_reach_far_do_not_coarsen_the_others_through_a_function() -> None:
    assert decibels(block(), "channels") > decibels(block(), "none") + 10


def test_both_sides_of_the_function_are_scaled_and_it_is_computed_in_floating_point() -> None:
    choices = Choices()
    found = quantized(block(), "channels", choices)
    assert len(choices.boundaries) == 2
    function = next(op for op in found.main.ops if isinstance(op.operator, Swish))
    assert function.result.type.quant is None


def test_the_quotient_behind_the_function_is_ranked_and_becomes_16_bits_by_the_node_of_the_function() -> None:
    choices = Choices()
    quantized(block(), "channels", choices)
    prepared = choices.prepared
    assert prepared is not None
    values = prepared.plan().values
    (quotient,) = (name for name, value in values.items() if is_op(value.producer, Mul))
    node = harmed_results(prepared, OutputNoise(1.0, {values[quotient]: 1.0}, {}, np.ones((1, 1))))[0].name
    found = quantized(block(), "channels", wide=(node,))
    types = {value.name: value.type.dtype for op in found.main.ops for value in op.results if value.type.quant}
    assert types[quotient] is DType.I16
    assert sum(dtype is DType.I16 for dtype in types.values()) == 1


def test_a_function_of_channels_that_reach_alike_stays_a_table() -> None:
    choices = Choices()
    alike = block(np.ones(8))
    assert str(quantized(alike, "channels", choices)) == str(quantized(alike, "none"))
    assert not choices.boundaries


def test_engines_agree_on_them() -> None:
    artifact = tilewright.compile(block(), precision="int8", calibration=SAMPLES[:16], methods="all")
    x = SAMPLES[20][None]
    a, b = (tilewright.load(artifact, engine=engine).run({"x": x})["y"] for engine in ("software", "device"))
    assert a.tobytes() == b.tobytes()
    expected = interp.run(quantized(block(), "all"), {"x": x})["y"]
    assert np.abs(a - expected).max() < 0.05 * np.abs(expected).max()


def test_what_a_function_is_flat_for_takes_no_integers() -> None:
    found = MeanSquaredError(Swish().reference)
    found.observe(np.random.default_rng(0).normal(0, 30, 100_000).astype(np.float32))
    low, high = found.range()
    assert -15 < low < 0 and high > 80


@pytest.mark.parametrize("parts", [1, 5])
def test_ends_of_channels_are_those_of_the_least_error(parts: int) -> None:
    rng = np.random.default_rng(2)
    numbers = rng.standard_t(3, (3, 20_000)).astype(np.float32) * np.asarray([[100.0], [1.0], [0.01]], np.float32)
    seen = ChannelHistogram(3)
    for part in np.array_split(numbers, parts, axis=1):
        seen.observe(part)
    for channel, low, high in zip(numbers, *seen.ranges(), strict=True):

        def error(below: float, above: float, x: np.ndarray = channel) -> float:
            step = (above - below) / 255
            zero = np.rint(-below / step)
            return float(np.square((np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step - x).mean())

        shares = np.linspace(0.1, 1, 40)
        least = min(error(a * float(channel.min()), b * float(channel.max())) for a in shares for b in shares)
        assert error(float(low), float(high)) < 1.15 * least


def test_results_that_floating_point_reads_are_not_divided_by_channel() -> None:
    # Of classes that few samples show, none tells what their scores can be.
    choices = Choices()
    quantized(scores(), "channels", choices)
    assert not choices.boundaries
