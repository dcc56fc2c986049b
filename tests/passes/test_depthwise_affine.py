"""Arithmetic on channels becomes depthwise convolution."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, assert_same_meaning, clone, parse, run_pass
from device_runs import assert_engines_agree
from onnx_networks import OnnxNetwork

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.pipeline import calibration_pipeline, post_training_pipeline
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir import interp
from tilewright.ir.core import Module, is_op
from tilewright.ir.ops.activation import Clip, PRelu
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.runtime.report.details import details_of
from tilewright.runtime.session import load

PASS = "depthwise_affine"
CONV = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=2, act="none", act_args=[]'
CONSTANTS = """
  const @c : f32[2,1,1] = [0x1.0p+1, -0x1.8p+0]
  const @d : f32[1,2,1,1] = [0x1.0p-1, 0x1.0p+2]"""


def network(*lines: str) -> str:
    body = "\n    ".join(lines)
    return f"""{CONSTANTS}
  func @main(%x: f32[1,2,3,3]) -> (%y: f32[1,2,3,3]) {{
    {body}
    return %y
  }}"""


def between_convolutions(slopes: str = "[0x1.0p+1, -0x1.8p+0]") -> Module:
    """A network whose PReLU, of result ``p``, stands between convolutions."""
    text = network(
        f"%a = conv(%x, @w, _) {{{CONV}}} : f32[1,2,3,3]",
        "%p = prelu(%a, @c) : f32[1,2,3,3]",
        f"%y = conv(%p, @w, _) {{{CONV}}} : f32[1,2,3,3]",
    ).replace("[0x1.0p+1, -0x1.8p+0]", slopes)
    return parse(f"const @w : f32[2,1,1,1] = [0x1.0p+0, 0x1.0p-1]\n{text}")


@pytest.mark.parametrize(
    ("lines", "scale", "shift"),
    [
        (("%m = mul(%x, @c) : f32[1,2,3,3]", "%y = add(%m, @d) : f32[1,2,3,3]"), "2,-1.5", "0.5,4"),
        (("%m = mul(@c, %x) : f32[1,2,3,3]", "%y = sub(%m, @d) : f32[1,2,3,3]"), "2,-1.5", "-0.5,-4"),
        (("%y = mul(%x, @c) : f32[1,2,3,3]",), "2,-1.5", ""),
        (("%y = sub(%x, @d) : f32[1,2,3,3]",), "1,1", "-0.5,-4"),
        # A normalisation and a scale, as some files have them, are one.
        (
            (
                "%m = mul(%x, @c) : f32[1,2,3,3]",
                "%a = add(%m, @d) : f32[1,2,3,3]",
                "%n = mul(%a, @c) : f32[1,2,3,3]",
                "%y = add(%n, @d) : f32[1,2,3,3]",
            ),
            "4,2.25",
            "1.5,-2",
        ),
    ],
)
def test_becomes_a_convolution(lines: tuple[str, ...], scale: str, shift: str, rng: np.random.Generator) -> None:
    def literals(text: str) -> str:
        return ", ".join(float(n).hex() for n in text.split(","))

    shifts = f"const @b : f32[2] = [{literals(shift)}]" if shift else ""
    after = f"""
  const @w : f32[2,1,1,1] = [{literals(scale)}]
  {shifts}
  func @main(%x: f32[1,2,3,3]) -> (%y: f32[1,2,3,3]) {{
    %y = conv(%x, @w, {"@b" if shift else "_"}) {{{CONV}}} : f32[1,2,3,3]
    return %y
  }}"""
    assert_rewrites(PASS, network(*lines), after, rng)


def test_other_constants_are_left_alone() -> None:
    assert_leaves_alone(
        PASS,
        """
  const @c : f32[3] = [0x1.0p+1, -0x1.8p+0, 0x1.0p+0]
  const @one : f32[] = [0x1.0p+1]
  func @main(%x: f32[1,2,3,3]) -> (%y: f32[1,2,3,3]) {
    %m = mul(%x, @c) : f32[1,2,3,3]
    %y = add(%m, @one) : f32[1,2,3,3]
    return %y
  }""",
    )


def test_arithmetic_on_positions_stays_real() -> None:
    """As where flow is added to a grid: positions of 8 bits would cost more than a fifth of a pixel each."""
    for makes_positions in (True, False):
        net = OnnxNetwork(np.random.default_rng(2))
        places = net.op("Add", net.op("Conv", "x", net.some(2, 3, 1, 1)), net.some(1, 2, 6, 6))
        scaled = net.op("Sub", net.op("Div", places, net.some(2, 1, 1, about=3.0, by=0.5)), net.some(2, 1, 1))
        if makes_positions:
            end = net.op("GridSample", "x", net.op("Transpose", scaled, perm=[0, 2, 3, 1]))
        else:
            end = net.op("Conv", scaled, net.some(2, 2, 1, 1))
        module = import_model(net.model([1, 3, 6, 6], end))
        run_pass(PASS, module)
        names = [op.name for op in module.ops]
        assert names.count("conv") == (1 if makes_positions else 3), names
        assert ("div" in names) == makes_positions, names


@pytest.mark.parametrize("slopes", ["[0x1.0p-2, 0x1.8p+0]", "[-0x1.0p-1, 0x1.0p+0]"])
def test_prelu_is_a_sum_with_what_is_below_zero(slopes: str, rng: np.random.Generator) -> None:
    module = between_convolutions(slopes)
    before = clone(module)
    run_pass(f"{PASS}{{prelu=false}}", module)
    assert [op.name for op in module.ops] == ["conv", "prelu", "conv"]
    run_pass(PASS, module)
    assert [op.name for op in module.ops] == ["conv", "clip", "conv", "add", "conv"]
    assert [op.result.name for op in module.ops][1:4] == ["p_below", "p_scaled", "p"], "ranges are given by its name"
    assert_same_meaning(before, module, rng)


def test_prelu_stays_where_its_result_becomes_no_integers(rng: np.random.Generator) -> None:
    """On the host, where it has its own function: as an output, kept in floating point by whatever name, in volumes."""
    last = parse(network("%y = prelu(%x, @c) : f32[1,2,3,3]"))
    run_pass(PASS, last)
    assert [op.name for op in last.ops] == ["prelu"]
    for name in ("prelu", "p"):
        kept = between_convolutions()
        calibration_pipeline((name,)).run(kept)
        assert [op.name for op in kept.ops] == ["conv", "prelu", "conv"]
    net = OnnxNetwork(rng)
    x = net.op("PRelu", net.op("Conv", "x", net.some(2, 2, 1, 1, 1)), net.some(2, 1, 1, 1))
    volumes = import_model(net.model([1, 2, 3, 3, 3], net.op("Conv", x, net.some(2, 2, 1, 1, 1))))
    calibration_pipeline().run(volumes)
    assert "prelu" in [op.name for op in volumes.ops]


def test_prelu_stays_before_a_convolution_in_floating_point_and_not_before_sums_of_integers() -> None:
    kept = between_convolutions()
    calibration_pipeline(("y",)).run(kept)
    assert [op.name for op in kept.ops] == ["conv", "prelu", "conv"]
    net = OnnxNetwork(np.random.default_rng(1))
    first = net.op("PRelu", net.op("Conv", "x", net.some(4, 3, 1, 1)), net.some(4, 1, 1))
    second = net.op("PRelu", net.op("Add", first, net.op("Abs", first)), net.some(4, 1, 1))
    module = import_model(net.model([1, 3, 4, 4], net.op("Conv", second, net.some(2, 4, 1, 1))))
    calibration_pipeline().run(module)
    assert "prelu" not in [op.name for op in module.ops], "what a sum reads becomes integers, too"


@pytest.mark.parametrize("keep", [(), ("prelu",)])
def test_encodings_by_the_name_of_a_prelu_are_those_of_its_sum(
    keep: tuple[str, ...], rng: np.random.Generator, tmp_path: Path
) -> None:
    net = OnnxNetwork(rng)
    x = net.op("PRelu", net.op("Conv", "x", net.some(6, 3, 3, 3)), net.some(6, 1, 1, about=0.5, by=0.6))
    model = net.model([1, 3, 7, 7], net.op("Conv", x, net.some(4, 6, 3, 3)))
    samples = rng.standard_normal((8, 3, 7, 7)).astype(np.float32)
    encodings = tmp_path / "prelu.encodings"
    entry = {"bitwidth": 8, "scale": 0.0625, "offset": -128, "dtype": "int", "is_symmetric": "False"}
    encodings.write_text(json.dumps({"activation_encodings": {x: [entry]}, "param_encodings": {}}))
    options = CompileOptions(
        precision="int8", calibration=samples, encodings=encodings, engines="device,software", keep_float=keep
    )
    module = quantize_module(import_model(model), options)
    assert ("prelu" in [op.name for op in module.ops]) == bool(keep)
    read = [op.inputs[0].type.quant for op in module.ops if is_op(op, Conv)]
    assert read[-1] is not None and read[-1].scale == (0.0625,)


def test_without_samples_a_file_need_not_tell_what_is_below_zero(rng: np.random.Generator, tmp_path: Path) -> None:
    """Its steps are those of the operand; nobody who writes such a file has a tensor of that name."""
    net = OnnxNetwork(rng)
    names = ["x", net.op("Conv", "x", net.some(6, 3, 3, 3))]
    names.append(net.op("PRelu", names[-1], net.some(6, 1, 1, about=0.5, by=0.6)))
    names.append(net.op("Conv", names[-1], net.some(4, 6, 3, 3)))
    entry = {"bitwidth": 8, "scale": 0.0625, "offset": -128, "dtype": "int", "is_symmetric": "False"}
    encodings = tmp_path / "all.encodings"
    encodings.write_text(json.dumps({"activation_encodings": {name: [entry] for name in names}, "param_encodings": {}}))
    options = CompileOptions(precision="int8", encodings=encodings, engines="device,software", methods="none")
    module = quantize_module(import_model(net.model([1, 3, 7, 7], names[-1])), options)
    (clip,) = (op for op in module.ops if is_op(op, Clip))
    assert clip.result.type.quant == clip.inputs[0].type.quant


def test_16_bits_for_prelu_are_those_of_its_sums(rng: np.random.Generator) -> None:
    net = OnnxNetwork(rng)
    x = net.op("PRelu", net.op("Conv", "x", net.some(6, 3, 3, 3)), net.some(6, 1, 1, about=0.5, by=0.6))
    module = import_model(net.model([1, 3, 7, 7], net.op("Conv", x, net.some(4, 6, 3, 3))))
    samples = rng.standard_normal((8, 3, 7, 7)).astype(np.float32)
    for engines in ("device,software", "software"):
        options = CompileOptions(precision="int8", calibration=samples, engines=engines, wide=("prelu",))
        found = quantize_module(module, options)
        assert DType.I16 in [value.type.dtype for op in found.ops for value in op.results]


@pytest.mark.parametrize("machine", ["m4096", "s256"])
def test_networks_with_prelu_are_one_program(machine: str, rng: np.random.Generator) -> None:
    """Each had been a program for what is before it. Values of 8 bits are rounded once for a PReLU, as on the host."""
    net = OnnxNetwork(rng)
    x = net.op("Conv", "x", net.some(20, 3, 3, 3), kernel_shape=[3, 3], strides=[2, 2])
    x = net.op("PRelu", x, net.some(20, 1, 1, about=0.5, by=0.6))
    y = net.op("Conv", x, net.some(20, 1, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=20)
    y = net.op("PRelu", net.op("Add", x, net.op("Conv", y, net.some(20, 20, 1, 1))), net.some(1, 20, 1, 1))
    last = net.op("Conv", y, net.some(4, 20, 3, 3))
    model = net.model([1, 3, 17, 17], last)
    feeds = {"x": rng.random((1, 3, 17, 17)).astype(np.float32)}
    options = CompileOptions(precision="int8", calibration=[feeds], machine=machine, effort="quick")
    artifact = compile_to_memory(model, options)
    placed = [each for each in details_of(artifact).placement if each.on == "cpu"]
    assert {each.op for each in placed} <= {"quantize", "dequantize", "reorder"}
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, feeds)
    (wanted,) = interp.run(import_model(model), feeds).values()
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


def test_the_accelerator_keeps_what_a_prelu_reads() -> None:
    """Slopes for each element make no sum, and a convolution that ends a program ends it in the midst of a network."""
    main = between_convolutions().main
    real = [plan_quantization(main, real_outputs=True, shortcuts=shortcuts).real for shortcuts in (False, True)]
    assert [{op.result.name for op in each} for each in real] == [{"a", "y"}, {"y"}]


def test_the_host_takes_what_a_prelu_reads_from_accumulators(rng: np.random.Generator) -> None:
    """By the method that does so at the end of a network; half of 256 steps were for numbers that end in few."""
    net = OnnxNetwork(rng)
    x = net.op("PRelu", net.op("Conv", "x", net.some(6, 3, 3, 3)), net.some(6, 1, 1, about=0.1, by=0.1))
    model = net.model([1, 3, 9, 9], net.op("Conv", x, net.some(4, 6, 3, 3)))
    samples = [{"x": rng.standard_normal((1, 3, 9, 9)).astype(np.float32)} for _ in range(8)]
    floating, noise = import_model(model), list[float]()
    for methods, before in (("none", "dequantize"), ("outputs", "conv")):
        options = CompileOptions(precision="int8", calibration=samples, engines="software", methods=methods)
        module = quantize_module(import_model(model), options)
        (prelu,) = (op for op in module.ops if is_op(op, PRelu))
        assert prelu.inputs[0].producer is not None and prelu.inputs[0].producer.name == before
        with load(compile_to_memory(model, options)) as session:
            found = np.concatenate([next(iter(session.run(each).values())) for each in samples])
        wanted = np.concatenate([next(iter(interp.run(module, each).values())) for each in samples])
        exact = np.concatenate([next(iter(interp.run(floating, each).values())) for each in samples])
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        noise.append(float(np.linalg.norm(found - exact)))
    assert noise[1] < 0.8 * noise[0]


@pytest.mark.parametrize("affine", [True, False])
def test_networks_that_mix_tokens_are_one_program(affine: bool, rng: np.random.Generator) -> None:
    """Channels become pixels and pixels channels, what scales channels of tokens is a convolution, and a mean over them
    a pool. Each had ended a program."""
    net = OnnxNetwork(rng)
    x, numbers = net.op("MatMul", "x", net.some(24, 20)), [net.some(20, about=1.0), net.some(1, 1, 20)]
    for _ in range(2):
        y = net.op("Add", net.op("Mul", x, numbers[0]), numbers[1]) if affine else x
        y = y if affine else net.op("LayerNormalization", x, net.some(20, about=1.0), net.some(20), axis=-1)
        y = net.op("MatMul", net.op("Transpose", y, perm=[0, 2, 1]), net.some(18, 18))
        y = net.op("Transpose", net.op("Relu", y), perm=[0, 2, 1])
        x = net.op("Add", x, net.op("Mul", y, net.some(20)) if affine else y)
    mean = net.op("ReduceMean", x, axes=[1], keepdims=0)
    model = net.model([2, 18, 24], net.op("Gemm", mean, net.some(20, 5)))
    feeds = {"x": rng.random((2, 18, 24)).astype(np.float32)}
    options = CompileOptions(precision="int8", calibration=[feeds], machine="m4096", effort="quick")
    artifact = compile_to_memory(model, options)
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, feeds)
    (wanted,) = interp.run(import_model(model), feeds).values()
    assert np.linalg.norm(found - wanted) < 0.06 * np.linalg.norm(wanted)


def test_vectors_over_their_lengths_are_normalised_on_the_accelerator(rng: np.random.Generator) -> None:
    """Along channels and along tokens, with sums of tokens by weights, a row for all and a number for each: additive
    attention is one program."""
    net = OnnxNetwork(rng, opset=13)

    def of_length_one(value: str, axis: int) -> str:
        length = net.op(
            "Clip", net.op("ReduceL2", value, axes=[axis], keepdims=1), net.number(np.array(1e-12, np.float32))
        )
        return net.op("Div", value, net.op("Expand", length, net.op("Shape", value)))

    x = net.op("Relu", net.op("MatMul", "x", net.some(8, 24)))
    q, k = (of_length_one(net.op("MatMul", x, net.some(24, 24)), 2) for _ in range(2))
    weights = of_length_one(net.op("MatMul", q, net.some(24, 1)), 1)
    whole = net.op("ReduceSum", net.op("Mul", weights, q), net.number(np.array([1])), keepdims=1)
    y = net.op("Add", net.op("MatMul", net.op("Mul", whole, k), net.some(24, 24)), q)
    model = net.model([1, 20, 8], net.op("MatMul", y, net.some(24, 5)))
    feeds = {"x": rng.normal(size=(1, 20, 8)).astype(np.float32)}
    artifact = compile_to_memory(
        model, CompileOptions(precision="int8", calibration=[feeds], machine="m4096", effort="quick")
    )
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, feeds)
    (wanted,) = interp.run(import_model(model), feeds).values()
    assert np.linalg.norm(found - wanted) < 0.06 * np.linalg.norm(wanted)


def test_vectors_that_hold_nothing_stay_so_whatever_their_bound() -> None:
    module = parse("""
  const @w : f32[4,2] = [0x1.0p0, 0x1.0p0, 0x1.0p0, 0x1.0p0, 0x1.0p0, 0x1.0p0, 0x1.0p0, 0x1.0p0]
  func @main(%x: f32[1,2,4]) -> (%y: f32[1,2,2]) {
    %p = matmul(%x, @w, _, _) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[1,2,2]
    %l = reduce_l2(%p) {axes=[2], keepdims=true} : f32[1,2,1]
    %b = clip(%l) {min=0x1.0p-100, max=inf} : f32[1,2,1]
    %y = div(%p, %b) : f32[1,2,2]
    return %y
  }""")
    run_pass(PASS, module)
    assert [op.name for op in module.ops] == ["matmul", "rms_norm"]
    assert not interp.run(module, {"x": np.zeros((1, 2, 4), np.float32)})["y"].any()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_window_over_signals_stays_one_product(channels: int) -> None:
    """Its numbers along the last axis are no channels: no product takes rows of them."""
    assert_leaves_alone(
        PASS,
        f"""
  const @c : f32[4] = [0x0.0p+0, 0x1.8p-1, 0x1.8p-1, 0x0.0p+0]
  const @w : f32[2,{channels},2] = [{", ".join(["0x1.0p-1"] * 4 * channels)}]
  func @main(%x: f32[1,{channels},4]) -> (%y: f32[1,2,2]) {{
    %a = mul(%x, @c) : f32[1,{channels},4]
    %y = conv(%a, @w, _) {{strides=[2], pads=[0, 0], dilations=[1], group=1, act="none", act_args=[]}} : f32[1,2,2]
    return %y
  }}""",
    )


@pytest.mark.parametrize(
    ("arithmetic", "is_turned"), [("sub(@c, %r)", True), ("div(%r, @c)", True), ("div(@c, %r)", False)]
)
def test_constants_on_either_side_of_tokens(arithmetic: str, is_turned: bool, rng: np.random.Generator) -> None:
    """Channels come first where a convolution does it: a constant that is divided is no such."""
    module = parse(
        f"""
  const @c : f32[4] = [0x1.0p+0, 0x1.8p+0, 0x1.0p-2, 0x1.0p+2]
  const @w : f32[4,1] = [0x1.0p+0, 0x1.8p+0, -0x1.0p-2, 0x1.0p+2]
  func @main(%x: f32[1,3,4]) -> (%y: f32[1,3,1]) {{
    %r = softmax(%x) {{axis=2}} : f32[1,3,4]
    %s = {arithmetic} : f32[1,3,4]
    %t = relu(%s) : f32[1,3,4]
    %y = matmul(%t, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : f32[1,3,1]
    return %y
  }}"""
    )
    before = clone(module)
    run_pass(PASS, module)
    assert [op.name for op in module.ops if op.name in ("transpose", "conv")] == (
        ["transpose", "conv", "transpose"] if is_turned else []
    )
    assert_same_meaning(before, module, rng)


@pytest.mark.parametrize("number", ["0x0.0p+0", "0x1.0p-140"])
def test_what_is_divided_by_nearly_nothing_stays(number: str) -> None:
    """As weights its reciprocals would be infinite."""
    text = network("%y = div(%x, @c) : f32[1,2,3,3]").replace("0x1.0p+1, -0x1.8p+0", f"0x1.0p+1, {number}")
    assert_leaves_alone(PASS, text)


def test_arithmetic_on_tokens_that_becomes_no_convolution_is_not_turned() -> None:
    assert_leaves_alone(
        PASS,
        """
  const @c : f32[2] = [inf, inf]
  const @w : f32[2,1] = [0x1.0p+0, 0x1.0p+0]
  func @main(%x: f32[1,3,2]) -> (%y: f32[1,3,1]) {
    %a = add(%x, @c) : f32[1,3,2]
    %y = matmul(%a, @w, _, _) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[1,3,1]
    return %y
  }""",
    )


def test_what_is_below_zero_keeps_its_steps_and_its_sum_is_rounded_once() -> None:
    module = between_convolutions()
    calibration_pipeline().run(module)
    values = plan_quantization(module.main).values
    post_training_pipeline({name: (-1.0 - i, 1.0) for i, name in enumerate(values)}).run(module)
    (clip,) = (op for op in module.ops if is_op(op, Clip))
    assert clip.result.type == clip.inputs[0].type
    (total,) = (op for op in module.ops if is_op(op, Conv) and len(op.inputs) > 2)
    assert total.inputs[-1] is clip.inputs[0] and total.inputs[0] is clip.result


@pytest.mark.parametrize(("is_last", "extent"), [(True, 10), (False, 32)])
def test_a_response_normalisation_is_one_program(is_last: bool, extent: int, rng: np.random.Generator) -> None:
    """Of rows, as ConvNeXt V2 has it, and of a map with more rows than a window."""
    net = OnnxNetwork(rng)
    axes, channel, shape = ([1, 2], 3, (20,)) if is_last else ([2, 3], 1, (1, 20, 1, 1))
    x = net.op("Conv", "x", net.some(20, 3, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)
    x = net.op("Relu", net.op("Transpose", x, perm=[0, 2, 3, 1]) if is_last else x)
    length = net.op("ReduceL2", x, axes=axes)
    mean = net.op("ReduceMean", length, axes=[channel])
    share = net.op("Div", length, net.op("Add", mean, net.number(np.array(1e-6, np.float32))))
    product = net.op("Mul", net.op("Mul", x, share), net.some(*shape))
    x = net.op("Add", x, net.op("Add", net.some(*shape), product))
    x = net.op("Transpose", x, perm=[0, 3, 1, 2]) if is_last else x
    model = net.model([1, 3, extent, extent], net.op("Conv", x, net.some(8, 20, 1, 1), kernel_shape=[1, 1]))
    samples = [{"x": rng.normal(size=(1, 3, extent, extent)).astype(np.float32)} for _ in range(4)]
    options = CompileOptions(precision="int8", calibration=samples, effort="quick", methods="none")
    artifact = compile_to_memory(model, options)
    host = {each.op for each in details_of(artifact).placement if each.on == "cpu"}
    assert len(artifact.manifest.device_programs) == 1
    assert host <= {"quantize", "dequantize", "reshape", "reorder", "transpose"}
    assert_engines_agree(artifact, samples[0])
    (exact,) = interp.run(import_model(model), samples[0]).values()
    with load(artifact, engine="software") as session:
        (found,) = session.run(samples[0]).values()
    assert np.square(exact).sum() > 1000 * np.square(found - exact).sum()


def test_lengths_over_primes_beyond_a_window_stay() -> None:
    """No two steps make their mean."""
    assert_leaves_alone(
        PASS,
        """
  const @e : f32[] = [0x1.0p-4]
  func @main(%x: f32[1,3,37,2]) -> (%y: f32[1,3,1,1]) {
    %l = reduce_l2(%x) {axes=[2, 3], keepdims=true} : f32[1,3,1,1]
    %m = reduce_mean(%l) {axes=[1], keepdims=true} : f32[1,1,1,1]
    %a = add(%m, @e) : f32[1,1,1,1]
    %y = div(%l, %a) : f32[1,3,1,1]
    return %y
  }""",
    )


def test_shares_of_lengths_keep_their_dimensions() -> None:
    """What is added to the mean may have more."""
    assert_leaves_alone(
        PASS,
        """
  const @e : f32[1,1,1,1,1] = [0x1.0p-4]
  func @main(%x: f32[2,3,5,2]) -> (%y: f32[1,2,3,1,1]) {
    %l = reduce_l2(%x) {axes=[2, 3], keepdims=true} : f32[2,3,1,1]
    %m = reduce_mean(%l) {axes=[1], keepdims=true} : f32[2,1,1,1]
    %a = add(%m, @e) : f32[1,2,1,1,1]
    %y = div(%l, %a) : f32[1,2,3,1,1]
    return %y
  }""",
    )
