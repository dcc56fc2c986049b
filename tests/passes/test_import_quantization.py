"""QDQ patterns become ops on quantised types, with nothing in floating point between them."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, parse, run_pass

from tilewright.ir import interp
from tilewright.ir.core import Module, Op
from tilewright.ir.ops.convolution import Conv

PASS = "import_quantization"

CONSTANTS = """
  const @s : f32[] = [0x1.0p-4]
  const @t : f32[] = [0x1.0p-3]
  const @z : i8[] = [3]
  const @zero : i8[] = [0]
  const @ws : f32[2] = [0x1.0p-5, 0x1.0p-6]
  const @wz : i8[2] = [0, 0]
  const @w : i8[2,1,1,1] = [5, -7]
  const @bs : f32[2] = [0x1.0p-9, 0x1.0p-10]
  const @b : i32[2] = [40, -90]
"""

CONV = "strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1"


def ops_named(module: Module, name: str) -> list[Op]:
    return [op for op in module.ops if op.name == name]


def names(module: Module) -> list[str]:
    return [op.name for op in module.ops]


def qdq(body: str, result: str, shape: str = "1,2,2,2", constants: str = "", x_shape: str = "1,1,2,2") -> str:
    """A function that quantises %x to %xq, and after ``body`` quantises ``result`` with another scale."""
    return f"""{CONSTANTS}{constants}
  func @main(%x: f32[{x_shape}]) -> (%y: f32[{shape}]) {{
    %xi = quantize_linear(%x, @s, @z) {{to=i8, axis=none}} : i8[{x_shape}]
    %xq = dequantize_linear(%xi, @s, @z) {{axis=none}} : f32[{x_shape}]
    {body}
    %yi = quantize_linear({result}, @t, @zero) {{to=i8, axis=none}} : i8[{shape}]
    %yq = dequantize_linear(%yi, @t, @zero) {{axis=none}} : f32[{shape}]
    return %yq
  }}"""


WEIGHTS = """%wq = dequantize_linear(@w, @ws, @wz) {axis=0} : f32[2,1,1,1]
    %bq = dequantize_linear(@b, @bs, _) {axis=0} : f32[2]"""


def test_convolution_with_relu_and_quantised_bias(rng: np.random.Generator) -> None:
    body = f"""{WEIGHTS}
    %c = conv(%xq, %wq, %bq) {{{CONV}, act="none", act_args=[]}} : f32[1,2,2,2] loc("the_conv")
    %r = relu(%c) : f32[1,2,2,2] loc("the_relu")"""
    after = f"""
  const @w : i8[2,1,1,1]<axis=0, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [5, -7]
  const @b : i32[2] = [40, -90]
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,2,2,2]) {{
    %q = quantize(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %c = conv(%q, @w, @b) {{{CONV}, act=relu, act_args=[]}} : i8[1,2,2,2]<s=0x1.0p-3, z=0> loc("the_conv", "the_relu")
    %y = dequantize(%c) : f32[1,2,2,2]
    return %y
  }}"""
    assert_rewrites(PASS, qdq(body, "%r"), after, rng)


@pytest.mark.parametrize(
    ("row", "bias"),
    [
        ("%bq = dequantize_linear(@b, @bs, _) {axis=0} : f32[2]", ""),
        ("", "  const @bq : f32[2] = [0x1.4p-4, -0x1.68p-4]\n"),
    ],
    ids=["integers", "real"],
)
def test_a_row_that_is_added_to_a_product_is_its_bias(rng: np.random.Generator, row: str, bias: str) -> None:
    summand = "@bq" if bias else "%bq"
    flags = 'transpose_a=false, transpose_b=false, act="none", act_args=[]'
    body = f"""%wq = dequantize_linear(@m, @ws, @wz) {{axis=1}} : f32[2,2]
    {row}
    %p = matmul(%xq, %wq, _) {{{flags}}} : f32[1,3,2] loc("the_product")
    %r = add({summand}, %p) : f32[1,3,2] loc("the_sum")"""
    after = f"""
  const @m : i8[2,2]<axis=1, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [5, -7, 3, 9]
  const @b : i32[2] = [40, -90]
  func @main(%x: f32[1,3,2]) -> (%y: f32[1,3,2]) {{
    %q = quantize(%x) : i8[1,3,2]<s=0x1.0p-4, z=3>
    %p = matmul(%q, @m, @b) {{{flags}}} : i8[1,3,2]<s=0x1.0p-3, z=0> loc("the_product", "the_sum")
    %y = dequantize(%p) : f32[1,3,2]
    return %y
  }}"""
    constants = f"  const @m : i8[2,2] = [5, -7, 3, 9]\n{bias}"
    assert_rewrites(PASS, qdq(body, "%r", "1,3,2", constants, "1,3,2"), after, rng)


def test_padding_goes_into_the_convolution_through_another_scale(rng: np.random.Generator) -> None:
    body = f"""%p = pad(%xq) {{pads=[0, 0, 1, 0, 0, 0, 0, 1], mode=constant, value=0x0.0p+0}} : f32[1,1,3,3]
    %pi = quantize_linear(%p, @t, @zero) {{to=i8, axis=none}} : i8[1,1,3,3]
    %pq = dequantize_linear(%pi, @t, @zero) {{axis=none}} : f32[1,1,3,3]
    %wq = dequantize_linear(@w, @ws, @wz) {{axis=0}} : f32[2,1,1,1]
    %c = conv(%pq, %wq, _) {{{CONV}, act="none", act_args=[]}} : f32[1,2,3,3]"""
    padded = CONV.replace("pads=[0, 0, 0, 0]", "pads=[1, 0, 0, 1]")
    after = f"""
  const @w : i8[2,1,1,1]<axis=0, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [5, -7]
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,2,3,3]) {{
    %q = quantize(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %r = requantize(%q) : i8[1,1,2,2]<s=0x1.0p-3, z=0>
    %c = conv(%r, @w, _) {{{padded}, act="none", act_args=[]}} : i8[1,2,3,3]<s=0x1.0p-3, z=0>
    %y = dequantize(%c) : f32[1,2,3,3]
    return %y
  }}"""
    assert_rewrites(PASS, qdq(body, "%c", "1,2,3,3"), after, rng)


def shifted(zero: int) -> str:
    """A convolution of %xq, taken to u8 of the same scale on the way."""
    body = f"""%pi = quantize_linear(%xq, @s, @u) {{to=u8, axis=none}} : u8[1,1,2,2]
    %pq = dequantize_linear(%pi, @s, @u) {{axis=none}} : f32[1,1,2,2]
    %wq = dequantize_linear(@w, @ws, @wz) {{axis=0}} : f32[2,1,1,1]
    %c = conv(%pq, %wq, _) {{{CONV}, act="none", act_args=[]}} : f32[1,2,2,2]"""
    return qdq(body, "%c", constants=f"  const @u : u8[] = [{zero}]")


def test_a_convolution_reads_integers_that_are_only_moved_as_they_were(rng: np.random.Generator) -> None:
    after = f"""
  const @w : i8[2,1,1,1]<axis=0, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [5, -7]
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,2,2,2]) {{
    %q = quantize(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %c = conv(%q, @w, _) {{{CONV}, act="none", act_args=[]}} : i8[1,2,2,2]<s=0x1.0p-3, z=0>
    %y = dequantize(%c) : f32[1,2,2,2]
    return %y
  }}"""
    assert_rewrites(PASS, shifted(131), after, rng)
    for other in (130, 3):  # these saturate elsewhere
        module = parse(shifted(other))
        run_pass(PASS, module)
        assert names(module) == ["quantize", "requantize", "conv", "dequantize"]


def test_padding_with_a_number_off_the_grid_stays_real() -> None:
    body = "%p = pad(%xq) {pads=[0, 0, 1, 0, 0, 0, 0, 1], mode=constant, value=0x1.0p-5} : f32[1,1,3,3]"
    module = parse(qdq(body, "%p", "1,1,3,3"))
    run_pass(PASS, module)
    assert ops_named(module, "pad")[0].result.type.quant is None


def test_concat_brings_its_operands_to_the_scale_of_the_result(rng: np.random.Generator) -> None:
    body = """%r = relu(%xq) : f32[1,1,2,2]
    %ri = quantize_linear(%r, @t, @zero) {to=i8, axis=none} : i8[1,1,2,2]
    %rq = dequantize_linear(%ri, @t, @zero) {axis=none} : f32[1,1,2,2]
    %c = concat(%xq, %rq) {axis=1} : f32[1,2,2,2]"""
    after = """
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,2,2,2]) {
    %q = quantize(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %r = relu(%q) : i8[1,1,2,2]<s=0x1.0p-3, z=0>
    %a = requantize(%q) : i8[1,1,2,2]<s=0x1.0p-3, z=0>
    %c = concat(%a, %r) {axis=1} : i8[1,2,2,2]<s=0x1.0p-3, z=0>
    %y = dequantize(%c) : f32[1,2,2,2]
    return %y
  }"""
    assert_rewrites(PASS, qdq(body, "%c"), after, rng)


def test_movement_without_quantisation_around_it_moves_integers(rng: np.random.Generator) -> None:
    body = """%t1 = transpose(%xq) {perm=[0, 2, 3, 1]} : f32[1,2,2,1]
    %f = reshape(%t1) {shape=[1, 4]} : f32[1,4]
    %v = dequantize_linear(@v, @s, _) {axis=none} : f32[4,2]
    %m = matmul(%f, %v, _) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[1,2]"""
    constant = "  const @v : i8[4,2] = [1, 2, 3, 4, -5, -6, -7, -8]"
    after = """
  const @v : i8[4,2]<s=0x1.0p-4, z=0> = [1, 2, 3, 4, -5, -6, -7, -8]
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,2]) {
    %q = quantize(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %t = transpose(%q) {perm=[0, 2, 3, 1]} : i8[1,2,2,1]<s=0x1.0p-4, z=3>
    %f = reshape(%t) {shape=[1, 4]} : i8[1,4]<s=0x1.0p-4, z=3>
    %m = matmul(%f, @v, _) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : i8[1,2]<s=0x1.0p-3, z=0>
    %y = dequantize(%m) : f32[1,2]
    return %y
  }"""
    assert_rewrites(PASS, qdq(body, "%m", "1,2", constant), after, rng)


def test_weights_per_channel_stay_constants_through_a_transposition() -> None:
    body = """%f = reshape(%xq) {shape=[1, 4]} : f32[1,4]
    %v = dequantize_linear(@v, @ws, _) {axis=0} : f32[2,4]
    %t1 = transpose(%v) {perm=[1, 0]} : f32[4,2]
    %m = matmul(%f, %t1, _) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[1,2]"""
    module = parse(qdq(body, "%m", "1,2", "  const @v : i8[2,4] = [1, 2, 3, 4, -5, -6, -7, -8]"))
    run_pass(PASS, module)
    assert names(module) == ["quantize", "reshape", "matmul", "dequantize"]
    weights = ops_named(module, "matmul")[0].operands[1]
    assert weights is not None
    assert weights.type.quant is not None
    assert weights.type.quant.axis == 1


def test_bias_that_is_reshaped_stays_an_integer_constant() -> None:
    body = """%f = reshape(%xq) {shape=[1, 4]} : f32[1,4]
    %v = dequantize_linear(@v, @s, _) {axis=none} : f32[4,2]
    %d = dequantize_linear(@e, @u, _) {axis=none} : f32[1,2]
    %e1 = reshape(%d) {shape=[2]} : f32[2]
    %m = matmul(%f, %v, %e1) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[1,2]"""
    constants = """  const @v : i8[4,2] = [1, 2, 3, 4, -5, -6, -7, -8]
  const @e : i32[1,2] = [1000, -70000]
  const @u : f32[] = [0x1.0p-8]"""
    module = parse(qdq(body, "%m", "1,2", constants))
    run_pass(PASS, module)
    assert names(module) == ["quantize", "reshape", "matmul", "dequantize"]


def test_sum_with_a_clip_that_saturation_does_not_do(rng: np.random.Generator) -> None:
    body = """%a = add(%xq, %xq) : f32[1,1,2,2]
    %r = clip(%a) {min=-0x1.0p+0, max=0x1.0p+0} : f32[1,1,2,2]"""
    after = """
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,1,2,2]) {
    %q = quantize(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %a = add(%q, %q) : i8[1,1,2,2]<s=0x1.0p-3, z=0>
    %r = clip(%a) {min=-0x1.0p+0, max=0x1.0p+0} : i8[1,1,2,2]<s=0x1.0p-3, z=0>
    %y = dequantize(%r) : f32[1,1,2,2]
    return %y
  }"""
    assert_rewrites(PASS, qdq(body, "%r", "1,1,2,2"), after, rng)


def test_sum_with_a_clip_that_saturation_does() -> None:
    body = """%a = add(%xq, %xq) : f32[1,1,2,2]
    %r = clip(%a) {min=-0x1.0p+4, max=0x1.0p+4} : f32[1,1,2,2]"""
    module = parse(qdq(body, "%r", "1,1,2,2"))
    run_pass(PASS, module)
    assert names(module) == ["quantize", "add", "dequantize"]


def test_activation_behind_the_quantisation_of_a_convolution_is_fused(rng: np.random.Generator) -> None:
    body = f"""{WEIGHTS}
    %c = conv(%xq, %wq, %bq) {{{CONV}, act="none", act_args=[]}} : f32[1,2,2,2]
    %ci = quantize_linear(%c, @t, @zero) {{to=i8, axis=none}} : i8[1,2,2,2]
    %cq = dequantize_linear(%ci, @t, @zero) {{axis=none}} : f32[1,2,2,2]
    %r = relu(%cq) : f32[1,2,2,2]"""
    module = parse(qdq(body, "%r"))
    run_pass(PASS, module)
    assert names(module) == ["quantize", "conv", "dequantize"]
    assert "act=relu" in str(module)


def test_product_with_one_number_takes_it_as_a_scale(rng: np.random.Generator) -> None:
    body = "%m = mul(%xq, @half) : f32[1,1,2,2]"
    after = """
  const @half : i8[]<s=0x1.0p-1, z=0> = [-1]
  func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,1,2,2]) {
    %q = quantize(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %m = mul(%q, @half) : i8[1,1,2,2]<s=0x1.0p-3, z=0>
    %y = dequantize(%m) : f32[1,1,2,2]
    return %y
  }"""
    assert_rewrites(PASS, qdq(body, "%m", "1,1,2,2", "  const @half : f32[] = [-0x1.0p-1]"), after, rng)


@pytest.mark.parametrize("function", ["sigmoid", "tanh", "hard_swish", "sqrt"])
def test_functions_of_one_tensor(function: str) -> None:
    module = parse(qdq(f"%f = {function}(%xq) : f32[1,1,2,2]", "%f", "1,1,2,2"))
    run_pass(PASS, module)
    assert names(module) == ["quantize", function, "dequantize"]


def test_mean_over_the_image_is_a_global_average() -> None:
    body = "%m = reduce_mean(%xq) {axes=[2, 3], keepdims=false} : f32[1,1]"
    module = parse(qdq(body, "%m", "1,1"))
    run_pass(PASS, module)
    assert names(module) == ["quantize", "global_average_pool", "reshape", "dequantize"]


def test_bias_of_another_scale_and_bias_in_floating_point_are_rounded() -> None:
    for bias, constant in (
        ("%bq = dequantize_linear(@b, @s, _) {axis=none} : f32[2]", ""),
        ("", "  const @bf : f32[2] = [0x1.4p+1, -0x1.68p+2]"),
    ):
        body = f"""%wq = dequantize_linear(@w, @ws, @wz) {{axis=0}} : f32[2,1,1,1]
    {bias}
    %c = conv(%xq, %wq, {"%bq" if bias else "@bf"}) {{{CONV}, act="none", act_args=[]}} : f32[1,2,2,2]"""
        module = parse(qdq(body, "%c", constants=constant))
        run_pass(PASS, module)
        (conv,) = ops_named(module, "conv")
        b = module.constants[conv.operands[2].name]  # pyright: ignore[reportOptionalMemberAccess]
        assert b.array.tolist() == [int(2.5 * 512), round(-5.625 * 1024)]


def test_a_value_that_is_also_needed_real_keeps_its_convolution_real() -> None:
    body = f"""{WEIGHTS}
    %c = conv(%xq, %wq, %bq) {{{CONV}, act="none", act_args=[]}} : f32[1,2,2,2]
    %e = softmax(%c) {{axis=1}} : f32[1,2,2,2]
    %a = add(%c, %e) : f32[1,2,2,2]"""
    module = parse(qdq(body, "%a"))
    run_pass(PASS, module)
    assert ops_named(module, "conv")[0].result.type.quant is None


def test_shared_quantised_values_and_real_operators_between() -> None:
    body = """%e = softmax(%xq) {axis=3} : f32[1,1,2,2]
    %ei = quantize_linear(%e, @s, @zero) {to=i8, axis=none} : i8[1,1,2,2]
    %eq = dequantize_linear(%ei, @s, @zero) {axis=none} : f32[1,1,2,2]
    %a = add(%xq, %eq) : f32[1,1,2,2]"""
    module = parse(qdq(body, "%a", "1,1,2,2"))
    run_pass(PASS, module)
    assert names(module) == ["quantize", "dequantize", "softmax", "quantize", "add", "dequantize"]


def test_computed_scales_are_left_alone() -> None:
    assert_leaves_alone(
        PASS,
        """func @main(%x: f32[2], %s: f32[]) -> (%y: f32[2]) {
    %q = quantize_linear(%x, %s, _) {to=i8, axis=none} : i8[2]
    %y = dequantize_linear(%q, %s, _) {axis=none} : f32[2]
    return %y
  }""",
    )


def test_integer_inputs_and_outputs_become_quantised() -> None:
    module = parse(f"""
  const @w : i8[2,1,1,1]<axis=0, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [5, -7]
  const @b : i32[2] = [40, -90]
  func @main(%x: i8[1,1,2,2]) -> (%y: i8[1,2,2,2]) {{
    %a = storage_cast(%x) : i8[1,1,2,2]<s=0x1.0p-4, z=3>
    %c = conv(%a, @w, @b) {{{CONV}, act="none", act_args=[]}} : i8[1,2,2,2]<s=0x1.0p-3, z=0>
    %y = storage_cast(%c) : i8[1,2,2,2]
    return %y
  }}""")
    x = np.arange(-2, 2, dtype=np.int8).reshape(1, 1, 2, 2) * 30
    expected = interp.run(module, {"x": x})["y"]
    run_pass(PASS, module)
    assert names(module) == ["conv"]
    assert str(module.main.parameters[0].type) == "i8[1,1,2,2]<s=0x1.0p-4, z=3>"
    np.testing.assert_array_equal(interp.run(module, {"x": x})["y"], expected)


def test_dead_channels_whose_bias_fills_32_bits_are_cleared() -> None:
    constants = """
  const @ds : f32[2] = [0x1.0p-60, 0x1.0p-6]
  const @db : i32[2] = [-2147483647, -90]
  const @dbs : f32[2] = [0x1.0p-64, 0x1.0p-10]"""
    body = f"""%wq = dequantize_linear(@w, @ds, @wz) {{axis=0}} : f32[2,1,1,1]
    %bq = dequantize_linear(@db, @dbs, _) {{axis=0}} : f32[2]
    %c = conv(%xq, %wq, %bq) {{{CONV}, act="none", act_args=[]}} : f32[1,2,2,2]"""
    module = parse(qdq(body, "%c", constants=constants))
    x = {"x": np.full((1, 1, 2, 2), -30, np.float32)}
    expected = interp.run(module, x)["y"]
    run_pass(PASS, module)
    (conv,) = ops_named(module, "conv")
    w, b = (module.constants[v.name].array for v in conv.operands[1:3] if v is not None)
    assert w.ravel().tolist() == [0, -7]
    assert b.tolist() == [0, -90]
    np.testing.assert_array_equal(interp.run(module, x)["y"], expected)
    run_pass("check_accumulator_overflow", module)


@pytest.mark.parametrize("activation", ["", "relu"])
def test_bounds_of_fewer_bits_go_into_the_convolution(activation: str) -> None:
    """Exporters of 4-bit activations store them in bytes, and clip these between the conversions."""
    fused = "%c" if not activation else "%r"
    text = qdq(
        f"""{WEIGHTS}
    %c = conv(%xq, %wq, %bq) {{{CONV}, act="none", act_args=[]}} : f32[1,2,2,2]
    {"%r = relu(%c) : f32[1,2,2,2]" if activation else ""}""",
        fused,
    ).replace(
        "    %yq = dequantize_linear(%yi,",
        """    %yc = clip(%yi) {min=-0x1.0p3, max=0x1.cp2} : i8[1,2,2,2]
    %yq = dequantize_linear(%yc,""",
    )
    before, module = parse(text), parse(text)
    run_pass(PASS, module)
    assert names(module) == ["quantize", "conv", "dequantize"]
    (conv,) = (op.operator for op in module.ops if isinstance(op.operator, Conv))
    assert (conv.act, conv.act_args) == ("clip", (0.0 if activation else -1.0, 0.875))
    x = np.array([[[[-8, -1], [3, 8]]]], np.float32)
    found, expected = (interp.run(each, {"x": x})["y"] for each in (module, before))
    np.testing.assert_array_equal(found, expected)
    assert (expected.min(), expected.max()) == conv.act_args
