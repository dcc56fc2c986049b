"""Canonical form: movement, activations, normalisations."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, assert_same_meaning, clone, parse, run_pass
from onnx.parser import parse_model

import tilewright


def build(shape: str, constants: dict[str, str], lines: list[str]) -> str:
    """Text of a function of %x whose last line defines %y; each line is ``name = op(operands)``."""
    consts = "\n".join(f"const @{name} : {text}" for name, text in constants.items())
    body = "\n".join(f"%{line} : f32[{shape}]" for line in lines)
    return f"{consts}\nfunc @main(%x: f32[{shape}]) -> (%y: f32[{shape}]) {{\n{body}\nreturn %y\n}}"


HALF, ONE, TWO, THREE = "f32[] = [0x1.0p-1]", "f32[1] = [0x1.0p0]", "f32[] = [0x1.0p1]", "f32[] = [0x1.8p1]"
ROOT2, ROOT_HALF = "f32[] = [0x1.6a09e6p0]", "f32[] = [0x1.6a09e6p-1]"
ROOT_2_PI, CUBIC = "f32[] = [0x1.988454p-1]", "f32[] = [0x1.6e4e26p-5]"
SIXTH, SIX = "f32[] = [0x1.555556p-3]", "f32[] = [0x1.8p2]"
CLIP6 = "{min=0x0.0p0, max=0x1.8p2}"
HARD = "{alpha=0x1.5555555555555p-3, beta=0x1.0p-1}"


@pytest.mark.parametrize(
    ("operator", "constants", "lines"),
    [
        (
            "gelu",
            {"r": ROOT2, "one": ONE, "half": HALF},
            ["a = div(%x, @r)", "b = erf(%a)", "c = add(%b, @one)", "d = mul(%x, %c)", "y = mul(%d, @half)"],
        ),
        (
            "gelu",
            {"r": ROOT_HALF, "one": ONE, "half": HALF},
            ["a = mul(@r, %x)", "b = erf(%a)", "c = add(@one, %b)", "d = mul(%x, @half)", "y = mul(%d, %c)"],
        ),
        (
            "gelu",
            {"r": ROOT2, "one": ONE, "half": HALF},
            ["a = div(%x, @r)", "b = erf(%a)", "c = add(%b, @one)", "d = mul(%c, @half)", "y = mul(%x, %d)"],
        ),
        (
            "gelu_tanh",
            {"p": THREE, "k": CUBIC, "r": ROOT_2_PI, "one": ONE, "half": HALF},
            [
                *("a = pow(%x, @p)", "b = mul(%a, @k)", "c = add(%x, %b)", "d = mul(%c, @r)", "e = tanh(%d)"),
                *("f = add(%e, @one)", "g = mul(%x, %f)", "y = mul(%g, @half)"),
            ],
        ),
        (
            "gelu_tanh",
            {"k": CUBIC, "r": ROOT_2_PI, "one": ONE, "half": HALF},
            [
                *("a = mul(%x, %x)", "b = mul(@k, %a)", "c = add(@one, %b)", "d = mul(@r, %x)", "e = mul(%d, %c)"),
                *("f = tanh(%e)", "g = add(@one, %f)", "h = mul(@half, %x)", "y = mul(%h, %g)"),
            ],
        ),
        ("swish", {}, ["a = sigmoid(%x)", "y = mul(%a, %x)"]),
        ("mish", {}, ["a = softplus(%x)", "b = tanh(%a)", "y = mul(%x, %b)"]),
        ("hard_swish", {}, [f"a = hard_sigmoid(%x) {HARD}", "y = mul(%x, %a)"]),
        (
            "hard_swish",
            {"three": THREE, "six": SIX},
            ["a = add(%x, @three)", f"b = clip(%a) {CLIP6}", "c = mul(%x, %b)", "y = div(%c, @six)"],
        ),
        (
            "hard_swish",
            {"three": THREE, "six": SIX},
            ["a = add(%x, @three)", f"b = clip(%a) {CLIP6}", "c = div(%b, @six)", "y = mul(%x, %c)"],
        ),
        (
            "hard_swish",
            {"three": THREE, "sixth": SIXTH},
            ["a = add(%x, @three)", f"b = clip(%a) {CLIP6}", "c = mul(@sixth, %b)", "y = mul(%x, %c)"],
        ),
        (
            "hard_sigmoid",
            {"three": THREE, "six": SIX},
            ["a = add(@three, %x)", f"b = clip(%a) {CLIP6}", "y = div(%b, @six)"],
        ),
        ("relu", {"zero": "f32[] = [0x0.0p0]"}, ["y = max(@zero, %x)"]),
        ("relu", {}, ["a = relu(%x)", "y = relu(%a)"]),
        ("relu", {}, ["y = clip(%x) {min=0x0.0p0, max=inf}"]),
        ("clip", {"low": "f32[] = [-0x1.0p0]", "high": ONE}, ["a = max(%x, @low)", "y = min(%a, @high)"]),
        ("clip", {}, ["a = relu(%x)", f"y = clip(%a) {CLIP6}"]),
        ("clip", {}, ["a = clip(%x) {min=-0x1.0p0, max=0x1.0p0}", "y = clip(%a) {min=0x1.0p-1, max=0x1.0p1}"]),
        ("clip", {}, ["a = clip(%x) {min=-0x1.0p0, max=-0x1.0p-1}", "y = relu(%a)"]),
        ("leaky_relu", {"slope": "f32[1] = [0x1.0p-2]"}, ["y = prelu(%x, @slope)"]),
    ],
)
def test_arithmetic_that_spells_an_activation(
    operator: str, constants: dict[str, str], lines: list[str], rng: np.random.Generator
) -> None:
    module = parse(build("3,5", constants, lines))
    before = clone(module)
    run_pass("canonicalize", module)
    assert [op.name for op in module.ops] == [operator]
    assert_same_meaning(before, module, rng)


@pytest.mark.parametrize(
    "lines",
    [
        ["a = sigmoid(%x)", "b = mul(%a, %x)", "y = add(%a, %b)"],
        ["a = tanh(%x)", "y = mul(%a, %x)"],
        ["a = hard_sigmoid(%x) {alpha=0x1.0p-3, beta=0x1.0p-1}", "y = mul(%x, %a)"],
        ["a = clip(%x) {min=0x1.0p1, max=0x1.0p0}", "y = relu(%a)"],
    ],
)
def test_what_only_looks_like_an_activation_stays(lines: list[str]) -> None:
    assert_leaves_alone("canonicalize", build("3,5", {}, lines))


@pytest.mark.parametrize("others", [(2,), (2, 3), (2, 3, 4)])
def test_softmax(others: tuple[int, ...], rng: np.random.Generator) -> None:
    axis, outer = len(others), ",".join(map(str, others))
    assert_rewrites(
        "canonicalize",
        f"""
        func @main(%x: f32[{outer},5]) -> (%y: f32[{outer},5]) {{
          %m = reduce_max(%x) {{axes=[{axis}], keepdims=true}} : f32[{outer},1]
          %s = sub(%x, %m) : f32[{outer},5]
          %e = exp(%s) : f32[{outer},5]
          %t = reduce_sum(%e) {{axes=[{axis}], keepdims=true}} : f32[{outer},1]
          %y = div(%e, %t) : f32[{outer},5]
          return %y
        }}
        """,
        f"""
        func @main(%x: f32[{outer},5]) -> (%y: f32[{outer},5]) {{
          %y = softmax(%x) {{axis={axis}}} : f32[{outer},5]
          return %y
        }}
        """,
        rng,
    )


@pytest.mark.parametrize(
    ("line", "type", "expected"),
    [
        ("reshape(%x) {shape=[2,3,4]}", "f32[2,3,4]", []),
        ("transpose(%x) {perm=[0,1,2]}", "f32[2,3,4]", []),
        ("slice(%x) {begin=[0,0,0], extent=[2,3,4], step=[1,1,1]}", "f32[2,3,4]", []),
        ("slice(%x) {begin=[1,0,0], extent=[2,3,4], step=[-1,1,1]}", "f32[2,3,4]", ["slice"]),
        ("concat(%x) {axis=1}", "f32[2,3,4]", []),
        ("split(%x) {axis=1, sizes=[3]}", "f32[2,3,4]", []),
        ("cast(%x) {to=f32}", "f32[2,3,4]", []),
        ("cast(%x) {to=f64}", "f64[2,3,4]", ["cast"]),
        ("expand(%x) {shape=[2,3,4]}", "f32[2,3,4]", []),
        ("tile(%x) {repeats=[1,1,1]}", "f32[2,3,4]", []),
        ("pad(%x) {pads=[0,0,0,0,0,0], mode=constant, value=0x0.0p0}", "f32[2,3,4]", []),
        ("reduce_mean(%x) {axes=[], keepdims=true}", "f32[2,3,4]", []),
        ("transpose(%x) {perm=[0,2,1]}", "f32[2,4,3]", ["transpose"]),
        ("mul(%x, @one)", "f32[2,3,4]", []),
        ("mul(@one, %x)", "f32[2,3,4]", []),
        ("div(%x, @one)", "f32[2,3,4]", []),
        ("div(@one, %x)", "f32[2,3,4]", ["div"]),
        ("add(@zero, %x)", "f32[2,3,4]", []),
        ("sub(%x, @zero)", "f32[2,3,4]", []),
        ("sub(@zero, %x)", "f32[2,3,4]", ["sub"]),
        ("pow(%x, @one)", "f32[2,3,4]", []),
        ("pow(%x, @two)", "f32[2,3,4]", ["mul"]),
        ("add(%x, @wide)", "f32[5,2,3,4]", ["add"]),
        ("clip(%x) {min=-inf, max=inf}", "f32[2,3,4]", []),
    ],
)
def test_ops_without_effect_go(line: str, type: str, expected: list[str], rng: np.random.Generator) -> None:
    module = parse(f"""
      const @one : f32[1,1] = [0x1.0p0]
      const @two : f32[] = [0x1.0p1]
      const @zero : f32[4] = [0x0.0p0, 0x0.0p0, 0x0.0p0, 0x0.0p0]
      const @wide : f32[5,1,1,1] = [0x0.0p0, 0x0.0p0, 0x0.0p0, 0x0.0p0, 0x0.0p0]
      func @main(%x: f32[2,3,4]) -> (%y: {type}) {{
        %y = {line} : {type}
        return %y
      }}
    """)
    before = clone(module)
    run_pass("canonicalize", module)
    assert [op.name for op in module.ops] == expected
    assert_same_meaning(before, module, rng)


@pytest.mark.parametrize(
    ("power", "products"),
    [
        (2, "%y = mul(%x, %x) : i64[5]"),
        (3, "%y_1 = mul(%x, %x) : i64[5]\n%y = mul(%y_1, %x) : i64[5]"),
    ],
)
def test_squares_and_cubes_of_integers_are_products(power: int, products: str, rng: np.random.Generator) -> None:
    def text(statements: str) -> str:
        constant = f"const @power : i64[] = [{power}]" if "@power" in statements else ""
        return f"{constant}\nfunc @main(%x: i64[5]) -> (%y: i64[5]) {{\n{statements}\nreturn %y\n}}"

    assert_rewrites("canonicalize", text("%y = pow(%x, @power) : i64[5]"), text(products), rng)


@pytest.mark.parametrize(
    ("axis", "indices", "type", "expected"),
    [
        (0, "i64[] = [1]", "f32[3,4]", ["slice", "reshape"]),
        (1, "i64[1] = [-1]", "f32[2,1,4]", ["slice"]),
        (2, "i32[2] = [1, 2]", "f32[2,3,2]", ["slice"]),
        (2, "i32[2,1] = [-2, -1]", "f32[2,3,2,1]", ["slice", "reshape"]),
        (1, "i64[2] = [-1, 0]", "f32[2,2,4]", ["gather"]),
        (1, "i64[2] = [2, 0]", "f32[2,2,4]", ["gather"]),
        (1, "i64[2] = [0, 0]", "f32[2,2,4]", ["gather"]),
    ],
)
def test_a_gather_of_neighbours_is_a_slice(
    axis: int, indices: str, type: str, expected: list[str], rng: np.random.Generator
) -> None:
    module = parse(f"""
      const @places : {indices}
      func @main(%x: f32[2,3,4]) -> (%y: {type}) {{
        %y = gather(%x, @places) {{axis={axis}}} : {type}
        return %y
      }}
    """)
    before = clone(module)
    run_pass("canonicalize", module)
    assert [op.name for op in module.ops] == expected
    assert_same_meaning(before, module, rng)


@pytest.mark.parametrize(
    ("begin", "extent", "step", "expected"),
    [
        (1, 2, 1, []),
        (3, 2, 2, ["slice"]),
        (5, 2, -2, ["slice"]),
        (1, 5, 1, ["concat"]),
        (0, 5, 1, ["concat", "slice"]),
        (0, 3, 2, ["concat", "slice"]),
        (2, 0, 1, ["concat", "slice"]),
    ],
)
@pytest.mark.parametrize("is_read", [False, True])
def test_slices_of_what_was_joined(
    begin: int, extent: int, step: int, expected: list[str], is_read: bool, rng: np.random.Generator
) -> None:
    """Of columns 0, 1 and 2, 3 to 5 and 6; where all are read, too, parts are not joined once more."""
    types = {"a": "f32[2,1]", "b": "f32[2,2]", "c": "f32[2,3]", "d": "f32[2,1]"}
    operands = ", ".join(f"%{name}: {type}" for name, type in types.items())
    y, more = f"f32[2,{extent}]", (", %r: f32[2,7]", ", %r") if is_read else ("", "")
    module = parse(f"""
      func @main({operands}) -> (%y: {y}{more[0]}) {{
        %j = concat(%a, %b, %c, %d) {{axis=1}} : f32[2,7]
        %y = slice(%j) {{begin=[0,{begin}], extent=[2,{extent}], step=[1,{step}]}} : {y}
        {"%r = tanh(%j) : f32[2,7]" if is_read else ""}
        return %y{more[1]}
      }}""")
    after = clone(module)
    run_pass("canonicalize", after)
    assert_same_meaning(module, after, rng, tolerance=0.0)
    if not is_read:
        assert sorted(op.name for op in after.ops) == expected
    elif "concat" in expected:
        assert [op.name for op in after.ops].count("concat") == 1


@pytest.mark.parametrize(
    ("places", "ops"),
    [
        (np.s_[:, 1:3], ["slice", "slice", "concat"]),
        (np.s_[:, :2], ["slice", "concat"]),
        (np.s_[1], ["slice", "concat"]),
        (np.s_[:, 2:, 1], ["slice", "slice", "slice", "concat", "concat"]),
        (np.s_[:], []),
        (np.s_[:, ::2], ["scatter_nd"]),
        (np.s_[:, ::-1], ["scatter_nd"]),
    ],
)
def test_what_is_written_into_a_box_stands_between_what_is_around_it(
    places: Any, ops: list[str], rng: np.random.Generator
) -> None:
    """As exporters have assignments to slices; places in steps or in another order stay."""
    at = np.stack(np.meshgrid(*(np.arange(n) for n in (2, 4, 3)), indexing="ij"), -1)[places]
    shape, numbers = ",".join(map(str, at.shape[:-1])), ", ".join(map(str, (at - [0, 4, 0]).reshape(-1)))
    module = parse(f"""
      const @places : i64[{shape},3] = [{numbers}]
      func @main(%x: f32[2,4,3], %u: f32[{shape}]) -> (%y: f32[2,4,3]) {{
        %y = scatter_nd(%x, @places, %u) {{reduction="none"}} : f32[2,4,3]
        return %y
      }}""")
    before = clone(module)
    run_pass("canonicalize", module)
    assert_same_meaning(before, module, rng, tolerance=0.0)
    assert sorted(op.name for op in module.ops if op.name != "reshape") == sorted(ops)


@pytest.mark.parametrize("index", [3, -4])
def test_a_gather_out_of_range_stays_for_the_run_to_refuse(index: int) -> None:
    module = f"""
      const @places : i64[] = [{index}]
      func @main(%x: f32[2,3,4]) -> (%y: f32[2,4]) {{
        %y = gather(%x, @places) {{axis=1}} : f32[2,4]
        return %y
      }}
    """
    assert_leaves_alone("canonicalize", module)


@pytest.mark.parametrize("operator", ["mean", "max", "sum", "l2"])
@pytest.mark.parametrize(
    ("axes", "keeps", "shape", "is_moved"),
    [
        ("1, 2", "false", "2,3", False),  # over all positions: the channels are left as they lie
        ("1, 2", "true", "2,1,1,3", False),
        ("3", "false", "2,4,5", False),
        ("0, 1", "false", "5,3", True),
        ("1", "true", "2,1,5,3", True),
    ],
)
def test_reductions_come_before_transpositions(
    operator: str, axes: str, keeps: str, shape: str, is_moved: bool, rng: np.random.Generator
) -> None:
    module = parse(f"""func @main(%x: f32[2,3,4,5]) -> (%y: f32[{shape}]) {{
        %t = transpose(%x) {{perm=[0, 2, 3, 1]}} : f32[2,4,5,3]
        %y = reduce_{operator}(%t) {{axes=[{axes}], keepdims={keeps}}} : f32[{shape}]
        return %y }}""")
    before = clone(module)
    run_pass("canonicalize", module)
    names = [op.name for op in module.ops]
    assert names[0] != "transpose" and ("transpose" in names) == is_moved
    assert_same_meaning(before, module, rng)


@pytest.mark.parametrize(("operator", "pool"), [("mean", "global_average_pool"), ("max", "global_max_pool")])
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("first", [2, 3])
def test_means_of_means_are_one(operator: str, pool: str, keeps: bool, first: int, rng: np.random.Generator) -> None:
    """As PyTorch's ``x.mean(3).mean(2)``, which had been a pool and a reduction that the accelerator does not have."""
    between = [2, 3, 4, 5]
    between[first : first + 1] = [1] if keeps else []
    second, rest = 5 - first if keeps else 2, [2, 3, *[1, 1] * keeps]
    module = parse(f"""
      func @main(%x: f32[2,3,4,5]) -> (%y: f32[2,3]) {{
        %a = reduce_{operator}(%x) {{axes=[{first}], keepdims={str(keeps).lower()}}} : f32{between}
        %b = reduce_{operator}(%a) {{axes=[{second}], keepdims={str(keeps).lower()}}} : f32{rest}
        %y = reshape(%b) {{shape=[2, 3]}} : f32[2,3]
        return %y
      }}
    """)
    before = clone(module)
    run_pass("canonicalize", module)
    assert [op.name for op in module.ops] == [pool, "reshape"]
    assert_same_meaning(before, module, rng)


