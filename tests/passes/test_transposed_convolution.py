"""Quantised transposed convolutions become phases: the integers are those of the sums over all taps, everywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from device_runs import compile_for_device, generate, plan_for_device, run_on_device
from network_files import graph_model
from onnx import TensorProto, helper

import tilewright
from tilewright.blocks import CHANNEL_BLOCK
from tilewright.ir import arithmetic, interp
from tilewright.ir.annotations import KEPT, SPLIT, Split
from tilewright.ir.core import Function, Module, Op, Value, is_op
from tilewright.ir.ops.activation import Relu
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.movement import Concat, DepthToSpace
from tilewright.ir.ops.pooling import MaxPool
from tilewright.ir.ops.quantization import Dequantize, Quantize
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.base import Record
from tilewright.passes.pattern import Driver
from tilewright.passes.quantization import integer_rules, sink_dequantize_rules, transposed_rules
from tilewright.runtime.machines.machine import load
from tilewright.runtime.report.details import details_of

S256 = load("s256")
X, Y = Quantization.per_tensor(0.05, 7), Quantization.per_tensor(0.5, -3)
CASES = {
    "kernel as large as the stride": ((2, 2), 2, (1, 1), (0, 0, 0, 0), (0, 0), 1),
    "kernel twice the stride": ((4, 4), 2, (1, 1), (1, 1, 1, 1), (0, 0), 1),
    "odd kernel, output padding": ((3, 3), 2, (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "odd kernel, odd result": ((3, 3), 2, (1, 1), (1, 1, 1, 1), (0, 0), 1),
    "groups": ((4, 4), 2, (1, 1), (1, 1, 1, 1), (0, 0), 3),
    "phases without taps": ((1, 2), 3, (1, 1), (0, 0, 0, 0), (2, 0), 1),
    "dilation, one factor with the stride": ((3, 2), 2, (2, 3), (0, 1, 0, 0), (1, 0), 1),
    "dilation and stride without common factor": ((3, 3), 2, (3, 3), (1, 2, 3, 0), (0, 0), 1),
    "more cut off than a phase has taps": ((2, 3), 2, (1, 1), (3, 1, 1, 3), (0, 0), 1),
    "stride 1": ((3, 3), 1, (1, 1), (1, 1, 1, 1), (0, 0), 1),
    "more phases than ops fit": ((12, 2), 11, (1, 1), (0, 0, 0, 0), (0, 0), 3),
    "stride 3": ((5, 4), 3, (1, 1), (1, 0, 0, 1), (0, 1), 1),
}
"""Kernel, stride, dilations, pads, output padding, group."""
TOGETHER = {
    *("kernel as large as the stride", "odd kernel, output padding", "odd kernel, odd result", "phases without taps"),
    *("stride 1", "stride 3"),
}
"""Of which one convolution makes all phases, in fewer blocks of channels."""


def network(name: str, rng: np.random.Generator, images: int, per_channel: bool) -> tuple[Module, np.ndarray]:
    """quantize(relu(conv_transpose(dequantize(x), dequantize(w), b))) of u8; the accumulators' biases."""
    kernel, stride, dilations, pads, output_padding, group = CASES[name]
    outputs = 5
    scales = rng.uniform(0.01, 0.02, outputs).astype(np.float32)
    quant = Quantization.per_channel(scales, 1) if per_channel else Quantization.per_tensor(float(scales[0]), 4)
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((images, 6, 5, 7), DType.I8, X))
    stored = rng.integers(-100, 100, (6, outputs, *kernel)).astype(np.int8)
    w = module.add_constant("w", stored, TensorType(stored.shape, DType.I8, quant))
    bias = rng.integers(-2000, 2000, group * outputs)
    step = np.resize(np.asarray(quant.scale, np.float64), group * outputs) * X.scale[0]
    b = module.add_constant("b", (bias * step).astype(np.float32))
    operator = ConvTranspose((stride, stride), pads, dilations, output_padding, group)
    value: Value = function.append(operator, [real(function, x), real(function, w), b]).result
    value = function.append(Relu(), [value]).result
    y = function.append(Quantize(), [value], [TensorType(value.type.shape, DType.I8, Y)], names=["y"])
    function.set_results(y.results)
    return module, bias


def real(function: Function, value: Value) -> Value:
    return function.append(Dequantize(), [value]).result


