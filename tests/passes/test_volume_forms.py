"""Convolutions and pools of volumes as those of images and rows: on the accelerator, not one byte is another."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import clone, parse, random_inputs, run_pass
from legalized_networks import M4096, W, X, check
from normalization_blocks import extreme_inputs, normalized_rows, the_op

from tilewright.ir import interp
from tilewright.ir.core import is_op
from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.passes.placement.device_support import reject

Y = "<s=0x1.0p-3, z=-2>"


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "dilations", "group"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1, 1, 1, 1), (1, 1, 1), 1),
        ((3, 2, 3), (2, 1, 2), (1, 0, 1, 0, 1, 1), (1, 1, 1), 1),
        ((2, 3, 1), (1, 1, 1), (2, 1, 0, 0, 1, 0), (2, 1, 1), 1),
        ((1, 3, 3), (1, 2, 1), (0, 1, 1, 0, 1, 1), (1, 1, 1), 16),
        ((3, 1, 1), (1, 1, 1), (1, 0, 0, 1, 0, 0), (1, 1, 1), 1),
        ((3, 1, 1), (2, 1, 1), (2, 0, 0, 0, 0, 0), (1, 1, 1), 16),
    ],
)
def test_convolutions_of_volumes(
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...],
    group: int,
    rng: np.random.Generator,
) -> None:
    """Of all forms, and a sum with what it reads, where that has its shape."""
    extents = (6, 4, 5)
    out = [
        (extents[d] + pads[d] + pads[3 + d] - dilations[d] * (kernel[d] - 1) - 1) // strides[d] + 1 for d in range(3)
    ]
    shape = [16, 16 // group, *kernel]
    weights = ", ".join(str((7 * n) % 13 - 6) for n in range(np.prod(shape)))
    form = f"strides={[*strides]}, pads={[*pads]}, dilations={[*dilations]}, group={group}, act=relu, act_args=[]"
    depth, *plane = out
    has_sum = tuple(out) == extents
    rest = f"%s = add(%c, %v) : i8[1,16,6,4,5]{Y}" if has_sum else ""
    found = check(
        f"""
  const @w : i8{shape}{W} = [{weights}]
  func @main(%x: i8[1,16,6,20]{X}) -> (%y: i8[1,16,{depth},{plane[0] * plane[1]}]{Y}) {{
    %v = reshape(%x) {{shape=[1, 16, 6, 4, 5]}} : i8[1,16,6,4,5]{X}
    %c = conv(%v, @w, _) {{{form}}} : i8[1,16,{depth},{plane[0]},{plane[1]}]{Y}
    {rest}
    %y = reshape(%{"s" if has_sum else "c"}) {{shape=[1, 16, {depth}, {plane[0] * plane[1]}]}}
      : i8[1,16,{depth},{plane[0] * plane[1]}]{Y}
    return %y
  }}""",
        rng,
        "volume_convolutions",
    )
    assert found.count("add") == has_sum


@pytest.mark.parametrize(
    ("pool", "result"),
    [
        ("max_pool(%v) {kernel=[2, 2, 3], strides=[2, 2, 2], pads=[0, 0, 1, 0, 0, 0], dilations=[1, 1, 1]}", (3, 2, 2)),
        ("max_pool(%v) {kernel=[1, 2, 2], strides=[1, 2, 1], pads=[0, 0, 0, 0, 0, 0], dilations=[1, 1, 1]}", (6, 2, 4)),
        (
            "average_pool(%v) {kernel=[3, 1, 1], strides=[2, 1, 1], pads=[1, 0, 0, 1, 0, 0], dilations=[1, 1, 1], "
            "count_include_pad=true, overhang=[0, 0, 0]}",
            (3, 4, 5),
        ),
        (
            "average_pool(%v) {kernel=[1, 2, 3], strides=[1, 2, 1], pads=[0, 0, 1, 0, 0, 1], dilations=[1, 1, 1], "
            "count_include_pad=false, overhang=[0, 0, 0]}",
            (6, 2, 5),
        ),
        ("global_average_pool(%v)", (1, 1, 1)),
        ("global_max_pool(%v)", (1, 1, 1)),
    ],
)
def test_pools_of_volumes(pool: str, result: tuple[int, int, int], rng: np.random.Generator) -> None:
    depth, *plane = result
    pixels = plane[0] * plane[1]
    found = check(
        f"""
  func @main(%x: i8[1,16,6,20]{X}) -> (%y: i8[1,16,{depth},{pixels}]{X}) {{
    %v = reshape(%x) {{shape=[1, 16, 6, 4, 5]}} : i8[1,16,6,4,5]{X}
    %p = {pool} : i8[1,16,{depth},{plane[0]},{plane[1]}]{X}
    %y = reshape(%p) {{shape=[1, 16, {depth}, {pixels}]}} : i8[1,16,{depth},{pixels}]{X}
    return %y
  }}""",
        rng,
        "volume_convolutions",
    )
    assert any(name.endswith(pool.partition("(")[0].removeprefix("global_")) for name in found)


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize(("first", "second"), [("4,1", "1,{}"), ("4,{}", "4,1"), ("1,{}", "4,{}")])
def test_what_is_repeated_along_one_dimension_of_planes_stays(
    columns: int, first: str, second: str, rng: np.random.Generator
) -> None:
    """As rows, equally long ones would be added, and one dimension be taken for another."""
    first, second = first.format(columns), second.format(columns)
    module = parse(f"""
  func @main(%a: i8[1,16,3,{first}]{X}, %b: i8[1,16,3,{second}]{X}) -> (%y: i8[1,16,3,4,{columns}]{Y}) {{
    %y = add(%a, %b) : i8[1,16,3,4,{columns}]{Y}
    return %y
  }}""")
    inputs = random_inputs(module, rng)
    wanted = interp.run(module, inputs)
    run_pass("legalize_for_device", module)
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], wanted["y"])
    assert [op.inputs[0].type.rank for op in module.ops if op.name == "add"] == [5]


@pytest.mark.parametrize(("groups", "is_sum"), [(24, False), (6, True), (1, True)])
def test_normalisations_of_volumes_are_those_of_rows(groups: int, is_sum: bool, rng: np.random.Generator) -> None:
    """With what is added before and numbers for each channel."""
    module = normalized_rows(rng, (2, 24, 3, 4, 5), is_sum=is_sum, groups=groups)
    before = clone(module)
    assert reject(the_op(module), M4096) is not None
    run_pass("legalize_for_device", module)
    (norm,) = (op for op in module.ops if is_op(op, SkipLayerNorm))
    assert norm.result.type.shape == (2, 24, 3, 20) and reject(norm, M4096) is None
    for inputs in extreme_inputs(before, rng):
        np.testing.assert_array_equal(interp.run(module, inputs)["y"], interp.run(before, inputs)["y"])


@pytest.mark.parametrize(("planes", "rank"), [(64, 4), (65, 5)])
def test_windows_of_very_many_planes_stay(planes: int, rank: int) -> None:
    module = parse(f"""
  const @w : i8[1,1,{planes},1,3]{W} = {[0] * (3 * planes)}
  func @main(%x: i8[1,1,{planes},2,3]{X}) -> (%y: i8[1,1,1,2,1]{Y}) {{
    %y = conv(%x, @w, _) {{strides=[1, 1, 1], pads=[0, 0, 0, 0, 0, 0], dilations=[1, 1, 1], group=1, act="none",
      act_args=[]}} : i8[1,1,1,2,1]{Y}
    return %y
  }}""")
    run_pass("volume_convolutions", module)
    assert [op.result.type.rank for op in module.ops if op.name == "conv"] == [rank]


@pytest.mark.parametrize("batch", [1, 2])
def test_sums_of_what_convolutions_of_planes_leave(batch: int, rng: np.random.Generator) -> None:
    """Their planes are images, and stay so: shortcuts of ResNets of volumes leave no movement for the host."""
    weights = ", ".join(str((5 * n) % 11 - 5) for n in range(16 * 16 * 27))
    form = "strides=[1, 1, 1], pads=[1, 1, 1, 1, 1, 1], dilations=[1, 1, 1], group=1, act=relu, act_args=[]"
    volume, rows = f"i8[{batch},16,4,3,5]{Y}", f"i8[{batch},16,4,15]"
    check(
        f"""
  const @w : i8[16,16,3,3,3]{W} = [{weights}]
  func @main(%x: {rows}{X}) -> (%y: {rows}{Y}) {{
    %v = reshape(%x) {{shape=[{batch}, 16, 4, 3, 5]}} : i8[{batch},16,4,3,5]{X}
    %a = conv(%v, @w, _) {{{form}}} : {volume}
    %b = conv(%a, @w, _) {{{form}}} : {volume}
    %s = add(%b, %a) : {volume}
    %c = conv(%s, @w, _) {{{form}}} : {volume}
    %t = add(%c, %s) : {volume}
    %y = reshape(%t) {{shape=[{batch}, 16, 4, 15]}} : {rows}{Y}
    return %y
  }}""",
        rng,
        "volume_convolutions",
    )


def test_planes_of_what_is_no_image_stay_rows(rng: np.random.Generator) -> None:
    """Channels as images, which a user has reshaped, would make the planes channels: 3 of 16."""
    images, volume = "i8[16,3,4,5]", "i8[1,16,3,4,5]"
    module = parse(f"""
  func @main(%a: {images}{X}, %b: {images}{X}) -> (%y: {volume}{Y}) {{
    %p = reshape(%a) {{shape=[1, 16, 3, 4, 5]}} : {volume}{X}
    %q = reshape(%b) {{shape=[1, 16, 3, 4, 5]}} : {volume}{X}
    %y = add(%p, %q) : {volume}{Y}
    return %y
  }}""")
    inputs = random_inputs(module, rng)
    wanted = interp.run(module, inputs)
    run_pass("legalize_for_device", module)
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], wanted["y"])
    assert [op.result.type.shape for op in module.ops if op.name == "add"] == [(1, 16, 3, 20)]
