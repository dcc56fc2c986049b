"""What the device can run: the text of every rejection, the limits of the instruction set, the table for people."""

from __future__ import annotations

import dataclasses

import instruction_set as isa
import pytest
from before_after import parse

from tilewright.compiler.report.model import device_rules
from tilewright.ir.op import REGISTRY
from tilewright.passes.device.lowering import LOWERINGS
from tilewright.passes.placement.device_support import SUPPORT, reject
from tilewright.runtime.machines import machine
from tilewright.runtime.machines.machine import load

Q = "<s=0x1.0p-4, z=3>"
POOL = "kernel=[2, 2], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]"
CONV = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'
AVERAGE = "count_include_pad=false, overhang=[0, 0]"
RESIZE = (
    "mode=nearest, coordinates=asymmetric, nearest_mode=floor, cubic_coeff_a=-0x1.8p-1, exclude_outside=false, "
    "extrapolation_value=0x0.0p0, roi=[]"
)


def rejection(text: str, changed: machine.Machine | None = None) -> str | None:
    """Of the last op of the function whose inside is ``text``."""
    module = parse(text)
    op = [*module.main.ops][-1]
    found = reject(op, changed or load("m4096"))
    return found.text(op.name) if found is not None else None


def unary(operator: str, x: str, y: str) -> str:
    return f"func @main(%x: {x}) -> (%y: {y}) {{ %y = {operator} : {y} return %y }}"


def max_pool(old: str, new: str, y: str) -> str:
    return unary(f"max_pool(%x) {{{POOL.replace(old, new)}}}", f"i8[1,1,4,4]{Q}", f"i8[{y}]{Q}")


def convolution(weights: str, changes: tuple[str, str], x: str = "1,1,2,2", y: str = "1,1,2,2") -> str:
    conv = CONV.replace(*changes)
    return f"""
  const @w : {weights}
  func @main(%x: i8[{x}]{Q}) -> (%y: i8[{y}]{Q}) {{
    %y = conv(%x, @w, _) {{{conv}}} : i8[{y}]{Q}
    return %y
  }}"""


W = "i8[1,1,1,1]<s=0x1.0p-4, z=0> = [1]"

