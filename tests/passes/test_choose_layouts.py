"""The choice of layouts for the CPU."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, assert_same_meaning, clone, parse, run_pass

from tilewright.errors import PassError
from tilewright.ir.core import Function, Module
from tilewright.ir.layout import is_same_order, pack
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.types import DType, TensorType

CONV = '{strides=[1,1], pads=[1,0,1,0], dilations=[1,1], group=1, act="none", act_args=[]} [on=cpu]'
POOL = "{kernel=[2,2], strides=[1,1], pads=[0,0,0,0], dilations=[1,1]} [on=cpu]"


def laid_out(parameters: str, body: str, results: str, rng: np.random.Generator) -> Module:
    """The module of this text after the pass, in which ``@wN_M`` stands for weights [N, M, 3, 1], ``@pN_M`` for such of
    one tap.
    """
    names = sorted({word for word in body.replace(",", " ").replace(")", " ").split() if word.startswith(("@w", "@p"))})
    constants, arrays = [], {}
    for name in names:
        outputs, inputs = map(int, name[2:].split("_"))
        taps = 3 if name.startswith("@w") else 1
        array = rng.standard_normal((outputs, inputs, taps, 1)).astype(np.float32)
        module = Module("constants")
        digest = module.add_constant(name[1:], array).digest
        arrays[digest] = array
        constants.append(f'const {name} : f32[{outputs},{inputs},{taps},1] = blob "sha256:{digest}"')
    values = ", ".join(part.split(":")[0] for part in results.split(", "))
    text = "\n".join([*constants, f"func @main({parameters}) -> ({results}) {{", body, f"return {values}", "}"])
    # Inline constants would hide which text has blobs; small ones print either way.
    module = parse(text, arrays)
    before = clone(module)
    (record,) = run_pass("choose_layouts", module)
    handed_on = [op for op in module.ops if op.name != "reorder" and op.result.type.layout == "n32"]
    assert record.counts["n32"] == len(handed_on)
    assert record.counts["reorder"] == sum(op.name == "reorder" for op in module.ops)
    assert_same_meaning(before, module, rng, tolerance=0)
    return module


def shape_of(module: Module) -> list[str]:
    """Each op with the layout of its result, in order."""
    return [f"{op.name}#{op.result.type.layout}" if op.result.type.layout else op.name for op in module.ops]


def test_a_chain_is_reordered_at_its_ends(rng: np.random.Generator) -> None:
    body = f"""
      %a = conv(%x, @w16_3) {CONV} : f32[1,16,8,8]
      %b = max_pool(%a) {POOL} : f32[1,16,7,7]
      %c = conv(%b, @w32_16) {CONV} : f32[1,32,7,7]
      %d = neg(%c) [on=cpu] : f32[1,32,7,7]
      %e = add(%c, %d) [on=cpu] : f32[1,32,7,7]
      %y = softmax(%e) {{axis=1}} [on=cpu] : f32[1,32,7,7]
    """
    module = laid_out("%x: f32[1,3,8,8]", body, "%y: f32[1,32,7,7]", rng)
    assert shape_of(module) == ["conv#c16", "max_pool#c16", "conv#c16", "neg#c16", "add#c16", "reorder", "softmax"]
    layouts = [op.inputs[1].type.layout for op in module.ops if op.name == "conv"]
    assert layouts == ["o16", "o16i16"]
    assert next(module.ops).inputs[0].type.layout == ""


@pytest.mark.parametrize(
    ("outputs", "channels", "pixels", "expected"), [(64, 40, 14, True), (64, 40, 1, False), (49, 40, 14, False)]
)
def test_weights_that_are_computed_are_put_in_order_where_that_pays(
    outputs: int, channels: int, pixels: int, expected: bool, rng: np.random.Generator
) -> None:
    """They are read once for one pixel; of 64 outputs in blocks 15 were absent."""
    image = f"{pixels},{pixels}"
    body = f"%y = conv(%x, %v) {CONV} : f32[1,{outputs},{image}]"
    parameters = f"%x: f32[1,{channels},{image}], %v: f32[{outputs},{channels},3,1]"
    module = laid_out(parameters, body, f"%y: f32[1,{outputs},{image}]", rng)
    (conv,) = (op for op in module.ops if op.name == "conv")
    assert conv.inputs[1].type.layout == ("o16i16" if expected else "")
    assert len([*module.ops]) == (4 if expected else 1)


def test_weights_that_a_convolution_computes_leave_its_blocks_first(rng: np.random.Generator) -> None:
    """Once for all that read them; one of them reads them as they are."""
    body = f"""
      %a = conv(%v, @w32_16) {CONV} : f32[64,32,3,1]
      %w = relu(%a) [on=cpu] : f32[64,32,3,1]
      %b = conv(%x, %w) {CONV} : f32[1,64,14,14]
      %c = conv(%b, %u) {CONV} : f32[1,32,14,14]
      %y = conv(%c, %w) {CONV} : f32[1,64,14,14]
      %z = softmax(%w) {{axis=1}} [on=cpu] : f32[64,32,3,1]
    """
    parameters = "%x: f32[1,32,14,14], %v: f32[64,16,3,1], %u: f32[32,64,3,1]"
    module = laid_out(parameters, body, "%y: f32[1,64,14,14], %z: f32[64,32,3,1]", rng)
    orders = [(op.inputs[0].type.layout, op.result.type.layout) for op in module.ops if op.name == "reorder"]
    assert orders.count(("c16", "o16i16")) == 0
    assert orders.count(("", "o16i16")) == 2


def test_what_convolutions_in_bfloat16_hand_on(rng: np.random.Generator) -> None:
    """Pairs of blocks that only they read, of their own or of elementwise ops: %a; %d and %f; not %b, of three blocks,
    %c, which a pool reads, nor %e, which more than convolutions read.
    """
    body = f"""
      %a = narrow_conv(%x, @w64_3) {CONV} : f32[1,64,8,8]
      %b = narrow_conv(%a, @w40_64) {CONV} : f32[1,40,8,8]
      %c = narrow_conv(%b, @w32_40) {CONV} : f32[1,32,8,8]
      %d = relu(%c) [on=cpu] : f32[1,32,8,8]
      %e = narrow_conv(%d, @w32_32, _, %d) {CONV} : f32[1,32,8,8]
      %f = neg(%e) [on=cpu] : f32[1,32,8,8]
      %g = narrow_conv(%f, @w32_32) {CONV} : f32[1,32,8,8]
      %p = max_pool(%c) {POOL} : f32[1,32,7,7]
      %y = add(%e, %g) [on=cpu] : f32[1,32,8,8]
    """
    module = laid_out("%x: f32[1,3,8,8]", body, "%y: f32[1,32,8,8], %p: f32[1,32,7,7]", rng)
    layouts = {op.result.name: op.result.type.layout for op in module.ops if op.name != "reorder"}
    assert {name for name, layout in layouts.items() if layout == "n32"} == {"a", "d", "f"}
    assert next(module.ops).inputs[0].type.layout == ""


def test_convolutions_of_one_tap_share_a_copy(rng: np.random.Generator) -> None:
    """Of %c, which a pool reads as well; not that of 3 x 1."""
    point = CONV.replace("[1,0,1,0]", "[0,0,0,0]")
    body = f"""
      %c = relu(%x) [on=cpu] : f32[1,64,8,8]
      %p = max_pool(%c) {POOL} : f32[1,64,7,7]
      %a = narrow_conv(%c, @p32_64) {point} : f32[1,32,8,8]
      %b = narrow_conv(%c, @p48_64) {point} : f32[1,48,8,8]
      %d = narrow_conv(%c, @w16_64) {CONV} : f32[1,16,8,8]
    """
    results = "%p: f32[1,64,7,7], %a: f32[1,32,8,8], %b: f32[1,48,8,8], %d: f32[1,16,8,8]"
    module = laid_out("%x: f32[1,64,8,8]", body, results, rng)
    layouts = [op.inputs[0].type.layout for op in module.ops if op.name == "narrow_conv"]
    assert layouts == ["n32", "n32", "c16"]
    assert shape_of(module).count("reorder#n32") == 1


def test_text(rng: np.random.Generator) -> None:
    weights = "const @w : f32[2,1,3,1]{} = [0x1.0p0, 0x1.0p1, 0x1.0p2, 0x1.0p3, 0x1.0p4, 0x1.0p5]"
    text = """
      func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,2,2,2]) {{
        %a = conv(%x, @w) {conv} : f32[1,2,2,2]{layout} loc("conv")
        {reorder}
        return {result}
      }}
    """
    assert_rewrites(
        "choose_layouts",
        weights.format("") + text.format(conv=CONV, layout="", reorder="", result="%a"),
        weights.format("#o16")
        + text.format(
            conv=CONV, layout="#c16", reorder='%y = reorder(%a) [on=cpu] : f32[1,2,2,2] loc("conv")', result="%y"
        ),
        rng,
        again=False,
    )


def test_takes_row_major_modules_only(rng: np.random.Generator) -> None:
    text = "func @main(%x: f32[1,2,2,2]#c16) -> (%x: f32[1,2,2,2]#c16) {\n return %x\n}"
    with pytest.raises(PassError, match=r"choose_layouts: the pass needs a module that is plain"):
        run_pass("choose_layouts", parse(text))


def test_one_reorder_for_all_readers(rng: np.random.Generator) -> None:
    body = f"""
      %a = conv(%x, @w16_3) {CONV} : f32[1,16,8,8]
      %b = softmax(%a) {{axis=1}} [on=cpu] : f32[1,16,8,8]
      %c = softmax(%a) {{axis=2}} [on=cpu] : f32[1,16,8,8]
      %d = conv(%b, @w16_16) {CONV} : f32[1,16,8,8]
      %e = conv(%b, @w32_16) {CONV} : f32[1,32,8,8]
    """
    results = "%a: f32[1,16,8,8], %c: f32[1,16,8,8], %d: f32[1,16,8,8], %e: f32[1,32,8,8]"
    module = laid_out("%x: f32[1,3,8,8]", body, results, rng)
    assert shape_of(module) == [
        *("conv#c16", "reorder", "softmax", "softmax", "reorder#c16", "conv#c16", "conv#c16", "reorder", "reorder"),
    ]


def test_elementwise_ops_follow_the_cheaper_side(rng: np.random.Generator) -> None:
    # Both operands come from row-major ops, only the sum is wanted in blocks: one reorder after it, not two before.
    body = f"""
      %a = softmax(%x) {{axis=1}} [on=cpu] : f32[1,16,8,8]
      %b = softmax(%x) {{axis=2}} [on=cpu] : f32[1,16,8,8]
      %c = add(%a, %b) [on=cpu] : f32[1,16,8,8]
      %y = conv(%c, @w16_16) {CONV} : f32[1,16,8,8]
    """
    module = laid_out("%x: f32[1,16,8,8]", body, "%y: f32[1,16,8,8]", rng)
    assert shape_of(module) == ["softmax", "softmax", "add", "reorder#c16", "conv#c16", "reorder"]


def test_pooling_prefers_blocks(rng: np.random.Generator) -> None:
    body = f"""
      %a = conv(%x, @w16_3) {CONV} : f32[1,16,8,8]
      %b = max_pool(%a) {POOL} : f32[1,16,7,7]
      %y = reshape(%b) {{shape=[1,784]}} [on=cpu] : f32[1,784]
    """
    module = laid_out("%x: f32[1,3,8,8]", body, "%y: f32[1,784]", rng)
    assert shape_of(module) == ["conv#c16", "max_pool#c16", "reorder", "reshape"]


@pytest.mark.parametrize(
    ("operand", "layouts"),
    [
        ("%s: f32[1,16,1,1]", ["conv#c16", "reorder#c16", "mul#c16", "conv#c16"]),
        ("%s: f32[16,1,1]", ["conv#c16", "mul#c16", "conv#c16"]),
        ("%s: f32[]", ["conv#c16", "mul#c16", "conv#c16"]),
        ("%s: f32[1,1,8,8]", ["conv#c16", "reorder", "mul", "reorder#c16", "conv#c16"]),
        ("%s: f32[8]", ["conv#c16", "reorder", "mul", "reorder#c16", "conv#c16"]),
        ("%s: f32[16,8,8]", ["conv#c16", "reorder", "mul", "reorder#c16", "conv#c16"]),
        ("%s: f32[1,16,8,8]", ["conv#c16", "reorder#c16", "mul#c16", "conv#c16"]),
    ],
)
def test_second_operands_of_elementwise_ops(operand: str, layouts: list[str], rng: np.random.Generator) -> None:
    body = f"""
      %a = conv(%x, @w16_3) {CONV} : f32[1,16,8,8]
      %b = mul(%a, %s) [on=cpu] : f32[1,16,8,8]
      %y = conv(%b, @w16_16) {CONV} : f32[1,16,8,8]
    """
    module = laid_out(f"%x: f32[1,3,8,8], {operand}", body, "%y: f32[1,16,8,8]", rng)
    assert shape_of(module)[:-1] == layouts


def test_broken_blocks_keep_elementwise_ops_row_major(rng: np.random.Generator) -> None:
    body = f"""
      %a = conv(%x, @w20_3) {CONV} : f32[1,20,8,8]
      %b = exp(%a) [on=cpu] : f32[1,20,8,8]
      %y = conv(%b, @w16_20) {CONV} : f32[1,16,8,8]
    """
    module = laid_out("%x: f32[1,3,8,8]", body, "%y: f32[1,16,8,8]", rng)
    assert shape_of(module) == ["conv#c16", "reorder", "exp", "reorder#c16", "conv#c16", "reorder"]


@pytest.mark.parametrize(("first", "layout"), [(16, "concat#c16"), (8, "concat")])
def test_concat_needs_whole_blocks_before_the_last_part(first: int, layout: str, rng: np.random.Generator) -> None:
    body = f"""
      %a = conv(%x, @w{first}_3) {CONV} : f32[1,{first},8,8]
      %b = conv(%x, @w8_3) {CONV} : f32[1,8,8,8]
      %c = concat(%a, %b) {{axis=1}} [on=cpu] : f32[1,{first + 8},8,8]
      %y = conv(%c, @w16_{first + 8}) {CONV} : f32[1,16,8,8]
    """
    module = laid_out("%x: f32[1,3,8,8]", body, "%y: f32[1,16,8,8]", rng)
    assert layout in shape_of(module)


@pytest.mark.parametrize(
    ("group", "weights", "expected"),
    [
        (32, (32, 1), "o16"),
        (2, (32, 16), "o16i16"),
        (4, (32, 8), ""),
        (32, (64, 1), ""),
        (1, (24, 32), "o16i16"),
    ],
)
def test_groups(group: int, weights: tuple[int, int], expected: str, rng: np.random.Generator) -> None:
    outputs, inputs = weights
    body = f"%y = conv(%x, @w{outputs}_{inputs}) {CONV.replace('group=1', f'group={group}')} : f32[1,{outputs},4,4]"
    module = laid_out("%x: f32[1,32,4,4]", body, f"%y: f32[1,{outputs},4,4]", rng)
    (conv,) = (op for op in module.ops if op.name == "conv")
    assert conv.inputs[1].type.layout == expected


@pytest.mark.parametrize(
    ("channels", "extent", "settings", "layout"),
    [
        (64, 28, "", "f4o16i16"),
        # Weights that few tiles read had better be few.
        (64, 14, "", "f2o16i16"),
        (32, 3, "", "o16i16"),
        (512, 7, "", "o16i16"),
        (32, 1, "", "o16i16"),
        (64, 14, "strides=[2,1]", "o16i16"),
        (64, 14, "dilations=[1,2]", "o16i16"),
        (64, 14, "exact", "o16i16"),
    ],
)
def test_windows_of_three_by_three(channels: int, extent: int, settings: str, layout: str) -> None:
    fields = {"strides": "[1,1]", "pads": "[1,1,1,1]", "dilations": "[1,1]"}
    if "=" in settings:
        name, value = settings.split("=")
        fields[name] = value
    attributes = ", ".join(f"{name}={value}" for name, value in fields.items())
    conv = Conv(*(ast.literal_eval(value) for value in fields.values()))
    w = np.zeros((channels, channels, 3, 3), np.float32)
    x = TensorType((1, channels, extent, extent), DType.F32)
    y = conv.result_types((x, TensorType.of(w)))[0]
    digest = Module("constants").add_constant("w", w).digest
    module = parse(
        f"""
        const @w : {TensorType.of(w)} = blob "sha256:{digest}"
        func @main(%x: {x}) -> (%y: {y}) {{
          %y = conv(%x, @w) {{{attributes}, group=1, act="none", act_args=[]}} [on=cpu] : {y}
          return %y
        }}
        """,
        {digest: w},
    )
    run_pass("choose_layouts{exact=true}" if settings == "exact" else "choose_layouts", module)
    (op,) = (op for op in module.ops if op.name == "conv")
    assert op.inputs[1].type.layout == layout


def test_ops_elsewhere_and_without_convolution_stay() -> None:
    assert_leaves_alone(
        "choose_layouts",
        f"""
        func @main(%x: f32[1,16,3,3]) -> (%y: f32[1,16,2,2]) {{
          %y = max_pool(%x) {POOL} : f32[1,16,2,2]
          return %y
        }}
        """,
    )
    assert_leaves_alone(
        "choose_layouts",
        f"""
        const @w : f32[2,1,3,1] = [0x1.0p0, 0x1.0p1, 0x1.0p2, 0x1.0p3, 0x1.0p4, 0x1.0p5]
        func @main(%x: f32[1,1,2,2]) -> (%y: f32[1,2,2,2]) {{
          %y = conv(%x, @w) {CONV.replace("on=cpu", "on=device")} : f32[1,2,2,2]
          return %y
        }}
        """,
    )


@pytest.mark.parametrize("shape", [(2, 32, 1, 1), (1, 16, 1), (2, 32), (1, 20, 1, 1), (1, 16, 2, 1), (3, 48, 1)])
def test_same_order_is_what_packing_says(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    type = TensorType(shape, DType.F32)
    same = pack(array, "c16").tobytes() == array.tobytes()
    assert is_same_order(type, type.with_layout("c16")) == same
    assert is_same_order(type.with_layout("c16"), type) == same
    assert is_same_order(type.with_layout("c16"), type.with_layout("c16"))


def test_known_factors_of_products_lie_in_panels(rng: np.random.Generator) -> None:
    """Unless they are read elsewhere as well, or would be mostly what fills panels up."""
    for columns, transposed, returned, layout in (
        (24, False, False, "io16"),
        (24, True, False, "o16"),
        (17, False, False, ""),
        (24, False, True, ""),
    ):
        shape = (columns, 20) if transposed else (20, columns)
        module = Module("panels")
        w = module.add_constant("w", rng.standard_normal(shape).astype(np.float32))
        main = module.add_function(Function("main"))
        op = main.append(MatMul(transpose_b=transposed), [main.add_parameter("x", TensorType((5, 20), DType.F32)), w])
        op.annotations["on"] = "cpu"
        main.set_results([op.result, *[w] * returned], ["y", "z"][: 1 + returned])
        run_pass("choose_layouts", module)
        assert op.inputs[1].type.layout == layout


def test_products_of_pixels_are_laid_out_by_cost(rng: np.random.Generator) -> None:
    """A pointwise or depthwise convolution among row-major ops is not worth two reorders; before one that needs
    blocks, it is.
    """
    pointwise = CONV.replace("pads=[1,0,1,0]", "pads=[0,0,0,0]")
    depthwise = pointwise.replace("group=1", "group=16")
    shapes = {"p": (16, 16, 1, 1), "d": (16, 1, 1, 1), "w": (16, 16, 3, 1)}
    constants = "\n".join(
        f"const @{name} : f32{[*shape]} = {['0x1.0p-2'] * int(np.prod(shape))}".replace("'", "")
        for name, shape in shapes.items()
    )
    for needs_blocks in (False, True):
        last = f"conv(%b, @w) {CONV}" if needs_blocks else "softmax(%b) {axis=1} [on=cpu]"
        module = parse(
            f"""{constants}
            func @main(%x: f32[1,16,8,8]) -> (%y: f32[1,16,8,8]) {{
              %a = conv(%x, @p) {pointwise} : f32[1,16,8,8]
              %b = conv(%a, @d) {depthwise} : f32[1,16,8,8]
              %y = {last} : f32[1,16,8,8]
              return %y
            }}
            """
        )
        run_pass("choose_layouts", module)
        expected = ["reorder#c16", *["conv#c16"] * 3, "reorder"] if needs_blocks else ["conv", "conv", "softmax"]
        assert shape_of(module) == expected


@pytest.mark.parametrize(("outputs", "layout"), [(2, ""), (9, "#c16"), (0, "#c16")])
def test_few_outputs_are_computed_in_row_major_order(outputs: int, layout: str, rng: np.random.Generator) -> None:
    """Blocks would hold fourteen channels that are absent; of nine outputs they are worth it."""
    body = f"""
      %a = conv(%x, @w32_16) {CONV} : f32[1,32,12,12]
      %y = conv(%a, @w{outputs}_32) {CONV} : f32[1,{outputs},12,12]
    """
    module = laid_out("%x: f32[1,16,12,12]", body, f"%y: f32[1,{outputs},12,12]", rng)
    assert [name for name in shape_of(module) if name.startswith("conv")] == ["conv#c16", f"conv{layout}"]