def test_the_best_element_alone_is_the_one_at_its_position() -> None:
    """Of zeros, too, which have a sign: the largest by itself may have the other one."""
    model = parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2,32] x) => (float[2,1] y, int64[2,1] i) {
          k = Constant<value_ints = [1]>()
          y, i = TopK<axis = 1>(x, k)
        }"""
    )
    x = np.tile(np.array([[-0.0, 0.0, -1.0, -0.0], [0.0, -0.0, -2.0, -1.0]], np.float32), 8)
    with tilewright.load(tilewright.compile(model)) as session:
        found = session.run({"x": x})
    assert found["y"].tobytes() == np.take_along_axis(x, found["i"], 1).tobytes()


@pytest.mark.parametrize("parts", ["stacked", "taken apart"])
def test_maps_that_weights_of_two_choose_between_are_a_sum(parts: str, rng: np.random.Generator) -> None:
    """As selective kernels and split attention have them: a softmax over two maps, which are added up."""
    joined = "%p = reshape(%x) {shape=[1, 2, 3, 4, 4]} : f32[1,2,3,4,4]"
    if parts == "stacked":
        joined = """%s0 = slice(%x) {begin=[0, 0, 0, 0], extent=[1, 3, 4, 4], step=[1, 1, 1, 1]} : f32[1,3,4,4]
          %s1 = slice(%x) {begin=[0, 3, 0, 0], extent=[1, 3, 4, 4], step=[1, 1, 1, 1]} : f32[1,3,4,4]
          %u0 = reshape(%s0) {shape=[1, 1, 3, 4, 4]} : f32[1,1,3,4,4]
          %u1 = reshape(%s1) {shape=[1, 1, 3, 4, 4]} : f32[1,1,3,4,4]
          %p = concat(%u0, %u1) {axis=1} : f32[1,2,3,4,4]"""
    module = parse(
        f"""
        func @main(%x: f32[1,6,4,4], %w: f32[1,6,1,1]) -> (%y: f32[1,3,4,4], %z: f32[1,1,3,4,4]) {{
          {joined}
          %a = reshape(%w) {{shape=[1, 2, 3, 1, 1]}} : f32[1,2,3,1,1]
          %b = softmax(%a) {{axis=1}} : f32[1,2,3,1,1]
          %m = mul(%p, %b) : f32[1,2,3,4,4]
          %y = reduce_sum(%m) {{axes=[1], keepdims=false}} : f32[1,3,4,4]
          %z = reduce_sum(%p) {{axes=[1], keepdims=true}} : f32[1,1,3,4,4]
          return %y, %z
        }}"""
    )
    after = clone(module)
    run_pass("canonicalize", after)
    assert_same_meaning(module, after, rng)
    names = [op.name for op in after.ops]
    assert {"softmax", "reduce_sum", "concat"}.isdisjoint(names)
    assert (names.count("sigmoid"), names.count("add"), names.count("reshape")) == (2, 2, 1)


@pytest.mark.parametrize(
    "part",
    [
        """%w = softmax(%x) {axis=1} : f32[3,2,4]
          %y = slice(%w) {begin=[2, 1, 0], extent=[3, 1, 4], step=[-1, 1, 1]} : f32[3,1,4]""",
        """%r = reshape(%x) {shape=[3, 1, 2, 4]} : f32[3,1,2,4]
          %s = slice(%r) {begin=[0, 0, 1, 3], extent=[3, 1, 1, 4], step=[1, 1, 1, -1]} : f32[3,1,1,4]
          %y = reshape(%s) {shape=[3, 1, 4]} : f32[3,1,4]""",
    ],
)
def test_parts_are_taken_backwards_along_dimensions_that_they_have_whole(part: str, rng: np.random.Generator) -> None:
    module = parse(
        f"""
        func @main(%x: f32[3,2,4]) -> (%y: f32[3,1,4]) {{
          {part}
          return %y
        }}"""
    )
    after = clone(module)
    run_pass("canonicalize", after)
    assert_same_meaning(module, after, rng)


def test_stacked_rows_are_summed_up_one_by_one(rng: np.random.Generator) -> None:
    """As branches of parallel vision transformers are; not what is joined along another dimension."""
    module = parse(
        """
        func @main(%x: f32[1,3,4], %z: f32[1,3,4]) -> (%y: f32[1,3,4], %s: f32[2,1,4]) {
          %a = reshape(%x) {shape=[1, 1, 3, 4]} : f32[1,1,3,4]
          %b = reshape(%z) {shape=[1, 1, 3, 4]} : f32[1,1,3,4]
          %c = concat(%a, %b) {axis=0} : f32[2,1,3,4]
          %y = reduce_sum(%c) {axes=[0], keepdims=false} : f32[1,3,4]
          %s = reduce_sum(%c) {axes=[2], keepdims=false} : f32[2,1,4]
          return %y, %s
        }"""
    )
    after = clone(module)
    run_pass("canonicalize", after)
    assert_same_meaning(module, after, rng)
    assert [op.name for op in after.ops].count("reduce_sum") == 1
    assert [op.name for op in after.ops if op.result is after.main.results[0]] == ["add"]


def test_what_repeats_single_elements_is_an_expansion(rng: np.random.Generator) -> None:
    """As queries that all windows have in common, of which attention makes a view."""
    text = """
        func @main(%x: f32[1,3,1]) -> (%y: f32[2,3,4], %z: f32[2,6,4]) {{
          %y = {} : f32[2,3,4]
          %z = tile(%x) {{repeats=[2, 2, 4]}} : f32[2,6,4]
          return %y, %z
        }}"""
    after = text.format("expand(%x) {shape=[2, 3, 4]}")
    assert_rewrites("canonicalize", text.format("tile(%x) {repeats=[2, 1, 4]}"), after, rng)


def test_neighbours_that_move_merge(rng: np.random.Generator) -> None:
    assert_rewrites(
        "canonicalize",
        """
        func @main(%x: f32[2,3,4,1])
          -> (%a: f32[1,4,3,2], %b: f32[4,6], %c: f32[1,1,2,1], %d: f32[1,2,3,4], %e: f32[7,1]) {
          %t = transpose(%x) {perm=[1,0,2,3]} : f32[3,2,4,1]
          %a = transpose(%t) {perm=[3,2,0,1]} : f32[1,4,3,2]
          %r = reshape(%x) {shape=[24]} : f32[24]
          %b = reshape(%r) {shape=[4,6]} : f32[4,6]
          %s = slice(%x) {begin=[1,2,3,0], extent=[1,2,4,1], step=[1,-2,-1,1]} : f32[1,2,4,1]
          %c = slice(%s) {begin=[0,1,0,0], extent=[1,1,2,1], step=[1,1,2,1]} : f32[1,1,2,1]
          %d = transpose(%x) {perm=[3,0,1,2]} : f32[1,2,3,4]
          %f = slice(%x) {begin=[0,0,0,0], extent=[1,1,3,1], step=[1,1,1,1]} : f32[1,1,3,1]
          %g = reshape(%f) {shape=[3,1]} : f32[3,1]
          %h = reshape(%c) {shape=[2,1]} : f32[2,1]
          %i = concat(%g, %h) {axis=0} : f32[5,1]
          %e = concat(%i, %h) {axis=0} : f32[7,1]
          return %a, %b, %c, %d, %e
        }
        """,
        """
        func @main(%x: f32[2,3,4,1])
          -> (%a: f32[1,4,3,2], %b: f32[4,6], %c: f32[1,1,2,1], %d: f32[1,2,3,4], %e: f32[7,1]) {
          %a = transpose(%x) {perm=[3,2,1,0]} : f32[1,4,3,2]
          %b = reshape(%x) {shape=[4,6]} : f32[4,6]
          %c = slice(%x) {begin=[1,0,3,0], extent=[1,1,2,1], step=[1,-2,-2,1]} : f32[1,1,2,1]
          %d = reshape(%x) {shape=[1,2,3,4]} : f32[1,2,3,4]
          %f = slice(%x) {begin=[0,0,0,0], extent=[1,1,3,1], step=[1,1,1,1]} : f32[1,1,3,1]
          %g = reshape(%f) {shape=[3,1]} : f32[3,1]
          %h = reshape(%c) {shape=[2,1]} : f32[2,1]
          %e = concat(%g, %h, %h) {axis=0} : f32[7,1]
          return %a, %b, %c, %d, %e
        }
        """,
        rng,
    )


NORM = """
  const @two : f32[] = [0x1.0p1]
  const @eps : f32[1] = [0x1.4f8b58p-17]
  const @half : f32[] = [0x1.0p-1]
  const @one : f32[] = [0x1.0p0]
  const @minus : f32[] = [-0x1.0p-1]
  const @g : f32[4] = [0x1.0p0, 0x1.0p1, -0x1.8p1, 0x1.0p-1]
  const @h : f32[1,1,1] = [0x1.4p1]
  const @b : f32[4] = [0x1.0p0, 0x1.0p1, 0x1.8p1, 0x1.0p2]
  func @main(%x: f32[2,3,4]) -> (%y: f32[2,3,4]) {
    %m = reduce_mean(%x) {axes=[2], keepdims=true} : f32[2,3,1]
    %d = sub(%x, %m) : f32[2,3,4]
    SQUARE
    %v = reduce_mean(%q) {axes=[2], keepdims=true} : f32[2,3,1]
    %w = add(%v, @eps) : f32[2,3,1]
    DIVIDE
    %s = mul(%n, @g) : f32[2,3,4]
    %t = add(@b, %s) : f32[2,3,4]
    %y = mul(%t, @h) : f32[2,3,4]
    return %y
  }