REJECTIONS = [
    (
        unary("softmax(%x) {axis=1}", "f32[1,2]", "f32[1,2]"),
        "the device has no softmax",
    ),
    (
        "func @main(%x: f32[1,2], %w: f32[2,2]) -> (%y: f32[1,2]) { %y = matmul(%x, %w, _) "
        '{transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[1,2] return %y }',
        "matmul %y: Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor; "
        "found f32: a product of two computed tensors has integers as part of attention alone",
    ),
    (
        "const @c : f32[2,2] = [0x1.0p0, 0x1.0p0, 0x1.0p0, 0x1.0p0] "
        "func @main(%x: f32[2,2]) -> (%y: f32[2,2]) { %y = matmul(@c, %x, _) "
        '{transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[2,2] return %y }',
        "matmul %y: Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor; "
        "found f32: a product with a constant has integers where that is its right factor alone",
    ),
    (
        unary("relu(%x)", "f32[1,2]", "f32[1,2]"),
        "relu %x: Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor; "
        "found f32: its numbers go to the output, and not to integers",
    ),
    (
        unary("requantize(%x)", "i16[1,2]<s=0x1.0p0, z=0>", f"i8[1,2]{Q}"),
        "requantize %x: Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor; "
        "found i16, quantised",
    ),
    (
        unary("requantize(%x)", "i8[1,2]<axis=1, s=[0x1.0p0, 0x1.0p1], z=[0, 0]>", f"i8[1,2]{Q}"),
        "requantize %x: Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor; "
        "found 2 scales along axis 1",
    ),
    (
        unary("relu(%x)", f"i8[1,2,3,4,5]{Q}", f"i8[1,2,3,4,5]{Q}"),
        "relu %x: Feature maps have the form [M, K], [N, C, L] or [N, C, H, W]; found 5 dimensions, [1, 2, 3, 4, 5]",
    ),
    (
        unary("relu(%x)", f"i8[0,2]{Q}", f"i8[0,2]{Q}"),
        "relu %x: Feature maps have at least one element; found [0, 2]",
    ),
    (
        unary("relu(%x)", f"i8[2,8388608]{Q}", f"i8[2,8388608]{Q}"),
        "relu %x: A row of a feature map takes less than 16 MiB, its channels padded to a multiple of 16; "
        "found 2 pixels of 8388608 bytes",
    ),
    (
        convolution(W, ("strides=[1, 1]", "strides=[40, 1]"), y="1,1,1,2"),
        "conv %y: Strides of a convolution are at most 31; found 40 and 1",
    ),
    (
        convolution(W, ("dilations=[1, 1]", "dilations=[1, 32]")),
        "conv %y: Dilations of a convolution are at most 31; found 1 and 32",
    ),
    (
        convolution(W, ("pads=[0, 0, 0, 0]", "pads=[0, 0, 0, 4096]"), y="1,1,2,4098"),
        "conv %y: A convolution pads with at most 4095 rows and columns on each side; found 0, 0, 0 and 4096",
    ),
    (
        convolution("i8[2,1,1,1]<axis=0, s=[0x1.0p0, 0x1.0p1], z=[0, -3]> = [1, 2]", ("", ""), y="1,2,2,2"),
        "conv @w: Weights are i8 or u8, quantised, with one zero point for all channels; "
        "found zero points from -3 to 0",
    ),
    (
        f"""
  func @main(%x: i8[1,1,2,2]{Q}, %w: i8[1,1,1,1]{Q}) -> (%y: i8[1,1,2,2]{Q}) {{
    %y = conv(%x, %w, _) {{{CONV}}} : i8[1,1,2,2]{Q}
    return %y
  }}""",
        "conv %w: Weights and bias are constants; found a computed tensor",
    ),
    (
        max_pool("dilations=[1, 1]", "dilations=[2, 1]", "1,1,2,3"),
        "max_pool %y: A pooling window has no dilation; found 2 and 1",
    ),
    (
        max_pool("strides=[1, 1]", "strides=[32, 1]", "1,1,1,3"),
        "max_pool %y: Strides of a pooling window are at most 31; found 32 and 1",
    ),
    (
        max_pool("pads=[0, 0, 0, 0]", "pads=[0, 2, 0, 0]", "1,1,3,5"),
        "max_pool %y: Every pooling window holds at least one element of the map; "
        "found kernel 2 and 2 with padding 0, 2, 0 and 0",
    ),
    (
        unary(
            f"average_pool(%x) {{{POOL}, {AVERAGE.replace('[0, 0]', '[1, 0]')}}}", f"i8[1,1,4,4]{Q}", f"i8[1,1,4,3]{Q}"
        ),
        "average_pool %y: Windows of an average pool end within its padding, which rounding the number of windows up "
        "may break; found 1 and 0 elements beyond",
    ),
    (
        unary("global_average_pool(%x)", f"i8[1,1,300,2]{Q}", f"i8[1,1,1,1]{Q}"),
        "global_average_pool %x: A pooling window has at most 255 rows and columns, that of a global pool the size of "
        "the map; found 300 x 2",
    ),
    (
        f"""
  func @main(%x: i8[2,3,4]{Q}, %z: i8[3,4]{Q}) -> (%y: i8[2,3,4]{Q}) {{
    %y = mul(%x, %z) : i8[2,3,4]{Q}
    return %y
  }}""",
        "mul %z: Operands have as many dimensions as the result; found 2 dimensions instead of 3",
    ),
    (
        f"""
  func @main(%x: i8[2,3,4]{Q}, %z: i8[2,1,4]{Q}) -> (%y: i8[2,3,4]{Q}) {{
    %y = mul(%x, %z) : i8[2,3,4]{Q}
    return %y
  }}""",
        "mul %z: Operands have all channels of the result, so that only images, rows and columns are repeated; "
        "found 1 channels instead of 3",
    ),
    (
        unary("transpose(%x) {perm=[0, 2, 1]}", f"i8[1,2,3]{Q}", f"i8[1,3,2]{Q}"),
        "transpose %y: A transposition keeps channels, axis 1, and the order of all else of several elements, so that "
        "pixels stay as they lie, channels last, or exchanges channels and pixels, axes 0, 2, 1 and 3 of one column; "
        "found axes 0, 2 and 1",
    ),
    (
        unary("slice(%x) {begin=[0, 0, 0], extent=[1, 2, 2], step=[1, 1, 2]}", f"i8[1,2,3]{Q}", f"i8[1,2,2]{Q}"),
        "slice %y: A slice takes neighbouring elements, with step 1, and of feature maps of i16 all channels; found "
        "steps 1, 1 and 2",
    ),
    (
        unary("reshape(%x) {shape=[1, 12]}", f"i8[1,3,2,2]{Q}", f"i8[1,12]{Q}"),
        "reshape %y: A reshape keeps images, channels and the number of pixels, so that pixels stay as they lie, "
        "channels last; found [1, 3, 2, 2] to [1, 12]",
    ),
    (
        unary(
            f"resize(%x) {{extents=[1, 4, 2], scales=[0x1.0p0, 0x1.0p1, 0x1.0p0], {RESIZE}}}",
            f"i8[1,2,2]{Q}",
            f"i8[1,4,2]{Q}",
        ),
        "resize %y: A resize keeps images and channels; found [1, 2, 2] to [1, 4, 2]",
    ),
    (
        unary(
            f"resize(%x) {{extents=[1, 2, 2], scales=[0x1.0p0, 0x1.0p0, 0x1.0p-5], {RESIZE}}}",
            f"i8[1,2,64]{Q}",
            f"i8[1,2,2]{Q}",
        ),
        "resize %y: The rows, and the columns, that a resize takes follow each other in equal steps of less than 16; "
        "found columns 0, 32",
    ),
    (
        f"const @i : i64[1] = [0]\n{unary('gather(%x, @i) {axis=2}', f'i8[1,2,3]{Q}', f'i8[1,2,1]{Q}')}",
        "gather @i: A gather picks channels, axis 1, by a list of indices that is known; found [1] along axis 2",
    ),
    (
        f"const @i : i64[2] = [1, 2]\n{unary('gather(%x, @i) {axis=1}', f'i8[1,2,3]{Q}', f'i8[1,2,3]{Q}')}",
        "gather @i: A gather picks channels, axis 1, by a list of indices that is known; found 2 of 2 channels",
    ),
    (
        f"func @main(%x: i8[1,2,3]{Q}, %i: i64[2]) -> (%y: i8[1,2,3]{Q}) "
        f"{{ %y = gather(%x, %i) {{axis=1}} : i8[1,2,3]{Q} return %y }}",
        "gather %i: A gather picks channels, axis 1, by a list of indices that is known; found a computed tensor",
    ),
    (
        unary("tile(%x) {repeats=[1, 2]}", f"i8[2,3]{Q}", f"i8[2,6]{Q}"),
        "the device has no tile",
    ),
    (
        unary('pad(%x) {pads=[0, 0, 1, 0, 0, 1], mode="reflect", value=0x0.0p+0}', f"i8[1,2,3]{Q}", f"i8[1,2,5]{Q}"),
        "pad %y: the device has no pad but of zeros, or few repeated pixels, around quantised maps; found i8, mode "
        "reflect, value 0",
    ),
    (
        unary(
            'pad(%x) {pads=[0, 0, 1, 0, 0, 0, 0, 1, 0, 0], mode="constant", value=0x0.0p+0}',
            f"i8[1,2,3,4,5]{Q}",
            f"i8[1,2,5,4,5]{Q}",
        ),
        "pad %y: the device has no pad but of zeros, or few repeated pixels, around quantised maps; found i8, mode "
        "constant, value 0, 5 dimensions",
    ),
    (
        unary(
            'pad(%x) {pads=[0, 0, 0, 0, 1, 0], mode="constant", value=0x0.0p+0}',
            f"i8[1,2048,1]{Q}",
            f"i8[1,2049,1]{Q}",
        ),
        "pad %y: the device has no pad but of zeros, or few repeated pixels, around quantised maps; found i8, mode "
        "constant, value 0, 2048 channels",
    ),
]


