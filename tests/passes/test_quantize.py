"""Post-training quantisation: what is quantised, to which parameters, and how near the result is."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import clone, parse, run_pass
from calibration_interpreter import collect_ranges, interpreter, quantize_with

from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.calibration.statistics import Findings
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import ParseError, PassError
from tilewright.ir import interp
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Function, Module, Op
from tilewright.ir.ops.convolution import ConvTranspose
from tilewright.ir.types import DType, TensorType
from tilewright.passes.pipeline import Pipeline
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.passes.quantization.quantizable import is_anchor
from tilewright.passes.quantization.quantize import Quantize

CONV = 'strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1], group=1, act="none", act_args=[]'
FLOATS = "f32[1,4,6,6]"


def network(
    rng: np.random.Generator, body: str, tail: str = "", result: str = "%z", channels: int = 4, weights: int = 4
) -> Module:
    """A first convolution and ReLU of %x into %a, ``body``, a last convolution of %b into %z, and ``tail``."""
    arrays = {
        f"w{i}": (rng.standard_normal((4, channels if i == weights - 1 else 4, 3, 3)) / 6).astype(np.float32)
        for i in range(weights)
    }
    constants = "\n".join(
        f'  const @w{i} : f32[4,{a.shape[1]},3,3] = blob "{i:064d}"' for i, a in enumerate(arrays.values())
    )
    constants = constants.replace('blob "', 'blob "sha256:')
    text = f"""{constants}
  const @b : f32[4] = [0x1.0p-2, -0x1.0p-3, 0x1.0p-1, 0x0.0p+0]
  func @main(%x: {FLOATS}) -> (%y: {FLOATS}) {{
    %c0 = conv(%x, @w0, @b) {{{CONV}}} : {FLOATS} loc("first")
    %a = relu(%c0) : {FLOATS}
    {body}
    %z = conv(%b, @w{weights - 1}, _) {{{CONV}}} : {FLOATS} loc("last")
    {tail}
    return {result}
  }}"""
    return parse(text, {f"{i:064d}": array for i, array in enumerate(arrays.values())})


def inputs(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((8, 4, 6, 6)).astype(np.float32)


def calibrated(module: Module, data: np.ndarray, *, activations: str = "i8", keep: tuple[str, ...] = ()) -> Quantize:
    """The pass with the ranges that the values of the network take on the data."""
    values = plan_quantization(module.main, keep).values
    (parameter,) = module.main.parameters
    samples = open_calibration_set(data, {parameter.name: parameter.type})
    ranges = collect_ranges(interpreter(module, values), samples, values, method="minmax")
    return quantize_with(ranges, activations, keep)


def names(module: Module) -> list[str]:
    return [op.name for op in module.ops]


def find(module: Module, name: str) -> Op:
    return next(op for op in module.ops if op.name == name)


def signal_to_noise(found: np.ndarray, expected: np.ndarray) -> float:
    """In decibels."""
    return float(10 * np.log10(np.sum(expected**2) / np.sum((found - expected) ** 2)))


BODIES = {
    "chain": (
        "%b = max_pool(%a) {kernel=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1]} : f32[1,4,6,6]",
        4,
    ),
    "residual": (
        f"%c1 = conv(%a, @w1, _) {{{CONV}}} : {FLOATS}\n    %s = add(%c1, %a) : {FLOATS}\n    %b = relu(%s) : {FLOATS}",
        4,
    ),
    "table": (f"%b = hard_swish(%a) : {FLOATS}", 4),
    "clip": (
        f"%c1 = conv(%a, @w1, _) {{{CONV}}} : {FLOATS}\n    %b = clip(%c1) {{min=0x0.0p+0, max=0x1.0p-1}} : {FLOATS}",
        4,
    ),
    "concat": (
        f"%c1 = conv(%a, @w1, _) {{{CONV}}} : {FLOATS}\n    %t = tanh(%a) : {FLOATS}\n"
        "    %b = concat(%c1, %t) {axis=1} : f32[1,8,6,6]",
        8,
    ),
    "gate": (
        f"%g = global_average_pool(%a) : f32[1,4,1,1]\n    %h = sigmoid(%g) : f32[1,4,1,1]\n"
        f"    %b = mul(%a, %h) : {FLOATS}",
        4,
    ),
    "halves": (
        "%p, %q = split(%a) {axis=1, sizes=[2, 2]} : f32[1,2,6,6], f32[1,2,6,6]\n"
        "    %b = concat(%q, %p) {axis=1} : f32[1,4,6,6]",
        4,
    ),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("activations", ["i8", "u8"])
def test_everything_between_convolutions_is_quantised(kind: str, activations: str, rng: np.random.Generator) -> None:
    body, channels = BODIES[kind]
    module = network(rng, body, channels=channels)
    data = inputs(rng)
    expected = [interp.run(module, {"x": x[np.newaxis]})["y"] for x in data]
    run_pass(calibrated(module, data, activations=activations), module)
    run_pass("check_accumulator_overflow", module)
    real = [op.name for op in module.ops if any(v.type.dtype.is_float for v in (*op.inputs, *op.results))]
    assert real == ["quantize", "dequantize"]
    found = [interp.run(module, {"x": x[np.newaxis]})["y"] for x in data]
    assert signal_to_noise(np.stack(found), np.stack(expected)) > 30
    assert "range" not in str(module)


def test_clip_cuts_the_range_and_needs_no_op(rng: np.random.Generator) -> None:
    module = network(rng, BODIES["clip"][0])
    run_pass(calibrated(module, inputs(rng)), module)
    clipped = [op for op in module.ops if op.name == "conv"][1]
    assert clipped.result.type.quant is not None
    assert clipped.result.type.quant.zero_point == (-128,)
    np.testing.assert_allclose(clipped.result.type.quant.scale, 0.5 / 255, rtol=1e-6)


def test_operands_of_concat_take_its_parameters(rng: np.random.Generator) -> None:
    module = network(rng, BODIES["concat"][0], channels=8)
    run_pass(calibrated(module, inputs(rng)), module)
    concat = find(module, "concat")
    assert "requantize" not in names(module)
    assert len({value.type.quant for value in (*concat.inputs, concat.result)}) == 1


def test_a_part_that_is_joined_leaves_the_other_parts_their_range(rng: np.random.Generator) -> None:
    """All that is joined may be smaller than what goes on from the split."""
    body = (
        "%p, %q = split(%a) {axis=1, sizes=[2, 2]} : f32[1,2,6,6], f32[1,2,6,6]\n"
        "    %s = sigmoid(%p) : f32[1,2,6,6]\n    %b = concat(%q, %s) {axis=1} : f32[1,4,6,6]"
    )
    module = network(rng, body)
    quantize = calibrated(module, inputs(rng))
    largest = {name: high for name, _, high in quantize.ranges}
    assert largest["b"] < 0.9 * largest["a"]
    run_pass(quantize, module)
    quant = find(module, "split").inputs[0].type.quant
    assert quant is not None
    np.testing.assert_allclose(quant.scale, largest["a"] / 255, rtol=1e-6)


def test_what_follows_the_last_convolution_stays_real(rng: np.random.Generator) -> None:
    tail = f"%l = leaky_relu(%z) {{alpha=0x1.0p-3}} : {FLOATS}\n    %s = add(%l, %l) : {FLOATS}"
    module = network(rng, f"%b = tanh(%a) : {FLOATS}", tail, "%s")
    run_pass(calibrated(module, inputs(rng)), module)
    assert names(module) == ["quantize", "conv", "tanh", "conv", "dequantize", "leaky_relu", "add"]


def test_operators_without_a_rule_stay_real_between_integers(rng: np.random.Generator) -> None:
    module = network(rng, f"%b = softmax(%a) {{axis=1}} : {FLOATS}")
    run_pass(calibrated(module, inputs(rng)), module)
    assert names(module) == ["quantize", "conv", "dequantize", "softmax", "quantize", "conv", "dequantize"]


def test_products_over_nothing_stay_real() -> None:
    """As adapters of low rank are, before they are given."""
    blobs = {f"{rows:064d}": np.zeros((rows, 6 - rows), np.float32) for rows in (6, 0)}
    down, up = blobs
    attributes = '{act="none", act_args=[], transpose_a=false, transpose_b=false}'
    text = f"""const @down : f32[6,0] = blob "sha256:{down}"
  const @up : f32[0,6] = blob "sha256:{up}"
  func @main(%x: f32[2,6]) -> (%y: f32[2,6]) {{
    %a = matmul(%x, @down, _, _) {attributes} : f32[2,0]
    %y = matmul(%a, @up, _, _) {attributes} : f32[2,6]
    return %y
  }}"""
    module = parse(text, blobs)
    run_pass(Quantize(()), module)
    assert names(module) == ["matmul", "matmul"]


def test_transposed_convolutions_without_results_stay_real() -> None:
    module = Module("empty")
    function = module.add_function(Function("main", [("x", TensorType((1, 3, 4, 4), DType.F32))]))
    for outputs, is_quantised in ((2, True), (0, False)):
        w = module.add_constant(f"w{outputs}", np.ones((3, outputs, 2, 2), np.float32))
        op = function.append(ConvTranspose((2, 2), (0, 0, 0, 0), (1, 1), (0, 0)), [*function.parameters, w, None])
        assert is_anchor(op) is is_quantised


@pytest.mark.parametrize("keep", ["first", "conv"])
def test_nodes_and_operators_can_be_kept_real(keep: str, rng: np.random.Generator) -> None:
    module = network(rng, f"%b = tanh(%a) : {FLOATS}")
    before = names(module)
    run_pass(calibrated(module, inputs(rng), keep=(keep,)), module)
    if keep == "conv":
        assert names(module) == before
    else:
        assert next(op for op in module.ops if "first" in op.loc).result.type.quant is None
        assert find(module, "tanh").result.type.quant is not None
        # What is quantised is what the clamp gives, and not what it cuts.
        assert names(module)[:3] == ["conv", "relu", "quantize"]


def test_overflowing_bias_enlarges_the_scale_of_its_channel(rng: np.random.Generator) -> None:
    module = network(rng, f"%b = tanh(%a) : {FLOATS}")
    tiny = module.constants["w0"].array.copy()
    tiny[2] *= 1e-14
    first = next(op for op in module.ops if op.loc == ("first",))
    first.set_operand(1, module.add_constant("tiny", tiny))
    module.drop_unused_constants()
    data = inputs(rng)
    expected = interp.run(module, {"x": data[:1]})["y"]
    run_pass(calibrated(module, data), module)
    run_pass("check_accumulator_overflow", module)
    assert signal_to_noise(interp.run(module, {"x": data[:1]})["y"], expected) > 30


def test_weights_on_a_grid_are_counted_and_exact(rng: np.random.Generator) -> None:
    module = network(rng, f"%b = tanh(%a) : {FLOATS}")
    for index, name in ((0, "first"), (3, "last")):
        op = next(op for op in module.ops if op.loc == (name,))
        grid = (np.float32(0.01) * rng.integers(-99, 156, (4, 4, 3, 3))).astype(np.float32)
        op.set_operand(1, module.add_constant(f"grid{index}", grid))
    module.drop_unused_constants()
    original = clone_module(module)
    (record,) = run_pass(calibrated(module, inputs(rng)), module)
    assert record.counts["weights on their own grid"] == 2
    for op, before in zip(
        [o for o in module.ops if o.name == "conv"], [o for o in original.ops if o.name == "conv"], strict=True
    ):
        w, real = (module.constants[v.name] if v else None for v in (op.operands[1],)), before.operands[1]
        (constant,) = w
        assert constant is not None
        assert constant.type.quant is not None
        assert real is not None
        scale, zero = constant.type.quant.broadcast(4)
        np.testing.assert_allclose((constant.array - zero) * scale, original.constants[real.name].array, atol=1e-6)


def test_a_tensor_that_is_always_zero(rng: np.random.Generator) -> None:
    module = network(rng, f"%n = neg(%a) : {FLOATS}\n    %b = relu(%n) : {FLOATS}")
    data = inputs(rng)
    run_pass(calibrated(module, data), module)
    np.testing.assert_array_equal(interp.run(module, {"x": data[:1]})["y"], 0)


def test_ranges_must_be_those_of_the_network(rng: np.random.Generator) -> None:
    module = network(rng, f"%b = tanh(%a) : {FLOATS}")
    with pytest.raises(ParseError, match="pass quantize needs option 'ranges'"):
        run_pass("quantize", module)
    with pytest.raises(PassError, match=r"not those of this network; expected 4 values.*found 1 ranges, unknown other"):
        run_pass(quantize_with({"other": (0.0, 1.0)}), module)
    with pytest.raises(PassError, match=r"no such activations; expected i8 or u8, found i16"):
        run_pass("quantize{ranges=[],activations=i16}", module)
    ranges = dict.fromkeys(plan_quantization(module.main).values, (0.0, float("inf")))
    with pytest.raises(
        PassError, match=r"is no range; expected two finite numbers, the smaller one first, found \(0\.0, inf\)"
    ):
        run_pass(quantize_with(ranges), module)


def test_ranges_are_part_of_the_text(rng: np.random.Generator) -> None:
    module = network(rng, f"%b = tanh(%a) : {FLOATS}")
    quantize = calibrated(module, inputs(rng))
    again = clone(module)
    quantize.run(module)
    assert Pipeline.parse(str(quantize)).passes == (quantize,)
    Pipeline.parse(str(quantize)).run(again)
    assert str(module) == str(again)


QUOTIENT = """
  const @c : f32[{shape}] = [{divisor}]
  func @main(%x: f32[2,6]) -> (%y: f32[2,4], %z: f32[2,6]) {{
    %d = div(%x, @c) : f32[2,6]
    %z = floor(%d) : f32[2,6]
    %r = relu(%x) : f32[2,6]
    %q = div(%r, @c) : f32[2,6]
    %y = matmul(%q, @w, _) {{act="none", act_args=[], transpose_a=false, transpose_b=false}} : f32[2,4]
    return %y, %z
  }}"""


def quotients(divisor: float, shape: str, rng: np.random.Generator) -> Module:
    weights = rng.standard_normal((6, 4)).astype(np.float32)
    text = f'const @w : f32[6,4] = blob "sha256:{0:064d}"' + QUOTIENT.format(shape=shape, divisor=float(divisor).hex())
    return parse(text, {f"{0:064d}": weights})


@pytest.mark.parametrize(("divisor", "shape"), [(41.0, ""), (-0.5, "1")])
def test_quotients_by_one_number_are_products_where_integers_are_rounded(
    divisor: float, shape: str, rng: np.random.Generator
) -> None:
    """And nowhere else: of 41, 82, 123 and 164, the floor of a product with 1 / 41 is 0, 1, 3 and 3."""
    module = quotients(divisor, shape, rng)
    data = 41 * rng.integers(1, 9, (8, 6)).astype(np.float32)
    before = clone(module)
    run_pass(calibrated(module, data.reshape(4, 2, 6)), module)
    assert names(module).count("div") == 1
    expected, found = (interp.run(each, {"x": data[:2]}) for each in (before, module))
    np.testing.assert_array_equal(found["z"], expected["z"])
    assert signal_to_noise(found["y"], expected["y"]) > 30


@pytest.mark.parametrize("divisor", [0.0, np.inf, np.nan, 2.0**127])
def test_quotients_without_such_a_factor_stay_real(divisor: float, rng: np.random.Generator) -> None:
    assert {op.name for op in plan_quantization(quotients(divisor, "", rng).main).ops} == {"matmul"}


def test_positions_stay_real_for_their_sines_and_far_factors_are_told(rng: np.random.Generator) -> None:
    """A radiance field: 256 steps over all positions are coarser than waves; the last distance is endless."""
    distances = "[0x1.0p-3, 0x1.0p-3, 0x1.0p-3, 0x1.2a05f2p33]"
    module = parse(
        f"""const @w : f32[8,4] = blob "sha256:{0:064d}"
  const @frequency : f32[1,4] = [0x1.0p5, 0x1.0p6, 0x1.0p7, 0x1.0p8]
  const @distance : f32[1,4] = {distances}
  func @main(%x: f32[16,4]) -> (%y: f32[16,4]) {{
    %p = add(%x, %x) : f32[16,4]
    %a = mul(%p, @frequency) : f32[16,4]
    %s = sin(%a) : f32[16,4]
    %e = concat(%p, %s) {{axis=1}} : f32[16,8]
    %z = matmul(%e, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : f32[16,4]
    %d = relu(%z) : f32[16,4]
    %o = mul(%d, @distance) : f32[16,4]
    %y = exp(%o) : f32[16,4]
    return %y
  }}""",
        {f"{0:064d}": (rng.standard_normal((8, 4)) / 3).astype(np.float32)},
    )
    findings = Findings()
    samples = list(rng.uniform(-1, 1, (8, 16, 4)).astype(np.float32))
    quantized = quantize_module(module, CompileOptions(calibration=samples), findings=findings)
    assert find(quantized, "mul").inputs[0].type.dtype.is_float
    (told,) = [each for each in findings.warnings if "multiplied" in each]
    assert told.startswith("'d' is multiplied by numbers of up to 1e+10, half of which are at most 0.125")
