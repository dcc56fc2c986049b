"""Networks with attention that bring integers along are one program of the accelerator, as nearly right as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from before_after import parse, run_pass
from device_runs import assert_engines_agree
from onnx_networks import OnnxNetwork
from token_networks import layer, rows

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.export import export_by
from tilewright.compiler.options import CompileOptions
from tilewright.ir import interp
from tilewright.ir.core import Module, is_op
from tilewright.ir.ops.quantization import Quantize
from tilewright.ir.types import DType
from tilewright.runtime.report.details import details_of
from tilewright.runtime.session import load

SHAPE = (1, 20, 24)


def gelu(net: OnnxNetwork, x: str) -> str:
    error = net.op("Erf", net.op("Div", x, net.number(np.array(np.sqrt(2), np.float32))))
    factor = net.op("Add", error, net.number(np.array(1, np.float32)))
    return net.op("Mul", net.op("Mul", x, factor), net.number(np.array(0.5, np.float32)))


def normalized(net: OnnxNetwork, x: str, width: int) -> str:
    return net.op("LayerNormalization", x, net.some(width, about=1.0), net.some(width), axis=-1)


def transformer(rng: np.random.Generator) -> bytes:
    """A learnt token and positions, a layer of attention and one of a GELU, with shortcuts."""
    net = OnnxNetwork(rng)
    tokens = net.op("Concat", net.some(1, 1, 32), rows(net, "x", 24, 32), axis=1)
    x = layer(net, net.op("Add", tokens, net.some(1, 21, 32)), 32)
    y = rows(net, gelu(net, rows(net, normalized(net, x, 32), 32, 64)), 64, 32)
    return net.model([*SHAPE], rows(net, normalized(net, net.op("Add", x, y), 32), 32, 16))


def by_onnxruntime(model: bytes, folder: Path, samples: np.ndarray, **options: object) -> Path:
    quantization = pytest.importorskip("onnxruntime.quantization")
    (folder / "float.onnx").write_bytes(model)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [*samples]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"x": self.left.pop()[None]} if self.left else None

    kinds = {key: quantization.QuantType[value] for key, value in options.items() if key.endswith("type")}
    others = {key: value for key, value in options.items() if key not in kinds}
    files = folder / "float.onnx", folder / "int8.onnx"
    quantization.quantize_static(*files, Reader(), quant_format=quantization.QuantFormat.QDQ, **kinds, **others)
    return files[1]


def by_export(model: bytes, folder: Path, samples: np.ndarray) -> Path:
    export_by(model, folder / "int8.onnx", CompileOptions(calibration=samples), "qdq")
    return folder / "int8.onnx"


SIGNED = {"activation_type": "QInt8", "weight_type": "QInt8", "per_channel": True}
UNSIGNED = {"activation_type": "QUInt8", "weight_type": "QInt8", "reduce_range": True}
SYMMETRIC = {**SIGNED, "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True}}


@pytest.mark.parametrize(
    "quantized",
    [
        by_export,
        lambda *given: by_onnxruntime(*given, **SIGNED),
        pytest.param(lambda *given: by_onnxruntime(*given, **UNSIGNED), marks=pytest.mark.sweep),
        pytest.param(lambda *given: by_onnxruntime(*given, **SYMMETRIC), marks=pytest.mark.sweep),
    ],
    ids=["export", "signed", "unsigned", "symmetric"],
)
def test_one_program_is_no_farther_from_the_numbers(
    quantized: Callable[[bytes, Path, np.ndarray], Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    samples = rng.normal(size=(8, *SHAPE[1:])).astype(np.float32)
    model = transformer(rng)
    file = quantized(model, tmp_path, samples)
    compiled = compile_to_memory(file, CompileOptions(engines="device,software", effort="quick"))
    assert len(compiled.manifest.device_programs) == 1
    host = {each.op for each in details_of(compiled).placement if each.on != "device"}
    assert host <= {"quantize", "dequantize", "reshape"}
    exact = compile_to_memory(file, CompileOptions(engines="software", effort="quick"))
    plainly = onnxruntime.SessionOptions()
    plainly.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    network, written = onnxruntime.InferenceSession(model), onnxruntime.InferenceSession(file, plainly)
    errors = []
    with load(exact) as session:
        for x in samples[:, None]:
            (real,), (rounded,) = (np.asarray(each.run(None, {"x": x})) for each in (network, written))
            (software,) = session.run({"x": x}).values()
            errors.append(
                [np.square(found - real).sum() for found in (assert_engines_agree(compiled, {"x": x}), software)]
            )
            # Without the accelerator every integer is what the file says, but for ties.
            assert np.abs(software - rounded).mean() < 0.02 * np.abs(rounded).mean()
    here, there = np.sum(errors, 0)
    assert here < 1.15 * there


def scores(score_zero: int, weight_zero: int, queries: str = "dequantize_linear(%i, @s, @z) {axis=none}") -> str:
    """Attention that rounds its scores and its weights."""
    rounded = "{{axis=none}} : f32[2,16,16]"
    return f"""
  const @s : f32[] = [0x1.0p-4]
  const @z : i8[] = [{score_zero}]
  const @t : f32[] = [0x1.0p-8]
  const @w : i8[] = [{weight_zero}]
  func @main(%i: i8[2,16,8], %k: f32[2,16,8], %v: f32[2,16,8]) -> (%y: f32[2,16,8]) {{
    %q = {queries} : f32[2,16,8]
    %p = matmul(%q, %k) {{transpose_a=false, transpose_b=true, act="none", act_args=[]}} : f32[2,16,16]
    %a = quantize_linear(%p, @s, @z) {{to=i8, axis=none}} : i8[2,16,16]
    %b = dequantize_linear(%a, @s, @z) {rounded.format()}
    %e = softmax(%b) {{axis=2}} : f32[2,16,16]
    %c = quantize_linear(%e, @t, @w) {{to=i8, axis=none}} : i8[2,16,16]
    %d = dequantize_linear(%c, @t, @w) {rounded.format()}
    %y = matmul(%d, %v) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : f32[2,16,8]
    return %y
  }}"""


@pytest.mark.parametrize(("score_zero", "weight_zero", "left"), [(3, -128, 0), (-128, -128, 1), (127, 0, 1)])
def test_pairs_that_may_do_the_work_of_a_relu_stay(score_zero: int, weight_zero: int, left: int) -> None:
    """Where one stays, no attention is found, and both do."""
    module = parse(scores(score_zero, weight_zero))
    run_pass("inner_rounding", module)
    assert sum(op.name == "quantize_linear" for op in module.ops) == 2 * left


def test_what_is_rounded_nowhere_before_is_rounded_there() -> None:
    """Else attention would be one of real numbers: queries that are scaled before they are rounded."""
    before = """mul(%k, @s) : f32[2,16,8]
    %j = quantize_linear(%m, @s, @z) {to=i8, axis=none} : i8[2,16,8]
    %q = dequantize_linear(%j, @s, @z) {axis=none}"""
    module = parse(scores(3, -128, before).replace("%q = mul", "%m = mul"))
    run_pass("inner_rounding", module)
    (left,) = [op for op in module.ops if op.name == "quantize_linear"]
    assert left.inputs[0].producer is not None
    assert left.inputs[0].producer.name == "mul"


def test_factors_made_of_constants_are_rounded_first() -> None:
    """Computing constants leaves the second conversion of such a factor alone."""
    factor = """%f = transpose(%g) {perm=[0, 2, 1]} : f32[2,16,8]
    %h = quantize_linear(%f, @s, @z) {to=i8, axis=none} : i8[2,16,8]
    %u = dequantize_linear(%h, @s, @z) {axis=none} : f32[2,16,8]
    %y = matmul(%d, %u)"""
    text = scores(3, -128).replace("%y = matmul(%d, %v)", factor).replace("%g", "@g")
    numbers = ", ".join(map(str, np.arange(256) % 7 - 3))
    module = parse(text.replace("const @t", f"const @g : f32[2,8,16] = [{numbers}]\n  const @t"))
    run_pass("inner_rounding", module)
    assert [op.name for op in module.ops].count("quantize_linear") == 1


def test_what_others_read_is_rounded() -> None:
    text = scores(3, -128).replace("(%y: f32[2,16,8])", "(%y: f32[2,16,8], %b: f32[2,16,16])")
    module = parse(text.replace("return %y", "return %y, %b"))
    run_pass("inner_rounding", module)
    assert [op.name for op in module.ops].count("quantize_linear") == 2


SUMS = """
  const @p : f32[4,32] = [{known}]
  const @one : f32[32] = [{ones}]
  func @main(%a: i8[4,32]<s=0x1.0p-4, z=0>, %b: i8[4,32]<s=0x1.0p-5, z=28>, %c: f32[4,32])
      -> (%y: i8[4,32]<s=0x1.0p-5, z=0>, %o: f32[4,32]) {{
    %f = dequantize(%a) : f32[4,32]
    %g = {second} : f32[4,32]
    %h = add(%f, @p) : f32[4,32]
    %s = add(%h, %g) : f32[4,32]
    %n = layer_norm(%s, @one, @one) {{axis=1, epsilon=0x1.0p-10}} : f32[4,32]
    %y = quantize(%n) : i8[4,32]<s=0x1.0p-5, z=0>
    %o = add(%s, %f) : f32[4,32]
    return %y, %o
  }}"""


def sums(second: str = "dequantize(%b)") -> Module:
    known, ones = (", ".join(map(str, each)) for each in ((np.arange(128) % 5 - 2).tolist(), [1] * 32))
    return parse(SUMS.format(known=known, ones=ones, second=second))


def words(module: Module) -> list[float]:
    """The scales of what is rounded to 16 bits, of known numbers the last."""
    results = [op.result.type for op in module.ops if is_op(op, Quantize)]
    return [type.quant.scale[0] for type in results if type.dtype is DType.I16 and type.quant is not None]


def test_sums_reach_as_far_as_their_terms(rng: np.random.Generator) -> None:
    module, before = sums(), sums()
    run_pass("wide_sums", module)
    numbers, first, second, last = words(module)
    np.testing.assert_allclose(numbers, 2 / 32767)
    # -128 steps of 1/16 and the least number that is known, then -156 steps of 1/32 more, and the first term again.
    np.testing.assert_allclose([first, second, last], np.array([10, 14.875, 22.875]) / 32768, rtol=1e-3)
    a, b = (rng.integers(-128, 128, (4, 32)).astype(np.int8) for _ in range(2))
    arrays: dict[str, np.ndarray] = {"a": a, "b": b, "c": np.zeros((4, 32), np.float32)}
    found, expected = interp.run(module, arrays), interp.run(before, arrays)
    assert np.abs(found["o"] - expected["o"]).max() < 2 * last
    assert np.abs(found["y"].astype(int) - expected["y"]).max() <= 1


@pytest.mark.parametrize("second", ["exp(%c)", "add(%c, %c)", "log(%f)", "exp(%f)"])
def test_of_what_nobody_knows_or_reaches_too_far_nothing_is_rounded(second: str) -> None:
    assert not run_pass("wide_sums", sums(second))[0].modified


@pytest.mark.parametrize(
    ("second", "reach"),
    [
        ("abs(%f)", 8 + 9.9375),
        ("layer_norm(%c, @one, @one) {axis=1, epsilon=0x1.0p-10}", np.sqrt(32) + 1 + 10),
    ],
)
def test_functions_and_normalisations_reach_so_far(second: str, reach: float) -> None:
    module = sums(second)
    run_pass("wide_sums", module)
    assert np.isclose(words(module)[-2] * 32768, reach, rtol=1e-3)
