"""Forms that the accelerator has: each rule before and after, and not one byte of any output changes."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, canonical, clone, parse, random_inputs, run_pass
from device_runs import compile_for_device, run_on_device
from grouped_tests import grouped
from operator_samples import Case, all_cases, operator_of

from tilewright.ir import interp
from tilewright.runtime.machines.machine import load

PASS = "legalize_for_device"
X = "<s=0x1.0p-4, z=3>"
W = "<s=0x1.0p-5, z=0>"
Y = "<s=0x1.0p-3, z=-1>"
ONES = 'dilations=[1, 1], group=1, act="none", act_args=[]'


def test_product_of_a_row_becomes_a_pointwise_convolution(rng: np.random.Generator) -> None:
    assert_rewrites(
        PASS,
        f"""
  const @w : i8[3,2]<axis=1, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [1, 2, 3, 4, 5, 6]
  const @b : i32[2] = [7, -8]
  func @main(%x: i8[5,3]{X}) -> (%y: i8[5,2]{Y}) {{
    %y = matmul(%x, @w, @b, _) {{transpose_a=false, transpose_b=false, act=relu, act_args=[]}} : i8[5,2]{Y} loc("fc")
    return %y
  }}""",
        f"""
  const @w : i8[2,3,1,1]<axis=0, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [1, 3, 5, 2, 4, 6]
  const @b : i32[2] = [7, -8]
  func @main(%x: i8[5,3]{X}) -> (%y: i8[5,2]{Y}) {{
    %m = reshape(%x) {{shape=[5, 3, 1, 1]}} : i8[5,3,1,1]{X} loc("fc")
    %c = conv(%m, @w, @b) {{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act=relu, act_args=[]}}
      : i8[5,2,1,1]{Y} loc("fc")
    %y = reshape(%c) {{shape=[5, 2]}} : i8[5,2]{Y} loc("fc")
    return %y
  }}""",
        rng,
    )


def test_product_of_a_flattened_map_becomes_a_convolution_over_the_map(rng: np.random.Generator) -> None:
    assert_rewrites(
        PASS,
        f"""
  const @w : i8[1,12]{W} = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
  func @main(%x: i8[2,3,2,2]{X}) -> (%y: i8[2,1]{Y}) {{
    %f = reshape(%x) {{shape=[2, 12]}} : i8[2,12]{X} loc("flatten")
    %y = matmul(%f, @w, _, _) {{transpose_a=false, transpose_b=true, act="none", act_args=[]}} : i8[2,1]{Y} loc("fc")
    return %y
  }}""",
        f"""
  const @w : i8[1,3,2,2]{W} = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
  func @main(%x: i8[2,3,2,2]{X}) -> (%y: i8[2,1]{Y}) {{
    %c = conv(%x, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[2,1,1,1]{Y} loc("fc")
    %y = reshape(%c) {{shape=[2, 1]}} : i8[2,1]{Y} loc("fc")
    return %y
  }}""",
        rng,
    )


def test_a_map_that_was_flattened_pixel_by_pixel(rng: np.random.Generator) -> None:
    """As networks made for channels-last frameworks have it."""
    assert_rewrites(
        PASS,
        f"""
  const @w : i8[12,1]{W} = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
  func @main(%x: i8[1,3,2,2]{X}) -> (%y: i8[1,1]{Y}) {{
    %t = transpose(%x) {{perm=[0, 2, 3, 1]}} : i8[1,2,2,3]{X}
    %f = reshape(%t) {{shape=[1, 12]}} : i8[1,12]{X}
    %y = matmul(%f, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[1,1]{Y}
    return %y
  }}""",
        f"""
  const @w : i8[1,3,2,2]{W} = [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12]
  func @main(%x: i8[1,3,2,2]{X}) -> (%y: i8[1,1]{Y}) {{
    %c = conv(%x, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[1,1,1,1]{Y}
    %y = reshape(%c) {{shape=[1, 1]}} : i8[1,1]{Y}
    return %y
  }}""",
        rng,
    )


@pytest.mark.parametrize(
    ("shape", "perm", "rows"),
    [
        ((2, 3, 4, 2), (0, 2, 1, 3), 8),
        ((2, 3, 4, 2), (0, 2, 3, 1), 8),
        ((2, 3, 4, 2), (2, 0, 3, 1), 8),
        ((1, 3, 4, 2), (3, 0, 1, 2), 2),
    ],
)
def test_lines_of_a_map_are_flattened(
    shape: tuple[int, ...], perm: tuple[int, ...], rows: int, rng: np.random.Generator
) -> None:
    """As channels and bands of each step of a sound: each line is covered by a kernel, and no channel changes its
    place with a pixel."""
    moved, inner = [shape[axis] for axis in perm], int(np.prod(shape)) // rows
    weights = rng.integers(-9, 9, 5 * inner).tolist()
    module = parse(f"""
  const @w : i8[{inner},5]{W} = {weights}
  func @main(%x: i8{[*shape]}{X}) -> (%y: i8[{rows},5]{Y}) {{
    %t = transpose(%x) {{perm={[*perm]}}} : i8{moved}{X}
    %f = reshape(%t) {{shape=[{rows}, {inner}]}} : i8[{rows},{inner}]{X}
    %y = matmul(%f, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[{rows},5]{Y}
    return %y
  }}""")
    original = clone(module)
    run_pass(PASS, module)
    assert "= conv(%0, @c0)" in canonical(module)
    inputs, machine = random_inputs(original, rng), load("s256")
    wanted = interp.run(original, inputs)["y"]
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], wanted)
    # Only the host brings lines of several images into an order in which images are not outermost.
    if perm[0] == 0 or shape[0] == 1:
        found = run_on_device(module, compile_for_device(clone(module), machine), machine, inputs)
        np.testing.assert_array_equal(found["y"], wanted)


def test_products_after_each_other_stay_maps(rng: np.random.Generator) -> None:
    assert_rewrites(
        PASS,
        f"""
  const @w : i8[2,2]{W} = [1, 2, 3, 4]
  func @main(%x: i8[1,2]{X}) -> (%y: i8[1,2]{Y}) {{
    %h = matmul(%x, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[1,2]{X}
    %y = matmul(%h, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[1,2]{Y}
    return %y
  }}""",
        f"""
  const @w : i8[2,2,1,1]{W} = [1, 3, 2, 4]
  const @v : i8[2,2,1,1]{W} = [1, 3, 2, 4]
  func @main(%x: i8[1,2]{X}) -> (%y: i8[1,2]{Y}) {{
    %m = reshape(%x) {{shape=[1, 2, 1, 1]}} : i8[1,2,1,1]{X}
    %h = conv(%m, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[1,2,1,1]{X}
    %c = conv(%h, @v, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[1,2,1,1]{Y}
    %y = reshape(%c) {{shape=[1, 2]}} : i8[1,2]{Y}
    return %y
  }}""",
        rng,
    )


def test_rows_of_several_batches_are_multiplied_together(rng: np.random.Generator) -> None:
    assert_rewrites(
        PASS,
        """
  const @w : u8[2,1]<s=0x1.0p-5, z=7> = [1, 200]
  func @main(%x: u8[2,3,2]<s=0x1.0p-4, z=9>) -> (%y: u8[2,3,1]<s=0x1.0p-3, z=8>) {
    %y = matmul(%x, @w, _, _) {transpose_a=false, transpose_b=false, act="none", act_args=[]}
      : u8[2,3,1]<s=0x1.0p-3, z=8>
    return %y
  }""",
        f"""
  const @w : u8[1,2,1,1]<s=0x1.0p-5, z=7> = [1, 200]
  func @main(%x: u8[2,3,2]<s=0x1.0p-4, z=9>) -> (%y: u8[2,3,1]<s=0x1.0p-3, z=8>) {{
    %m = reshape(%x) {{shape=[6, 2, 1, 1]}} : u8[6,2,1,1]<s=0x1.0p-4, z=9>
    %c = conv(%m, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : u8[6,1,1,1]<s=0x1.0p-3, z=8>
    %y = reshape(%c) {{shape=[2, 3, 1]}} : u8[2,3,1]<s=0x1.0p-3, z=8>
    return %y
  }}""",
        rng,
    )


@pytest.mark.parametrize(("columns", "window"), [(1024, (8, 128)), (255, (255,)), (257, (257,))])
@pytest.mark.parametrize("operator", ["global_max_pool", "global_average_pool"])
def test_pools_of_more_columns_than_a_window_has_are_of_several_rows(
    columns: int, window: tuple[int, ...], operator: str, rng: np.random.Generator
) -> None:
    """A prime number of columns has no other form."""
    target = X if operator == "global_max_pool" else Y
    module = parse(
        f"""
  func @main(%x: i8[2,3,{columns}]{X}) -> (%y: i8[2,3,1]{target}) {{
    %y = {operator}(%x) : i8[2,3,1]{target}
    return %y
  }}"""
    )
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    run_pass(PASS, module)
    (pool,) = [op for op in module.ops if op.name == operator]
    assert pool.inputs[0].type.shape[2:] == window
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], expected)


def test_what_follows_a_product_element_by_element_works_on_its_rows(rng: np.random.Generator) -> None:
    """Functions and sums, with numbers, with other tensors and with what the product makes: one reshape is left."""
    assert_rewrites(
        PASS,
        f"""
  const @w : i8[2,2]{W} = [1, 2, 3, 4]
  const @c : i8[1,2]{X} = [5, 6]
  func @main(%x: i8[1,3,2]{X}, %r: i8[1,3,2]{X}) -> (%y: i8[1,3,2]{Y}) {{
    %p = matmul(%x, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[1,3,2]{X}
    %f = gelu(%p) : i8[1,3,2]{X}
    %b = mul(@c, %f) : i8[1,3,2]{X}
    %a = add(%r, %b) : i8[1,3,2]{X}
    %y = add(%a, %p) : i8[1,3,2]{Y}
    return %y
  }}""",
        f"""
  const @w : i8[2,2,1,1]{W} = [1, 3, 2, 4]
  const @c : i8[1,2,1,1]{X} = [5, 6]
  func @main(%x: i8[1,3,2]{X}, %r: i8[1,3,2]{X}) -> (%y: i8[1,3,2]{Y}) {{
    %m = reshape(%x) {{shape=[3, 2, 1, 1]}} : i8[3,2,1,1]{X}
    %p = conv(%m, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[3,2,1,1]{X}
    %f = gelu(%p) : i8[3,2,1,1]{X}
    %b = mul(@c, %f) : i8[3,2,1,1]{X}
    %o = reshape(%r) {{shape=[3, 2, 1, 1]}} : i8[3,2,1,1]{X}
    %a = add(%o, %b) : i8[3,2,1,1]{X}
    %s = add(%a, %p) : i8[3,2,1,1]{Y}
    %y = reshape(%s) {{shape=[1, 3, 2]}} : i8[1,3,2]{Y}
    return %y
  }}""",
        rng,
    )


@pytest.mark.parametrize(
    ("shape", "last", "perm", "back", "beside", "forms"),
    [
        ("1,2,3,5", "1,3,5,2", "0, 2, 3, 1", "0, 3, 1, 2", "2", ["reshape"]),
        ("2,2,3", "2,3,2", "0, 2, 1", "0, 2, 1", "1,3,1", ["reshape", "gather"]),
    ],
)
@pytest.mark.parametrize("returns", [True, False])
def test_products_of_the_pixels_of_a_map_stay_on_it(
    shape: str, last: str, perm: str, back: str, beside: str, forms: list[str], returns: bool, rng: np.random.Generator
) -> None:
    """As networks have them that put channels last between convolutions, with a row for all or a number for each; a
    transposition is left at the end alone."""
    end = f"%y = transpose(%s) {{perm=[{back}]}} : i8[{shape}]{X}" if returns else f"%y = neg(%s) : i8[{last}]{X}"
    module = parse(f"""
  const @w : i8[2,2]{W} = [1, 2, 3, 4]
  const @b : i32[2] = [5, -6]
  const @c : i8[1,2]{X} = [5, 6]
  func @main(%x: i8[{shape}]{X}, %r: i8[{shape}]{X}, %k: i8[{beside}]{X})
      -> (%y: i8[{shape if returns else last}]{X}) {{
    %q = transpose(%r) {{perm=[{perm}]}} : i8[{last}]{X}
    %t = transpose(%x) {{perm=[{perm}]}} : i8[{last}]{X}
    %n = tanh(%t) : i8[{last}]{X}
    %p = matmul(%n, @w, @b, _) {{transpose_a=false, transpose_b=false, act=relu, act_args=[]}} : i8[{last}]{X}
    %g = mul(%k, %p) : i8[{last}]{X}
    %h = gelu(%g) : i8[{last}]{X}
    %a = add(%q, %h) : i8[{last}]{X}
    %s = mul(%a, @c) : i8[{last}]{X}
    {end}
    return %y
  }}""")
    original = clone(module)
    run_pass(PASS, module)
    inputs = random_inputs(original, rng)
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], interp.run(original, inputs)["y"])
    ends = [] if returns else ["neg", "transpose"]
    assert [op.name for op in module.main.ops] == ["tanh", "conv", *forms, "mul", "gelu", "add", "mul", *ends]


def test_rows_that_others_read_too_stay_rows(rng: np.random.Generator) -> None:
    """A product that is read as rows is not computed on a map as well; what follows it is on either side."""
    module = parse(f"""
  const @w : i8[2,2]{W} = [1, 2, 3, 4]
  func @main(%x: i8[1,3,5,2]{X}) -> (%y: i8[1,2,3,5]{X}, %z: i8[1,3,5,2]{X}) {{
    %p = matmul(%x, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[1,3,5,2]{X}
    %g = gelu(%p) : i8[1,3,5,2]{X}
    %y = transpose(%g) {{perm=[0, 3, 1, 2]}} : i8[1,2,3,5]{X}
    %z = tanh(%p) : i8[1,3,5,2]{X}
    return %y, %z
  }}""")
    original = clone(module)
    run_pass(PASS, module)
    inputs = random_inputs(original, rng)
    for name, array in interp.run(original, inputs).items():
        np.testing.assert_array_equal(interp.run(module, inputs)[name], array)
    assert [op.name for op in module.main.ops].count("conv") == 1


def test_what_is_repeated_keeps_its_shape(rng: np.random.Generator) -> None:
    """A row for all rows and a number for each are rows, too; those of one batch are none of all rows."""
    for shape, is_on_rows in (("1,1,2", True), ("2,3,1", True), ("1,3,2", False), ("2,1,2", False), ("2,1,1", False)):
        module = parse(f"""
  const @w : i8[2,2]{W} = [1, 2, 3, 4]
  func @main(%x: i8[2,3,2]{X}, %r: i8[{shape}]{X}) -> (%y: i8[2,3,2]{Y}) {{
    %p = matmul(%x, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[2,3,2]{X}
    %y = add(%p, %r) : i8[2,3,2]{Y}
    return %y
  }}""")
        run_pass(PASS, module)
        assert [op.result.type.rank for op in module.ops if op.name == "add"] == [3 + is_on_rows]


def test_products_that_stay() -> None:
    float_product = """
  const @w : f32[2,2] = [0x1.0p0, 0x1.0p0, 0x1.0p0, 0x1.0p0]
  func @main(%x: f32[1,2]) -> (%y: f32[1,2]) {
    %y = matmul(%x, @w, _, _) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[1,2]
    return %y
  }"""
    assert_leaves_alone(PASS, float_product)
    assert_leaves_alone(
        PASS,
        f"""
  func @main(%x: i8[1,2]{X}, %w: i8[2,2]{W}) -> (%y: i8[1,2]{Y}) {{
    %y = matmul(%x, %w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[1,2]{Y}
    return %y
  }}""",
    )
    assert_leaves_alone(
        PASS,
        f"""
  const @w : i8[1,2]{W} = [1, 2]
  func @main(%x: i8[1,2]{X}) -> (%y: i8[2,2]{Y}) {{
    %y = matmul(%x, @w, _, _) {{transpose_a=true, transpose_b=false, act="none", act_args=[]}} : i8[2,2]{Y}
    return %y
  }}""",
    )


def test_padding_goes_into_convolution_and_clamps_that_do_nothing_go(rng: np.random.Generator) -> None:
    low = "<s=0x1.0p-3, z=-128>"
    assert_rewrites(
        PASS,
        f"""
  const @w : i8[1,1,2,2]{W} = [1, 2, 3, 4]
  func @main(%x: i8[1,1,2,2]{X}) -> (%y: i8[1,1,3,1]{low}) {{
    %p = pad(%x) {{pads=[0, 0, 1, 0, 0, 0, 1, 0], mode=constant, value=0x0.0p0}} : i8[1,1,4,2]{X}
    %c = conv(%p, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[1,1,3,1]{low}
    %y = relu(%c) : i8[1,1,3,1]{low}
    return %y
  }}""",
        f"""
  const @w : i8[1,1,2,2]{W} = [1, 2, 3, 4]
  func @main(%x: i8[1,1,2,2]{X}) -> (%y: i8[1,1,3,1]{low}) {{
    %y = conv(%x, @w, _) {{strides=[1, 1], pads=[1, 0, 1, 0], {ONES}}} : i8[1,1,3,1]{low}
    return %y
  }}""",
        rng,
    )


MAX_POOL = "kernel=[2, 2], strides=[1, 1], pads=[{}], dilations=[1, 1]"


def test_padding_with_the_smallest_integer_goes_into_max_pooling(rng: np.random.Generator) -> None:
    low = "<s=0x1.0p-3, z=-128>"
    assert_rewrites(
        PASS,
        f"""
  func @main(%x: i8[1,1,2,2]{low}) -> (%y: i8[1,1,3,1]{low}) {{
    %p = pad(%x) {{pads=[0, 0, 1, 0, 0, 0, 1, 0], mode=constant, value=0x0.0p0}} : i8[1,1,4,2]{low}
    %y = max_pool(%p) {{{MAX_POOL.format("0, 0, 0, 0")}}} : i8[1,1,3,1]{low}
    return %y
  }}""",
        f"""
  func @main(%x: i8[1,1,2,2]{low}) -> (%y: i8[1,1,3,1]{low}) {{
    %y = max_pool(%x) {{{MAX_POOL.format("1, 0, 1, 0")}}} : i8[1,1,3,1]{low}
    return %y
  }}""",
        rng,
    )
    pool = MAX_POOL.format("0, 0, 0, 0")
    found = forms_of(
        f"""(%x: i8[1,1,2,2]{X}) -> (%y: i8[1,1,3,1]{X}) {{
    %p = pad(%x) {{pads=[0, 0, 1, 0, 0, 0, 1, 0], mode=constant, value=0x0.0p0}} : i8[1,1,4,2]{X}
    %y = max_pool(%p) {{{pool}}} : i8[1,1,3,1]{X}
    return %y
  }}""",
        rng,
    )
    assert found == ["conv", "max_pool"], "zeros are no smallest integers"


def test_padding_goes_into_average_pooling_that_counts_it(rng: np.random.Generator) -> None:
    pool = "kernel=[2, 2], strides=[1, 1], pads=[{}], dilations=[1, 1], count_include_pad={}, overhang=[0, 0]"
    assert_rewrites(
        PASS,
        f"""
  func @main(%x: i8[1,1,2,2]{X}) -> (%y: i8[1,1,3,1]{Y}) {{
    %p = pad(%x) {{pads=[0, 0, 1, 0, 0, 0, 1, 0], mode=constant, value=0x0.0p0}} : i8[1,1,4,2]{X}
    %y = average_pool(%p) {{{pool.format("0, 0, 0, 0", "false")}}} : i8[1,1,3,1]{Y}
    return %y
  }}""",
        f"""
  func @main(%x: i8[1,1,2,2]{X}) -> (%y: i8[1,1,3,1]{Y}) {{
    %y = average_pool(%x) {{{pool.format("1, 0, 1, 0", "true")}}} : i8[1,1,3,1]{Y}
    return %y
  }}""",
        rng,
    )


def test_a_split_becomes_slices(rng: np.random.Generator) -> None:
    assert_rewrites(
        PASS,
        f"""
  func @main(%x: i8[1,5,2]{X}) -> (%a: i8[1,2,2]{X}, %b: i8[1,3,2]{X}) {{
    %a, %b = split(%x) {{axis=1, sizes=[2, 3]}} : i8[1,2,2]{X}, i8[1,3,2]{X}
    return %a, %b
  }}""",
        f"""
  func @main(%x: i8[1,5,2]{X}) -> (%a: i8[1,2,2]{X}, %b: i8[1,3,2]{X}) {{
    %a = slice(%x) {{begin=[0, 0, 0], extent=[1, 2, 2], step=[1, 1, 1]}} : i8[1,2,2]{X}
    %b = slice(%x) {{begin=[0, 2, 0], extent=[1, 3, 2], step=[1, 1, 1]}} : i8[1,3,2]{X}
    return %a, %b
  }}""",
        rng,
    )


def forms_of(text: str, rng: np.random.Generator) -> list[str]:
    """The ops of the only function after the pass, which changes no byte."""
    module = parse(f"func @main{text}")
    original = clone(module)
    run_pass(PASS, module)
    inputs = random_inputs(original, rng)
    for name, array in interp.run(original, inputs).items():
        np.testing.assert_array_equal(interp.run(module, inputs)[name], array)
    return [op.name for op in module.main.ops]


@pytest.mark.parametrize(
    ("begin", "extent", "step", "forms"),
    [
        ("0, 0, 0, 0", "1, 3, 4, 4", "1, 1, 2, 2", ["max_pool"]),
        ("0, 0, 1, 0", "1, 3, 4, 7", "1, 1, 2, 1", ["slice", "max_pool"]),
        ("0, 1, 0, 1", "1, 2, 2, 3", "1, 1, 3, 2", ["slice", "max_pool"]),
        ("0, 0, 3, 0", "1, 3, 1, 7", "1, 1, 5, 1", ["slice"]),
        ("0, 0, 7, 0", "1, 3, 4, 7", "1, 1, -2, 1", ["slice"]),
        ("0, 0, 0, 0", "1, 2, 8, 7", "1, 2, 1, 1", ["slice"]),
    ],
)
def test_steps_are_windows_of_one(
    begin: str, extent: str, step: str, forms: list[str], rng: np.random.Generator
) -> None:
    """But for steps of channels, and backwards."""
    y = f"i8[{extent.replace(' ', '')}]{X}"
    cut = f"%y = slice(%x) {{begin=[{begin}], extent=[{extent}], step=[{step}]}}"
    assert forms_of(f"(%x: i8[1,3,8,7]{X}) -> (%y: {y}) {{ {cut} : {y} return %y }}", rng) == forms


def test_blocks_of_pixels_and_phases_of_channels(rng: np.random.Generator) -> None:
    gathered = "%y = space_to_depth(%x) {blocksize=2}"
    found = forms_of(f"(%x: i8[2,3,4,6]{X}) -> (%y: i8[2,12,2,3]{X}) {{ {gathered} : i8[2,12,2,3]{X} return %y }}", rng)
    assert found == ["max_pool", *["slice", "max_pool"] * 3, "concat"]
    spread = "%y = depth_to_space(%x) {blocksize=2, mode=CRD}"
    found = forms_of(f"(%x: u8[2,12,2,3]{X}) -> (%y: u8[2,3,4,6]{X}) {{ {spread} : u8[2,3,4,6]{X} return %y }}", rng)
    assert found == ["gather", "depth_to_space"]
    spread = "%y = depth_to_space(%x) {blocksize=1, mode=CRD}"
    found = forms_of(f"(%x: u8[1,3,2,3]{X}) -> (%y: u8[1,3,2,3]{X}) {{ {spread} : u8[1,3,2,3]{X} return %y }}", rng)
    assert found == ["gather", "depth_to_space"]


@pytest.mark.parametrize(
    ("parts", "perm", "moved", "result", "forms"),
    [
        ("1,3,2,2,4,6", "0, 1, 4, 2, 5, 3", "1,3,4,2,6,2", "1,3,8,12", ["gather", "depth_to_space"]),
        ("1,2,2,3,4,6", "0, 3, 4, 1, 5, 2", "1,3,4,2,6,2", "1,3,8,12", ["depth_to_space"]),
        ("1,12,2,2,1,6", "0, 3, 4, 1, 2, 5", "1,2,1,12,2,6", "1,24,2,6", ["reshape", "transpose", "reshape"]),
        (
            "1,12,2,2,3,2",
            "0, 3, 5, 1, 2, 4",
            "1,2,2,12,2,3",
            "1,48,2,3",
            ["max_pool", *["slice", "max_pool"] * 3, "concat"],
        ),
    ],
)
def test_spelled_movements(
    parts: str, perm: str, moved: str, result: str, forms: list[str], rng: np.random.Generator
) -> None:
    module = f"""(%x: i8[1,12,4,6]{X}) -> (%y: i8[{result}]{X}) {{
    %g = reshape(%x) {{shape=[{parts}]}} : i8[{parts}]{X}
    %t = transpose(%g) {{perm=[{perm}]}} : i8[{moved}]{X}
    %y = reshape(%t) {{shape=[{result}]}} : i8[{result}]{X}
    return %y
  }}"""
    assert forms_of(module, rng) == forms


@pytest.mark.parametrize(
    ("pads", "shape", "forms"),
    [
        ("0, 1, 0, 0, 0, 2, 0, 0", "1,6,4,4", ["conv", "tanh"]),
        ("0, 0, 1, 0, 0, 0, 0, 2", "1,3,5,6", ["conv", "tanh"]),
        ("0, 1, 1, 0, 0, 2, 0, 2", "1,6,5,6", ["conv", "tanh"]),
        ("1, 0, 0, 0, 0, 0, 0, 0", "2,3,4,4", ["pad", "tanh"]),
    ],
)
@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_zeros_around_a_map_are_those_of_a_product(
    pads: str, shape: str, forms: list[str], dtype: str, rng: np.random.Generator
) -> None:
    module = f"""(%x: {dtype}[1,3,4,4]{X}) -> (%y: {dtype}[{shape}]{X}) {{
    %p = pad(%x) {{pads=[{pads}], mode=constant, value=0x0.0p0}} : {dtype}[{shape}]{X}
    %y = tanh(%p) : {dtype}[{shape}]{X}
    return %y
  }}"""
    assert forms_of(module, rng) == forms


@pytest.mark.parametrize(
    ("before", "padding"), [(1, "mode=constant, value=0x1.0p-4"), (33, "mode=edge, value=0x0.0p0")]
)
def test_other_elements_around_a_map_stay(before: int, padding: str, rng: np.random.Generator) -> None:
    y = f"i8[1,3,{before + 4}]{X}"
    pad = f"%y = pad(%x) {{pads=[0, 0, {before}, 0, 0, 0], {padding}}} : {y}"
    assert forms_of(f"(%x: i8[1,3,4]{X}) -> (%y: {y}) {{ {pad} return %y }}", rng) == ["pad"]


def test_zeros_beside_very_many_channels_stay(rng: np.random.Generator) -> None:
    """As a product they would have weights by the gigabyte."""
    y = f"i8[1,2049,1]{X}"
    pad = f"%y = pad(%x) {{pads=[0, 0, 0, 0, 1, 0], mode=constant, value=0x0.0p0}} : {y}"
    assert forms_of(f"(%x: i8[1,2048,1]{X}) -> (%y: {y}) {{ {pad} return %y }}", rng) == ["pad"]


@pytest.mark.parametrize("name", ["m4096", "s256"])
@pytest.mark.parametrize(
    ("mode", "pads", "shape"),
    [("reflect", (1, 2, 3, 1), "2,5,8,8"), ("edge", (0, 3, 2, 0), "2,5,6,8"), ("wrap", (2, 0, 1, 0), "2,5,7,5")],
)
def test_few_repeated_pixels_around_a_map_are_slices(
    mode: str, pads: tuple[int, ...], shape: str, name: str, rng: np.random.Generator
) -> None:
    top, left, bottom, right = pads
    pad = f"pads=[0, 0, {top}, {left}, 0, 0, {bottom}, {right}], mode={mode}, value=0x0.0p0"
    text = f"(%x: i8[2,5,4,5]{X}) -> (%y: i8[{shape}]{X}) {{ %y = pad(%x) {{{pad}}} : i8[{shape}]{X} return %y }}"
    assert {*forms_of(text, rng)} == {"slice", "concat"}
    module, machine = parse(f"func @main{text}"), load(name)
    inputs = random_inputs(module, rng)
    wanted = interp.run(module, inputs)
    run_pass(PASS, module)
    found = run_on_device(module, compile_for_device(clone(module), machine), machine, inputs)
    np.testing.assert_array_equal(found["y"], wanted["y"])


@pytest.mark.parametrize("order", ["%x, {}", "{}, %x"])
def test_a_constant_operand_gets_the_shape_of_a_map(rng: np.random.Generator, order: str) -> None:
    assert_rewrites(
        PASS,
        f"""
  const @c : i8[1,1]{W} = [5]
  func @main(%x: i8[1,3,2,2]{X}) -> (%y: i8[1,3,2,2]{Y}) {{
    %y = sub({order.format("@c")}) : i8[1,3,2,2]{Y}
    return %y
  }}""",
        f"""
  const @c : i8[1,3,1,1]{W} = [5, 5, 5]
  func @main(%x: i8[1,3,2,2]{X}) -> (%y: i8[1,3,2,2]{Y}) {{
    %y = sub({order.format("@c")}) : i8[1,3,2,2]{Y}
    return %y
  }}""",
        rng,
    )


@pytest.mark.parametrize("operator", ["add", "sub", "mul", "max", "min"])
@pytest.mark.parametrize("order", ["%x, %z", "%z, %x"])
@pytest.mark.parametrize(("channels", "forms"), [(1, ["gather"]), (5, []), (0, [])])
def test_a_map_of_one_channel_is_copied_for_all(
    operator: str, order: str, channels: int, forms: list[str], rng: np.random.Generator
) -> None:
    """Whether each image has one or all share it."""
    x, z = f"u8[2,{5 if channels else 1},3,4]{X}", f"u8[{1 if order < '%y' else 2},{channels or 1},3,4]{X}"
    module = f"(%x: {x}, %z: {z}) -> (%y: {x}) {{ %y = {operator}({order}) : {x} return %y }}"
    assert forms_of(module, rng) == [*forms, operator]


QUANTIZED = [
    case
    for case in all_cases()
    for op in case.module.ops
    if any(value.type.quant is not None for value in (*op.inputs, *op.results))
]


@grouped(QUANTIZED, operator_of)
def test_no_sample_changes_by_a_byte(case: Case) -> None:
    module = clone(case.module)
    run_pass(PASS, module)
    found, expected = interp.run(module, case.inputs), interp.run(case.module, case.inputs)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_channel_shuffle_is_a_choice_of_channels(rng: np.random.Generator) -> None:
    assert_rewrites(
        PASS,
        f"""
  func @main(%x: i8[2,6,2,2]{X}) -> (%y: i8[2,6,2,2]{X}) {{
    %g = reshape(%x) {{shape=[2, 2, 3, 2, 2]}} : i8[2,2,3,2,2]{X}
    %t = transpose(%g) {{perm=[0, 2, 1, 3, 4]}} : i8[2,3,2,2,2]{X}
    %y = reshape(%t) {{shape=[2, 6, 2, 2]}} : i8[2,6,2,2]{X}
    return %y
  }}""",
        f"""
  const @c : i64[6] = [0, 3, 1, 4, 2, 5]
  func @main(%x: i8[2,6,2,2]{X}) -> (%y: i8[2,6,2,2]{X}) {{
    %y = gather(%x, @c) {{axis=1}} : i8[2,6,2,2]{X}
    return %y
  }}""",
        rng,
    )


@pytest.mark.parametrize("half", [0, 1])
def test_half_of_a_shuffle_is_a_choice_of_channels(half: int, rng: np.random.Generator) -> None:
    """As exporters spell ``x[0]`` and ``x[1]`` behind a shuffle into two halves, which both read."""
    assert_rewrites(
        PASS,
        f"""
  func @main(%x: i8[1,6,2,3]{X}) -> (%y: i8[1,3,2,3]{X}, %z: i8[2,1,3,2,3]{X}) {{
    %g = reshape(%x) {{shape=[3, 2, 6]}} : i8[3,2,6]{X}
    %t = transpose(%g) {{perm=[1, 0, 2]}} : i8[2,3,6]{X}
    %z = reshape(%t) {{shape=[2, 1, 3, 2, 3]}} : i8[2,1,3,2,3]{X}
    %s = slice(%z) {{begin=[{half}, 0, 0, 0, 0], extent=[1, 1, 3, 2, 3], step=[1, 1, 1, 1, 1]}} : i8[1,1,3,2,3]{X}
    %y = reshape(%s) {{shape=[1, 3, 2, 3]}} : i8[1,3,2,3]{X}
    return %y, %z
  }}""",
        f"""
  const @c : i64[3] = [{half}, {half + 2}, {half + 4}]
  func @main(%x: i8[1,6,2,3]{X}) -> (%y: i8[1,3,2,3]{X}, %z: i8[2,1,3,2,3]{X}) {{
    %g = reshape(%x) {{shape=[3, 2, 6]}} : i8[3,2,6]{X}
    %t = transpose(%g) {{perm=[1, 0, 2]}} : i8[2,3,6]{X}
    %z = reshape(%t) {{shape=[2, 1, 3, 2, 3]}} : i8[2,1,3,2,3]{X}
    %y = gather(%x, @c) {{axis=1}} : i8[1,3,2,3]{X}
    return %y, %z
  }}""",
        rng,
    )


@pytest.mark.parametrize("perm", [(0, 2, 1, 4, 3), (0, 1, 3, 2, 4), (1, 0, 2, 3, 4)])
def test_movements_of_pixels_or_images_are_none(perm: tuple[int, ...]) -> None:
    assert_leaves_alone(
        PASS,
        f"""
  func @main(%x: i8[2,4,2,2]{X}) -> (%y: i8[2,4,2,2]{X}) {{
    %g = reshape(%x) {{shape=[2, 2, 2, 2, 2]}} : i8[2,2,2,2,2]{X}
    %t = transpose(%g) {{perm={list(perm)}}} : i8[2,2,2,2,2]{X}
    %y = reshape(%t) {{shape=[2, 4, 2, 2]}} : i8[2,4,2,2]{X}
    return %y
  }}""",
    )


def test_several_kernels_of_a_channel_are_those_of_copies(rng: np.random.Generator) -> None:
    conv = 'strides=[1], pads=[1, 1], dilations=[1], act="none", act_args=[]'
    weights = f"const @w : i8[4,1,3]{W} = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]"
    assert_rewrites(
        PASS,
        f"""
  {weights}
  func @main(%x: i8[1,2,5]{X}) -> (%y: i8[1,4,5]{Y}) {{
    %y = conv(%x, @w, _) {{{conv}, group=2}} : i8[1,4,5]{Y}
    return %y
  }}""",
        f"""
  const @c : i64[4] = [0, 0, 1, 1]
  {weights}
  func @main(%x: i8[1,2,5]{X}) -> (%y: i8[1,4,5]{Y}) {{
    %g = gather(%x, @c) {{axis=1}} : i8[1,4,5]{X}
    %y = conv(%g, @w, _) {{{conv}, group=4}} : i8[1,4,5]{Y}
    return %y
  }}""",
        rng,
    )


def test_a_map_of_another_order_is_no_flattened_map(rng: np.random.Generator) -> None:
    """The images themselves must not have moved."""
    module = parse(f"""
  const @w : i8[6,1]{W} = [1, 2, 3, 4, 5, 6]
  func @main(%x: i8[2,3,2,1]{X}) -> (%y: i8[2,1]{Y}) {{
    %t = transpose(%x) {{perm=[2, 1, 0, 3]}} : i8[2,3,2,1]{X}
    %f = reshape(%t) {{shape=[2, 6]}} : i8[2,6]{X}
    %y = matmul(%f, @w, _, _) {{transpose_a=false, transpose_b=false, act="none", act_args=[]}} : i8[2,1]{Y}
    return %y
  }}""")
    original = clone(module)
    run_pass(PASS, module)
    assert "conv" in canonical(module)
    inputs = random_inputs(original, rng)
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], interp.run(original, inputs)["y"])
