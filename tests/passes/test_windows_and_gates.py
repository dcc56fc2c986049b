"""Windows that are too long for an instruction, and gates of one channel, in forms that the accelerator has."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, random_inputs
from device_runs import assert_engines_agree
from onnx_networks import OnnxNetwork

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.ir import interp
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Function, Module
from tilewright.ir.op import Operator
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Max, Mul, Sub
from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.placement.device_support import reject
from tilewright.passes.simplify.eliminate_dead_code import EliminateDeadCode
from tilewright.runtime.machines.machine import load as load_machine
from tilewright.runtime.report.details import details_of

M4096 = load_machine("m4096")
X, Y = Quantization.per_tensor(0.05, 3), Quantization.per_tensor(0.4, -2)


def legal(module: Module, rng: np.random.Generator) -> list[str]:
    """The operators of a module in the accelerator's forms, which compute the same of as many products."""
    found = clone_module(module)
    LegalizeForDevice().run(found)
    EliminateDeadCode().run(found)
    assert [why for op in found.main.ops if (why := reject(op, M4096)) is not None] == []
    inputs = random_inputs(module, rng)
    (expected,), (made,) = (interp.run(each, inputs).values() for each in (module, found))
    assert len(np.unique(expected)) > 4
    np.testing.assert_array_equal(made, expected)
    return [op.name for op in found.main.ops]