@pytest.mark.parametrize(("text", "message"), REJECTIONS, ids=[message.split(";")[0][:60] for _, message in REJECTIONS])
def test_rejections(text: str, message: str) -> None:
    assert rejection(text) == message


def test_large_kernels(rng) -> None:
    module = parse(convolution(W, ("", "")))
    conv = [*module.main.ops][-1]
    wide = module.add_constant("k", rng.integers(0, 9, (1, 1, 1, 32)).astype("i1"))
    wide.type = wide.type.with_quant(conv.inputs[1].type.quant)
    conv.set_operand(1, wide)
    assert reject(conv, load("m4096")) == (
        "The kernel of a convolution has at most 31 rows and columns",
        "@k",
        "1 x 32",
    )


def test_too_small_a_machine() -> None:
    tiny = dataclasses.replace(load("s256"), name="tiny", accumulator_bytes=512, maps_bytes=1024)
    text = unary("global_average_pool(%x)", f"i8[1,1,200,200]{Q}", f"i8[1,1,1,1]{Q}")
    assert rejection(text, tiny) == (
        "global_average_pool %y: The smallest tile of the op must fit the scratchpads; "
        "found 640016 bytes needed of the maps scratchpad, which has 1024 on tiny"
    )
    exchange = unary("transpose(%x) {perm=[0, 2, 1, 3]}", f"i8[1,18,20,1]{Q}", f"i8[1,20,18,1]{Q}")
    assert rejection(exchange) is None
    assert rejection(exchange, dataclasses.replace(tiny, weight_bytes=512)) == (
        "transpose %y: The smallest tile of the op must fit the scratchpads; "
        "found 8704 bytes needed of the weight scratchpad, which has 512 on tiny"
    )