"""


@pytest.mark.parametrize("square", ["pow(%d, @two)", "mul(%d, %d)"])
@pytest.mark.parametrize(
    "divide",
    [
        "%r = sqrt(%w) : f32[2,3,1]\n%n = div(%d, %r) : f32[2,3,4]",
        "%r = pow(%w, @half) : f32[2,3,1]\n%n = div(%d, %r) : f32[2,3,4]",
        "%r = pow(%w, @minus) : f32[2,3,1]\n%n = mul(%r, %d) : f32[2,3,4]",
        "%u = sqrt(%w) : f32[2,3,1]\n%r = reciprocal(%u) : f32[2,3,1]\n%n = mul(%d, %r) : f32[2,3,4]",
        "%u = sqrt(%w) : f32[2,3,1]\n%r = div(@one, %u) : f32[2,3,1]\n%n = mul(%d, %r) : f32[2,3,4]",
    ],
)
def test_layer_norm(square: str, divide: str, rng: np.random.Generator) -> None:
    module = parse(NORM.replace("SQUARE", f"%q = {square} : f32[2,3,4]").replace("DIVIDE", divide))
    before = clone(module)
    run_pass("canonicalize", module)
    (op,) = module.ops
    assert op.name == "layer_norm"
    assert op.operator.axis == 2  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(op.inputs[1].array, np.array([1, 2, -3, 0.5]) * 2.5)  # pyright: ignore
    np.testing.assert_allclose(op.inputs[2].array, np.array([1, 2, 3, 4]) * 2.5)  # pyright: ignore
    assert_same_meaning(before, module, rng)


def test_layer_norm_of_channels(rng: np.random.Generator) -> None:
    """As ConvNeXt and NAFNet write it: factor and summand become its own before it is turned back."""
    text = NORM.replace("SQUARE", "%q = mul(%d, %d) : f32[2,3,4]").replace(
        "DIVIDE", "%r = sqrt(%w) : f32[2,3,1]\n%n = div(%d, %r) : f32[2,3,4]"
    )
    text = text.replace("axes=[2]", "axes=[1]").replace("f32[2,3,1]", "f32[2,1,4]")
    for name in "gb":
        text = re.sub(rf"const @{name} : .*", f"const @{name} : f32[3,1] = [0x1.0p0, 0x1.0p1, -0x1.8p1]", text)
    module = parse(text)
    before = clone(module)
    run_pass("canonicalize", module)
    assert [op.name for op in module.ops] == ["transpose", "layer_norm", "transpose"]
    assert_same_meaning(before, module, rng)


def test_rms_norm(rng: np.random.Generator) -> None:
    text = NORM.replace("%d = sub(%x, %m)", "%d = neg(%x)").replace("SQUARE", "%q = mul(%d, %d) : f32[2,3,4]")
    text = text.replace("DIVIDE", "%r = sqrt(%w) : f32[2,3,1]\n%n = div(%d, %r) : f32[2,3,4]")
    module = parse(text)
    before = clone(module)
    run_pass("canonicalize", module)
    assert [op.name for op in module.ops if op.result.users] == ["neg", "rms_norm", "add"]
    assert_same_meaning(before, module, rng)


def test_means_over_other_dimensions_are_no_layer_norm(rng: np.random.Generator) -> None:
    text = NORM.replace("SQUARE", "%q = mul(%d, %d) : f32[2,3,4]").replace(
        "DIVIDE", "%r = sqrt(%w) : f32[2,3,1]\n%n = div(%d, %r) : f32[2,3,4]"
    )
    text = text.replace("axes=[2]", "axes=[0]").replace("f32[2,3,1]", "f32[1,3,4]")
    module = parse(text)
    run_pass("canonicalize", module)
    assert "layer_norm" not in [op.name for op in module.ops]


def test_batch_norm_alone_becomes_factor_and_summand(rng: np.random.Generator) -> None:
    assert_rewrites(
        "canonicalize",
        """
        const @s : f32[2] = [0x1.0p0, 0x1.0p1]
        const @b : f32[2] = [0x1.8p1, 0x1.0p0]
        const @m : f32[2] = [0x1.0p-1, -0x1.0p0]
        const @v : f32[2] = [0x1.8p1, 0x1.ep3]
        func @main(%x: f32[1,2,3]) -> (%y: f32[1,2,3]) {
          %r = relu(%x) : f32[1,2,3]
          %y = batch_norm(%r, @s, @b, @m, @v) {epsilon=0x1.0p0} : f32[1,2,3] loc("bn")
          return %y
        }
        """,
        """
        const @s : f32[2,1] = [0x1.0p-1, 0x1.0p-1]
        const @t : f32[2,1] = [0x1.6p1, 0x1.8p0]
        func @main(%x: f32[1,2,3]) -> (%y: f32[1,2,3]) {
          %r = relu(%x) : f32[1,2,3]
          %p = mul(%r, @s) : f32[1,2,3] loc("bn")
          %y = add(%p, @t) : f32[1,2,3] loc("bn")
          return %y
        }
        """,
        rng,
    )


def test_integers_and_quantised_tensors_are_left_alone() -> None:
    assert_leaves_alone(
        "canonicalize",
        """
        const @k : i8[1] = [1]
        func @main(%x: i8[4]<s=0x1.0p-3, z=1>) -> (%y: i8[4]<s=0x1.0p-2, z=1>) {
          %y = relu(%x) : i8[4]<s=0x1.0p-2, z=1>
          return %y
        }
        """,
    )