def expected(module: Module, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Every product added where it belongs, then requantised."""
    op = next(op for op in module.ops if isinstance(op.operator, ConvTranspose))
    operator = op.operator
    assert isinstance(operator, ConvTranspose)
    w = module.constants["w"]
    assert w.type.quant is not None
    zeros = np.resize(np.asarray(w.type.quant.zero_point), w.type.shape[1])
    images, outputs, height, width = op.result.type.shape
    total = np.zeros((images, outputs, height, width), np.int64) + bias.reshape(-1, 1, 1)
    inputs, share = 6 // operator.group, w.type.shape[1]
    for c, i, j in itertools.product(range(6), *map(range, x.shape[2:])):
        for o, ky, kx in itertools.product(range(share), *map(range, w.type.shape[2:])):
            row = i * operator.strides[0] - operator.pads[0] + ky * operator.dilations[0]
            column = j * operator.strides[1] - operator.pads[1] + kx * operator.dilations[1]
            if 0 <= row < height and 0 <= column < width:
                channel = c // inputs * share + o
                product = (x[:, c, i, j].astype(np.int64) - X.zero_point[0]) * (int(w.array[c, o, ky, kx]) - zeros[o])
                total[:, channel, row, column] += product
    scales = np.resize(np.asarray(w.type.quant.scale, np.float32), outputs)
    factors = arithmetic.multiplier(np.float32(X.scale[0]), scales, np.float32(Y.scale[0]))
    return arithmetic.requantize(total, factors.reshape(-1, 1, 1), Y.zero_point[0], Y.zero_point[0], 127)


KINDS = itertools.cycle([(1, True), (2, False)])


@pytest.mark.parametrize(("name", "images", "per_channel"), [(name, *next(KINDS)) for name in CASES])
def test_phases_give_the_integers_of_the_whole(
    name: str, images: int, per_channel: bool, rng: np.random.Generator
) -> None:
    module, bias = network(name, rng, images, per_channel)
    x = rng.integers(-128, 128, (images, 6, 5, 7)).astype(np.int8)
    wanted = expected(module, x, bias)
    rules = (*sink_dequantize_rules.RULES, *transposed_rules.RULES, *integer_rules.RULES)
    Driver(rules).run(module, Record("phases"))
    convolutions = [op for op in module.ops if isinstance(op.operator, Conv)]
    assert all(op.result.type.quant == Y for op in convolutions)
    assert len(convolutions) == (1 if name in TOGETHER else CASES[name][1] ** 2)
    assert not any(isinstance(op.operator, (ConvTranspose, Dequantize, Quantize)) for op in module.ops)
    np.testing.assert_array_equal(interp.run(module, {"x": x})["y"], wanted)
    found = run_on_device(module, compile_for_device(module, S256), S256, {"x": x})["y"]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("stride", "has"), [(32, True), (33, False)])
def test_phases_are_as_many_as_one_op_joins(stride: int, has: bool) -> None:
    function = Function("main")
    x, w = function.add_parameter("x", TensorType((1, 2, 3, 3), DType.F32)), np.ones((2, 1, 2, 2), np.float32)
    op = function.append(
        ConvTranspose((stride, stride), (0,) * 4, (1, 1), (0, 0), 1), [x, Module("m").add_constant("w", w), None]
    )
    assert is_op(op, ConvTranspose)
    assert transposed_rules.has_phases(op) == has


def products(op: Op) -> int:
    """Of blocks of channels, for each pixel."""
    outputs, _, *kernel = op.inputs[1].type.shape
    return -(-outputs // CHANNEL_BLOCK) * int(np.prod(kernel))


def test_no_block_is_multiplied_for_zeros_between_elements_alone(rng: np.random.Generator) -> None:
    for name in ("kernel twice the stride", "odd kernel, odd result", "stride 3"):
        module, _ = network(name, rng, 1, True)
        Driver((*transposed_rules.RULES, *integer_rules.RULES)).run(module, Record("phases"))
        kernel = CASES[name][0]
        count = sum(products(op) for op in module.ops if isinstance(op.operator, Conv))
        assert count < kernel[0] * kernel[1] if name in TOGETHER else count == kernel[0] * kernel[1]


@pytest.mark.parametrize("group", [1, 16])
def test_networks_with_transposed_convolutions_are_on_the_device(group: int) -> None:
    rng = np.random.default_rng(5)
    weights = {"w1": rng.standard_normal((16, 16, 1, 1)), "w2": rng.standard_normal((16, 16 // group, 4, 4))}
    constants = {name: (array / 4).astype(np.float32) for name, array in weights.items()}
    constants["b"] = rng.standard_normal(16).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["before"]),
        helper.make_node(
            "ConvTranspose", ["before", "w2", "b"], ["up"], strides=[2, 2], pads=[1, 1, 1, 1], group=group
        ),
        helper.make_node("Relu", ["up"], ["y"]),
    ]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 16, 6, 6])], ["y"], constants)
    samples = rng.standard_normal((4, 16, 6, 6)).astype(np.float32)
    artifact = tilewright.compile(
        model.SerializeToString(), engines="device,software,float", calibration=samples, machine="m4096"
    )
    records = details_of(artifact).placement
    assert {(record.op, record.on) for record in records if record.op in ("conv", "depth_to_space")} == {
        ("conv", "device"),
        ("depth_to_space", "device"),
    }
    results = {}
    for engine in ("device", "software", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            results[engine] = session.run({"x": samples[:1]})["y"]
    assert results["device"].tobytes() == results["software"].tobytes()
    np.testing.assert_allclose(results["device"], results["float"], rtol=0, atol=0.05 * np.abs(results["float"]).max())


def test_phases_go_into_channels_of_a_joined_map(rng: np.random.Generator) -> None:
    """As decoders of U-Nets have it: what is joined is loaded to where the other channels are."""
    shapes = {"w1": (16, 3, 3, 3), "w2": (16, 16, 2, 2), "w3": (8, 32, 3, 3)}
    constants = {name: (rng.standard_normal(shape) / 4).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["skip"], pads=[1] * 4),
        helper.make_node("MaxPool", ["skip"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["small", "w2"], ["up"], strides=[2, 2]),
        helper.make_node("Concat", ["skip", "up"], ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "w3"], ["y"], pads=[1] * 4),
    ]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 3, 32, 32])], ["y"], constants)
    samples = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
    artifact = tilewright.compile(model.SerializeToString(), calibration=samples, machine="m4096", effort="quick")
    with tilewright.load(artifact, engine="device") as device, tilewright.load(artifact, engine="software") as software:
        expected = software.run({"x": samples[:1]})["y"]
        assert device.run({"x": samples[:1]})["y"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("clusters", [1, 3])
@pytest.mark.parametrize(("channels", "step"), [(64, 2), (5 * 9, 3), (4, 2)])
def test_depth_to_space_on_the_device(clusters: int, channels: int, step: int, rng: np.random.Generator) -> None:
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((2, channels, 5, 7), DType.U8, X))
    function.set_results(function.append(DepthToSpace(step), [x], names=["y"]).results)
    array = rng.integers(0, 256, x.type.shape).astype(np.uint8)
    machine = load("m4096")
    found = run_on_device(module, compile_for_device(module, machine, clusters), machine, {"x": array})["y"]
    np.testing.assert_array_equal(found, DepthToSpace(step).reference(array))


@pytest.mark.parametrize(("clusters", "split"), [(1, None), (3, "rows"), (3, "channels")])
@pytest.mark.parametrize(("channels", "step"), [(64, 2), (32 * 9, 3), (8 * 4, 2)])
def test_depth_to_space_stays_on_chip(
    clusters: int, split: Split | None, channels: int, step: int, rng: np.random.Generator
) -> None:
    """Between windows, so that rows of its phases go to neighbours; what it reads does so where phases begin blocks."""
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((2, channels, 7, 5), DType.I8, X))
    window = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)
    largest = function.append(MaxPool(*window), [x], names=["largest"])
    spread = function.append(DepthToSpace(step), largest.results, names=["spread"])
    function.set_results(function.append(MaxPool(*window), spread.results, names=["y"]).results)
    array = rng.integers(-128, 128, x.type.shape).astype(np.int8)
    machine = load("m4096")
    plan_for_device(module, machine, clusters)
    if split is not None:
        SPLIT.set(spread, split)
    found = run_on_device(module, generate(module, machine), machine, {"x": array})["y"]
    assert bool(KEPT.get(largest)) == (channels // step**2 % CHANNEL_BLOCK == 0)
    assert KEPT.get(spread)
    np.testing.assert_array_equal(found, interp.run(module, {"x": array})["y"])


@pytest.mark.parametrize("clusters", [1, 3])
@pytest.mark.parametrize("step", [2, 3, 4])
def test_phases_inside_joined_maps(clusters: int, step: int, rng: np.random.Generator) -> None:
    """Phases of three images as channels of a larger map on chip, beside the same map as a result of the network."""
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((3, 16 * step**2, 5, 3), DType.I8, X))
    window = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)
    largest = function.append(MaxPool(*window), [x], names=["largest"]).result
    returned = function.append(DepthToSpace(step), [largest], names=["returned"]).result
    spread = [function.append(DepthToSpace(step), [of], names=[f"of_{of.name}"]).result for of in (largest, x)]
    joined = function.append(Concat(1), spread, names=["joined"]).result
    y = function.append(MaxPool(*window), [joined], names=["y"]).result
    function.set_results([y, returned])
    array = rng.integers(-128, 128, x.type.shape).astype(np.int8)
    machine = load("m4096")
    found = run_on_device(module, compile_for_device(module, machine, clusters), machine, {"x": array})
    kept = {op.result.name for op in function.ops if KEPT.get(op)}
    assert {"of_largest", "of_x", "joined"} <= kept
    assert "returned" not in kept
    expected = interp.run(module, {"x": array})
    for name in ("y", "returned"):
        np.testing.assert_array_equal(found[name], expected[name])