def test_what_is_a_convolution_of_sixteen_bits_is_no_table() -> None:
    types = "i16[1,16,2,2]<s=0x1.0p-12, z=0>", "i16[1,16,2,2]<s=0x1.0p-15, z=0>"
    found = rejection(unary("hard_sigmoid(%x) {alpha=0x1.0p-2, beta=0x1.0p-1}", *types))
    assert found is not None
    assert found.endswith("found i16, quantised")


def test_tables_need_room() -> None:
    tanh = unary("tanh(%x)", "i16[1,16,2,2]<s=0x1.0p-12, z=0>", "i16[1,16,2,2]<s=0x1.0p-15, z=0>")
    assert rejection(tanh) is None
    assert rejection(tanh, dataclasses.replace(load("s256"), parameter_bytes=512)) == (
        "tanh %y: The smallest tile of the op must fit the scratchpads; "
        "found 2880 bytes needed of the parameter scratchpad, which has 512 on S256"
    )


@pytest.mark.parametrize(
    "text",
    [
        convolution(W, ("", "")),
        unary(f"max_pool(%x) {{{POOL}}}", f"u8[1,1,4,4]{Q}", f"u8[1,1,3,3]{Q}"),
        unary("global_max_pool(%x)", f"i8[1,1,255,2]{Q}", f"i8[1,1,1,1]{Q}"),
        unary("sigmoid(%x)", f"i8[1,2]{Q}", f"u8[1,2]{Q}"),
        unary("requantize(%x)", f"i8[1,2]{Q}", f"u8[1,2]{Q}"),
        unary("reshape(%x) {shape=[2, 3]}", f"i8[2,3,1,1]{Q}", f"i8[2,3]{Q}"),
        unary("reshape(%x) {shape=[1, 6]}", f"i8[1,6,1]{Q}", f"i8[1,6]{Q}"),
        unary("reshape(%x) {shape=[2, 1, 6]}", f"i8[4,1,3,1]{Q}", f"i8[2,1,6]{Q}"),
        unary("slice(%x) {begin=[0, 1, 0], extent=[1, 1, 2], step=[1, 9, 1]}", f"i8[1,2,3]{Q}", f"i8[1,1,2]{Q}"),
        unary("concat(%x, %x) {axis=1}", f"i8[1,2,3]{Q}", f"i8[1,4,3]{Q}"),
    ],
)
def test_ops_that_the_device_runs(text: str) -> None:
    assert rejection(text) is None