def convolution(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    weights: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    group: int = 1,
    zero: int = 0,
) -> Module:
    """One convolution of i8, whose weights have a scale for each channel and, as u8, a zero point."""
    module = Module("windows")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType(shape, DType.I8, X))
    outputs, dtype = weights[0], DType.U8 if zero else DType.I8
    scales = tuple((2.0 ** -rng.integers(4, 6, outputs).astype(float)).tolist())
    type = TensorType(weights, dtype, Quantization(scales, (zero,) * outputs, 0))
    w = module.add_constant("w", (rng.integers(-9, 10, weights) + zero).astype(dtype.numpy), type)
    b = module.add_constant("b", rng.integers(-99, 100, outputs).astype(np.int32))
    conv, dims = Conv(strides, pads, (1,) * len(strides), group), len(strides)
    ends = zip(shape[2:], pads[:dims], pads[dims:], weights[2:], strides, strict=True)
    extents = (shape[0], outputs, *((n + p + q - k) // s + 1 for n, p, q, k, s in ends))
    function.set_results([function.append(conv, [x, w, b], [TensorType(extents, DType.I8, Y)]).result], ["y"])
    return module


@pytest.mark.parametrize(
    ("shape", "weights", "strides", "pads", "group", "zero"),
    [
        ((2, 8, 100), (8, 8, 39), (1,), (19, 19), 1, 0),
        ((1, 3, 300), (4, 3, 128), (1,), (60, 3), 1, 120),
        ((1, 5, 90), (6, 5, 32), (3,), (0, 7), 1, 0),
        ((1, 6, 150), (6, 1, 65), (1,), (32, 32), 6, 0),
        ((1, 8, 80), (12, 2, 40), (1,), (20, 19), 4, 7),
        ((1, 4, 9, 70), (5, 4, 3, 37), (2, 1), (1, 18, 0, 17), 1, 0),
        ((1, 2, 40, 50), (3, 2, 33, 34), (1, 1), (16, 4, 16, 5), 1, 0),
        ((1, 3, 10), (4, 3, 41), (1,), (20, 20), 1, 0),
    ],
)
def test_parts_of_long_windows_read_copies(
    shape: tuple[int, ...],
    weights: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    group: int,
    zero: int,
    rng: np.random.Generator,
) -> None:
    module = convolution(rng, shape, weights, strides, pads, group, zero)
    assert "concat" in legal(module, rng)


def test_windows_of_too_many_parts_stay(rng: np.random.Generator) -> None:
    """Parts of rows and of columns make as many copies as their product."""
    module = convolution(rng, (1, 1, 140, 140), (1, 1, 130, 130), (1, 1), (0, 0, 0, 0))
    LegalizeForDevice().run(module)
    assert [op.name for op in module.main.ops] == ["conv"]


@pytest.mark.parametrize("operator", [Add(), Sub(), Mul(), Max()])
@pytest.mark.parametrize("shapes", [((2, 1, 4, 5), (2, 20, 4, 5)), ((1, 20, 1, 5), (1, 1, 4, 5))])
def test_a_map_of_one_channel_beside_one_of_many(
    operator: Operator, shapes: tuple[tuple[int, ...], ...], rng: np.random.Generator
) -> None:
    module = Module("gates")
    function = module.add_function(Function("main"))
    x, y = (function.add_parameter(n, TensorType(s, DType.I8, X)) for n, s in zip("xy", shapes, strict=True))
    result = TensorType(np.broadcast_shapes(*shapes), DType.I8, X)
    function.set_results([function.append(operator, [x, y], [result]).result], ["z"])
    assert legal(module, rng).count("gather") == 1


def test_a_number_for_each_token_beside_what_was_normalized(rng: np.random.Generator) -> None:
    """Tokens whose channels come first, as the axis of their normalisation says."""
    module = Module("gates")
    function = module.add_function(Function("main"))
    x, y = (function.add_parameter(n, TensorType((1, c, 7), DType.I8, X)) for n, c in (("x", 20), ("y", 1)))
    numbers = [module.add_constant("n", rng.uniform(0.5, 2, 20).astype(np.float32)) for _ in range(3)]
    normalized = function.append(SkipLayerNorm(1, 1e-5, True), [x, *numbers], [x.type]).result
    function.set_results([function.append(Mul(), [normalized, y], [x.type]).result], ["z"])
    assert legal(module, rng).count("gather") == 1


@pytest.mark.parametrize("machine", ["m4096", "s256"])
def test_the_accelerator_computes_them(machine: str, rng: np.random.Generator) -> None:
    """Spectra of several lengths, as InceptionTime has them, and a gate for places, in one program."""
    net = OnnxNetwork(rng)
    lengths = (39, 20, 9)
    parts = [net.op("Conv", "x", net.some(8, 4, k), kernel_shape=[k], pads=[k // 2, (k - 1) // 2]) for k in lengths]
    joined = net.op("Relu", net.op("Concat", *parts, axis=1))
    gate = net.op("Sigmoid", net.op("Conv", joined, net.some(1, 24, 1), kernel_shape=[1]))
    gated = net.op("Mul", joined, gate)
    model = net.model([1, 4, 120], net.op("Conv", gated, net.some(6, 24, 1), kernel_shape=[1]))
    feeds = {"x": rng.normal(size=(1, 4, 120)).astype(np.float32)}
    options = CompileOptions(precision="int8", calibration=[feeds], machine=machine, effort="quick", methods="none")
    artifact = compile_to_memory(model, options)
    placed = {(each.op, each.on) for each in details_of(artifact).placement}
    assert {op for op, on in placed if on == "cpu"} <= {"quantize", "dequantize", "reshape", "reorder"}
    assert len(artifact.manifest.device_programs) == 1
    assert_engines_agree(artifact, feeds)


def test_gates_follow_maximum_pools(rng: np.random.Generator) -> None:
    """What is never below 0 multiplies what is left of a map, as in VoVNet: all is one program."""
    net = OnnxNetwork(rng)
    map = net.op("Conv", "x", net.some(64, 3, 3, 3), pads=[1, 1, 1, 1])
    gate = net.op("HardSigmoid", net.op("Conv", net.op("GlobalAveragePool", map), net.some(64, 64, 1, 1)))
    pooled = net.op("MaxPool", net.op("Mul", map, gate), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    model = net.model([1, 3, 32, 32], net.op("Conv", pooled, net.some(16, 64, 1, 1)))
    options = CompileOptions(
        calibration="random", calibration_limit=2, effort="quick", engines="device,software", machine="s256"
    )
    artifact = compile_to_memory(model, options)
    found = [(each.op, each.on) for each in details_of(artifact).placement]
    assert found.index(("max_pool", "device")) < found.index(("mul", "device"))
    assert len(artifact.manifest.device_programs) == 1
    assert (
        len(np.unique(assert_engines_agree(artifact, {"x": rng.normal(size=(1, 3, 32, 32)).astype(np.float32)}))) > 20
    )


@pytest.mark.parametrize(
    ("shape", "pool"),
    [
        ("1,3,1,1", "kernel=[2, 2], strides=[1, 1], pads=[1, 0, 1, 0], dilations=[3, 1]"),
        ("1,3,2,2", "kernel=[1, 1], strides=[2, 1], pads=[0, 0, 2, 0], dilations=[1, 1]"),
    ],
)
def test_gates_stay_before_windows_of_padding_alone(shape: str, pool: str) -> None:
    """Whose least integer is no product."""
    steps = "<s=0x1.0p-4, z=5>"
    text = f"""
  func @main(%x: i8[1,3,2,2]{steps}, %f: i8[1,3,1,1]<s=0x1.0p-8, z=-128>) -> (%y: i8[{shape}]{steps}) {{
    %p = mul(%x, %f) : i8[1,3,2,2]{steps}
    %y = max_pool(%p) {{{pool}}} : i8[{shape}]{steps}
    return %y
  }}"""
    assert_leaves_alone("canonicalize", text)