def test_the_rules_cover_what_has_device_code() -> None:
    for cls in REGISTRY.values():
        # Predicates are unary functions whose results are no numbers; they are never quantised.
        has_code = any(issubclass(cls, each) for each in LOWERINGS) and cls.QUANTIZATION.name != "NONE"
        assert has_code == (cls in SUPPORT), cls.name


def highest(cls: type[isa.Instruction], name: str) -> int:
    declared = next(field for field in dataclasses.fields(cls) if field.name == name)
    return declared.metadata["bits"].highest


def test_limits_are_those_of_the_instruction_set() -> None:
    for cls in (isa.Convolve, isa.ConvolveDepthwise):
        assert highest(cls, "kernel_height") == highest(cls, "kernel_width") == machine.KERNEL_LIMIT == 31
        assert highest(cls, "stride_height") == highest(cls, "stride_width") == machine.STRIDE_LIMIT == 31
        assert highest(cls, "dilation_height") == highest(cls, "dilation_width") == machine.DILATION_LIMIT == 31
    for cls in (isa.Convolve, isa.ConvolveDepthwise, isa.Pool):
        assert highest(cls, "input_height") == highest(cls, "input_width") == machine.MAP_EXTENT_LIMIT
        assert highest(cls, "row_origin") == highest(cls, "column_origin") == machine.ORIGIN_LIMIT == 4095
        assert highest(cls, "output_height" if cls is not isa.Pool else "height") == machine.OUTPUT_ROWS_LIMIT
        assert highest(cls, "output_width" if cls is not isa.Pool else "width") == machine.OUTPUT_COLUMNS_LIMIT
    assert highest(isa.Pool, "kernel_height") == highest(isa.Pool, "kernel_width") == machine.POOL_KERNEL_LIMIT == 255
    assert highest(isa.Pool, "stride_height") == highest(isa.Pool, "stride_width") == machine.STRIDE_LIMIT
    assert highest(isa.ResizeNearest, "step_height") == highest(isa.ResizeNearest, "step_width") == machine.RESIZE_LIMIT
    assert highest(isa.LoadMaps, "dram_stride_z") == highest(isa.Store, "dram_stride_z") == machine.ROW_LIMIT
    assert highest(isa.Convolve, "output_blocks") == highest(isa.ConvolveDepthwise, "blocks")
    assert highest(isa.Convolve, "output_blocks") == machine.OUTPUT_BLOCKS_LIMIT
    assert highest(isa.LoadMaps, "run") == highest(isa.Store, "run") == machine.RUN_LIMIT
    assert machine.RESIZE_LIMIT == (16 << 16) - 1
    assert highest(isa.ResizeLinear, "step_height") == highest(isa.ResizeLinear, "step_width")
    assert highest(isa.ResizeLinear, "step_width") == highest(isa.ResizeLinear, "origin_width")
    assert highest(isa.ResizeLinear, "step_width") == machine.INTERPOLATION_LIMIT == (16 << 27) - 1
    assert machine.ROW_LIMIT == (16 << 20) - 1


def test_rows_for_people() -> None:
    rows = {row["rule"]: row["operators"] for row in device_rules().records()}
    assert rows["A slice takes neighbouring elements, with step 1, and of feature maps of i16 all channels"] == [
        "slice"
    ]
    assert not any("sigmoid" in operators for operators in rows.values())
    assert rows["The smallest tile of the op must fit the scratchpads"] == ["all"]
    named = [cls.name for cls in sorted(SUPPORT, key=lambda cls: (cls.family, cls.name))]
    assert all(operators == ["all"] or operators == sorted(operators, key=named.index) for operators in rows.values())
    assert all(rule and not rule.endswith(".") for rule in rows)
