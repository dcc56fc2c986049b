"""Tensors whose channels come last, as maps: other names of the same bytes, slices of them, and joined pixels."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from before_after import assert_leaves_alone, clone, parse, random_inputs, run_pass
from chip_graphs import ChipGraph
from device_runs import compile_for_device, plan_for_device, run_on_device
from legalized_networks import M4096, ONES, OTHER, PASS, W, X, check
from random_seeds import in_turn, seeds

from tilewright.ir import interp
from tilewright.ir.annotations import IMAGES, ON, SPLIT
from tilewright.ir.ops.movement import Concat, Transpose
from tilewright.ir.ops.shape import Reshape
from tilewright.passes.base import Record
from tilewright.passes.device.legalize import pixel_views
from tilewright.passes.pattern import Driver
from tilewright.passes.placement.device_support import reject

WEIGHTS = f"""
  const @r : i8[20,16,1,1]{W} = [{", ".join(str((7 * n) % 13 - 6) for n in range(320))}]
  const @m : i8[16,20,3,3]{W} = [{", ".join(str((5 * n) % 11 - 5) for n in range(2880))}]"""


@pytest.mark.parametrize("images", [1, 2])
def test_rows_are_pixels_of_maps_and_pixels_rows(images: int, rng: np.random.Generator) -> None:
    """From rows to a map, and back, and no byte moves: what is read by others too is no product on the map."""
    rows = 24 * images
    found = check(
        f"""{WEIGHTS}
  func @main(%x: i8[{rows},16,1,1]{X}) -> (%y: i8[{rows},16,1,1]{X}, %z: i8[{rows},20,1,1]{X}) {{
    %r = conv(%x, @r, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[{rows},20,1,1]{X}
    %z = max(%r, %r) : i8[{rows},20,1,1]{X}
    %a = reshape(%r) {{shape=[{images}, 4, 6, 20]}} : i8[{images},4,6,20]{X}
    %t = transpose(%a) {{perm=[0, 3, 1, 2]}} : i8[{images},20,4,6]{X}
    %c = conv(%t, @m, _) {{strides=[1, 1], pads=[1, 1, 1, 1], {ONES}}} : i8[{images},16,4,6]{X}
    %f = reshape(%c) {{shape=[{images}, 16, 24]}} : i8[{images},16,24]{X}
    %b = transpose(%f) {{perm=[0, 2, 1]}} : i8[{images},24,16]{X}
    %y = reshape(%b) {{shape=[{rows}, 16, 1, 1]}} : i8[{rows},16,1,1]{X}
    return %y, %z
  }}""",
        rng,
    )
    assert found.count("transpose") == 2 * images
    assert "slice" not in found


def test_a_token_goes_and_another_one_comes(rng: np.random.Generator) -> None:
    """Rows of which the first is taken off become a map, as behind a vision transformer; and rows of two are joined."""
    found = check(
        f"""{WEIGHTS}
  func @main(%x: i8[25,16,1,1]{X}, %u: i8[1,16,1,1]{X}) -> (%y: i8[1,16,4,6]{X}, %z: i8[26,20,1,1]{X}) {{
    %r = conv(%x, @r, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[25,20,1,1]{X}
    %a = reshape(%r) {{shape=[1, 25, 20]}} : i8[1,25,20]{X}
    %s = slice(%a) {{begin=[0, 1, 0], extent=[1, 24, 20], step=[1, 1, 1]}} : i8[1,24,20]{X}
    %t = transpose(%s) {{perm=[0, 2, 1]}} : i8[1,20,24]{X}
    %m = reshape(%t) {{shape=[1, 20, 4, 6]}} : i8[1,20,4,6]{X}
    %y = conv(%m, @m, _) {{strides=[1, 1], pads=[1, 1, 1, 1], {ONES}}} : i8[1,16,4,6]{X}
    %v = conv(%u, @r, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[1,20,1,1]{X}
    %w = reshape(%v) {{shape=[1, 1, 20]}} : i8[1,1,20]{X}
    %j = concat(%w, %a) {{axis=1}} : i8[1,26,20]{X}
    %k = reshape(%j) {{shape=[26, 20, 1, 1]}} : i8[26,20,1,1]{X}
    %z = max(%k, %k) : i8[26,20,1,1]{X}
    return %y, %z
  }}""",
        rng,
    )
    assert {"concat", "slice"} <= {*found}


@pytest.mark.parametrize("step", [2, 3])
def test_phases_of_an_image_behind_each_other_and_back(step: int, rng: np.random.Generator) -> None:
    """Every so many rows and columns as rows of a product, as between the convolutions of a MobileViT."""
    h, w, s = 2, 3, step
    rows, size = h * w * s * s, f"{h * s},{w * s}"
    found = check(
        f"""{WEIGHTS}
  func @main(%x: i8[1,16,{size}]{X}) -> (%y: i8[1,20,{size}]{X}) {{
    %m = max(%x, %x) : i8[1,16,{size}]{X}
    %a = reshape(%m) {{shape=[1, 16, {h}, {s}, {w}, {s}]}} : i8[1,16,{h},{s},{w},{s}]{X}
    %b = transpose(%a) {{perm=[0, 3, 5, 2, 4, 1]}} : i8[1,{s},{s},{h},{w},16]{X}
    %c = reshape(%b) {{shape=[{rows}, 16, 1, 1]}} : i8[{rows},16,1,1]{X}
    %r = conv(%c, @r, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : i8[{rows},20,1,1]{X}
    %d = reshape(%r) {{shape=[1, {s}, {s}, {h}, {w}, 20]}} : i8[1,{s},{s},{h},{w},20]{X}
    %e = transpose(%d) {{perm=[0, 5, 3, 1, 4, 2]}} : i8[1,20,{h},{s},{w},{s}]{X}
    %y = reshape(%e) {{shape=[1, 20, {h * s}, {w * s}]}} : i8[1,20,{size}]{X}
    return %y
  }}""",
        rng,
    )
    assert found.count("slice") <= 2 * step + step * step
    assert (found.count("concat"), found.count("depth_to_space")) == (3, 1)


@pytest.mark.parametrize(("images", "pixels", "u"), [(1, 49, "i8"), (2, 7, "u8"), (1, 130, "i16"), (1, 1, "u8")])
def test_channels_become_pixels_and_pixels_channels(images: int, pixels: int, u: str, rng: np.random.Generator) -> None:
    """A product of what lies at different places of each channel, as where a mixer's tokens are mixed."""
    rows, columns, x = images * pixels, images * 20, "<s=0x1.0p-12, z=0>" if u == "i16" else X
    end = "mul(%e, %e)" if u == "i16" else "max(%e, %e)"
    tokens = ", ".join(str((3 * n) % 17 - 8) for n in range(18 * pixels))
    found = check(
        f"""{WEIGHTS}
  const @t : i8[18,{pixels},1,1]{W} = [{tokens}]
  func @main(%x: {u}[{rows},16,1,1]{x}) -> (%y: {u}[{images},18,20]{x}, %z: {u}[{columns},18,1,1]{x}) {{
    %r = conv(%x, @r, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : {u}[{rows},20,1,1]{x}
    %a = reshape(%r) {{shape=[{images}, {pixels}, 20]}} : {u}[{images},{pixels},20]{x}
    %b = transpose(%a) {{perm=[0, 2, 1]}} : {u}[{images},20,{pixels}]{x}
    %c = reshape(%b) {{shape=[{columns}, {pixels}, 1, 1]}} : {u}[{columns},{pixels},1,1]{x}
    %z = conv(%c, @t, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : {u}[{columns},18,1,1]{x}
    %d = reshape(%z) {{shape=[{images}, 20, 18]}} : {u}[{images},20,18]{x}
    %e = transpose(%d) {{perm=[0, 2, 1]}} : {u}[{images},18,20]{x}
    %y = {end} : {u}[{images},18,20]{x}
    return %y, %z
  }}""",
        rng,
    )
    assert "slice" not in found


FAR_APART = [
    (96, 32, (64, 0), 3),
    (100, 40, (0, 0), 3),
    (70, 33, (40, 20), 2),
    (130, 64, (64, 64), 3),
    (90, 45, (10, 90), 3),
]


@pytest.mark.parametrize(("taps_of", "form"), in_turn(FAR_APART, ["line", "row", "column", "depthwise"]))
def test_taps_far_apart_are_neighbours_in_columns(
    taps_of: tuple[int, int, tuple[int, int], int], form: str, rng: np.random.Generator
) -> None:
    """Dilations that no instruction holds, in causal and in other networks in time."""
    length, step, pads, taps = taps_of
    outputs = length + sum(pads) - step * (taps - 1)
    groups, inputs = (16, 1) if form == "depthwise" else (1, 16)

    def at(number: int, other: int = 1) -> list[int]:
        return {"row": [other, number], "column": [number, other]}.get(form, [number])

    weights = ", ".join(str((7 * n) % 13 - 6) for n in range(16 * inputs * taps))
    ends = [*at(pads[0], 0), *at(pads[1], 0)]
    text = f"""
  const @w : i8{[16, inputs, *at(taps)]}{W} = [{weights}]
  func @main(%x: i8{[1, 16, *at(length)]}{X}) -> (%y: i8{[1, 16, *at(outputs)]}{X}) {{
    %y = conv(%x, @w, _) {{strides={at(1)}, pads={ends}, dilations={at(step)}, group={groups}, act=relu, act_args=[]}}
      : i8{[1, 16, *at(outputs)]}{X}
    return %y
  }}"""
    assert "conv" in check(text, rng)


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "pads"),
    [
        ((1, 1, 640), (256,), (128,), (0, 0)),
        ((1, 2, 203), (60,), (40,), (3, 17)),
        ((1, 3, 96, 64), (32, 32), (32, 32), (0, 0, 0, 0)),
        ((2, 3, 30, 100), (9, 40), (3, 20), (1, 2, 3, 4)),
    ],
)
def test_long_windows_read_blocks_as_pixels(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    """Spectra of sounds and patches of images, longer than an instruction holds."""
    count, dims = 5 * shape[1] * math.prod(kernel), len(kernel)
    sizes = (n + pads[i] + pads[dims + i] - kernel[i] for i, n in enumerate(shape[2:]))
    y = f"i8{[shape[0], 5, *(size // step + 1 for size, step in zip(sizes, strides, strict=True))]}{X}"
    conv = f"strides={[*strides]}, pads={[*pads]}, dilations={[1] * dims}, group=1, act=relu, act_args=[]"
    module = parse(f"""
  const @w : i8{[5, shape[1], *kernel]}<s=0x1.0p-9, z=0> = [{", ".join(str((7 * n) % 13 - 6) for n in range(count))}]
  func @main(%x: i8{[*shape]}{X}) -> (%y: {y}) {{
    %y = conv(%x, @w, _) {{{conv}}} : {y}
    return %y
  }}""")
    original = clone(module)
    run_pass(PASS, module)
    (op,) = (op for op in module.ops if op.name == "conv" and op.result.type.shape[1] == 5)
    assert reject(op, M4096) is None and reject(next(iter(original.ops)), M4096) is not None
    inputs = random_inputs(original, rng)
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], interp.run(original, inputs)["y"])


@pytest.mark.parametrize(
    ("taps", "stride", "pads", "outputs"),
    [(640, 1, (0, 0), 1), (64, 2**31 - 1, (0, 0), 1), (4, 4099, (0, 0), 1), (40, 20, (40, 0), 33)],
)
def test_long_windows_that_have_no_blocks_stay(taps: int, stride: int, pads: tuple[int, int], outputs: int) -> None:
    """Of very many parts, or very far apart, or behind as much padding as they read."""
    conv = f'strides=[{stride}], pads={[*pads]}, dilations=[1], group=1, act="none", act_args=[]'
    assert_leaves_alone(
        PASS,
        f"""
  const @w : i8[1,1,{taps}]{W} = [{", ".join(["1"] * taps)}]
  func @main(%x: i8[1,1,640]{X}) -> (%y: i8[1,1,{outputs}]{X}) {{
    %y = conv(%x, @w, _) {{{conv}}} : i8[1,1,{outputs}]{X}
    return %y
  }}""",
    )


def windows(x: str, name: str, h: int, w: int, s: int, *, together: bool) -> str:
    """Windows of ``s`` x ``s`` of an image [1, h * s, w * s, 20], one behind the other, or put together."""
    apart, rows, image = f"[1,{h},{s},{w},{s},20]", f"[1,{h},{w},{s},{s},20]", f"[1,{h * s},{w * s},20]"
    first, second, last = (rows, apart, image) if together else (apart, rows, f"[{h * w},{s},{s},20]")
    return f"""
    %{name}a = reshape({x}) {{shape={first}}} : i8{first}{X}
    %{name}b = transpose(%{name}a) {{perm=[0, 1, 3, 2, 4, 5]}} : i8{second}{X}
    %{name}c = reshape(%{name}b) {{shape={last}}} : i8{last}{X}"""


def rolled(x: str, name: str, axis: int, height: int, width: int) -> str:
    """An image whose first row or column goes to the end."""
    extents = (1, height), (2, width)
    one, rest = ([1, *(make(n) if d == axis else n for d, n in extents), 20] for make in (lambda n: 1, lambda n: n - 1))
    begin = [int(d == axis) for d in range(4)]
    return f"""
    %{name}a = slice({x}) {{begin={begin}, extent={rest}, step=[1, 1, 1, 1]}} : i8{rest}{X}
    %{name}b = slice({x}) {{begin=[0, 0, 0, 0], extent={one}, step=[1, 1, 1, 1]}} : i8{one}{X}
    %{name}c = concat(%{name}a, %{name}b) {{axis={axis}}} : i8[1,{height},{width},20]{X}"""


IN_WINDOWS = [(2, 3, 4), (4, 2, 2), (1, 5, 3), (5, 2, 4), (3, 1, 2), (2, 2, 7)]


@pytest.mark.parametrize(("extents", "way"), in_turn(IN_WINDOWS, ["apart", "together", "both", "shifted"], 3))
def test_windows_of_an_image_apart_and_together(
    extents: tuple[int, int, int], way: str, rng: np.random.Generator
) -> None:
    """Convolutions see which pixels are neighbours, in the image and in each window; also of an image whose rows and
    columns have gone round by one, in numbers of which some are added."""
    h, w, size = extents
    n, s, height, width = h * w, size, h * size, w * size
    image, cut = f"[1,16,{height},{width}]", f"[{n},16,{s},{s}]"
    padded = f"{{strides=[1, 1], pads=[1, 1, 1, 1], {ONES}}}"
    steps = {"apart": (False,), "together": (True,)}.get(way, (False, True))
    text, value = "", "%x"
    for together in steps:
        before, after = (cut, image) if together else (image, cut)
        (a, _, b, c), (d, _, e, f) = (each.strip("[]").split(",") for each in (before, after))
        name, last = ("t", "%tic") if together else ("w", "%wic")
        text += f"""
    %{name}k = conv({value}, @k, _) {padded} : i8[{a},20,{b},{c}]{X}
    %{name}l = transpose(%{name}k) {{perm=[0, 2, 3, 1]}} : i8[{a},{b},{c},20]{X}"""
        if way == "shifted" and not together:
            text += rolled("%wl", "r", 1, height, width) + rolled("%rc", "s", 2, height, width)
            text += windows("%sc", "wi", h, w, s, together=False)
        else:
            text += windows(f"%{name}l", f"{name}i", h, w, s, together=together)
        if way == "shifted" and together:
            text += (
                rolled("%tic", "u", 2, height, width)
                + f"""
    %uq = requantize(%uc) : i8[1,{height},{width},20]{OTHER}
    %um = max(%uq, %uq) : i8[1,{height},{width},20]{OTHER}
    %uz = requantize(%um) : i8[1,{height},{width},20]{X}"""
            )
            last = "%uz"
        text += f"""
    %{name}y = transpose({last}) {{perm=[0, 3, 1, 2]}} : i8[{d},20,{e},{f}]{X}
    %{name}z = conv(%{name}y, @m, _) {padded} : i8{after}{X}"""
        value = f"%{name}z"
    weights = ", ".join(str((3 * n) % 17 - 8) for n in range(2880))
    source, target = (cut if way == "together" else image), (cut if way == "apart" else image)
    found = check(
        f"""{WEIGHTS}
  const @k : i8[20,16,3,3]{W} = [{weights}]
  func @main(%x: i8{source}{X}) -> ({value}: i8{target}{X}) {{{text}
    return {value}
  }}""",
        rng,
    )
    if way != "shifted":
        assert found.count("slice") == (w > 1) * sum(s if together else w for together in steps)


def test_pixels_that_change_places_stay_where_they_are_many_or_for_the_host() -> None:
    assert pixel_views.exchanges_of([(16, 4), (18, 64), (4, 1)], 4) == (16, [(1, 16, 18, 4)])
    assert pixel_views.exchanges_of([(17, 4), (18, 68), (4, 1)], 4) is None
    assert_leaves_alone(
        PASS,
        f"""
  func @main(%x: i8[1,4,2,3]{X}) -> (%y: i8[1,4,3,2]{X}) {{
    %y = transpose(%x) {{perm=[0, 1, 3, 2]}} : i8[1,4,3,2]{X}
    return %y
  }}""",
    )


@pytest.mark.parametrize(("images", "step", "other"), [(1, 2, 3), (2, 3, 2), (2, 1, 3), (1, 8, 8)])
def test_grids_of_rows_apart_and_together(images: int, step: int, other: int, rng: np.random.Generator) -> None:
    """Every so many rows and columns, differently many of both, of several images that are rows of a product."""
    h, w = (8, 8) if step == other else (2, 3)
    rows = images * h * w * step * other
    text, value = "", "%x"
    for name, shape, perm in (
        ("a", f"[{images}, {h}, {step}, {w}, {other}, 16]", "[0, 2, 4, 1, 3, 5]"),
        ("b", f"[{images}, {step}, {other}, {h}, {w}, 16]", "[0, 3, 1, 4, 2, 5]"),
    ):
        moved = [shape.strip("[]").split(", ")[int(axis)] for axis in perm.strip("[]").split(", ")]
        text += f"""
    %{name}0 = max({value}, {value}) : i8[{rows},16,1,1]{X}
    %{name}1 = reshape(%{name}0) {{shape={shape}}} : i8{shape.replace(" ", "")}{X}
    %{name}2 = transpose(%{name}1) {{perm={perm}}} : i8[{",".join(moved)}]{X}
    %{name} = reshape(%{name}2) {{shape=[{rows}, 16, 1, 1]}} : i8[{rows},16,1,1]{X}"""
        value = f"%{name}"
    text += f"\n    %y = min(%a, %b) : i8[{rows},16,1,1]{X}\n    return %y"
    signature = f"(%x: i8[{rows},16,1,1]{X}) -> (%y: i8[{rows},16,1,1]{X})"
    assert "slice" in check(f"{WEIGHTS}\n  func @main{signature} {{{text}\n  }}", rng)


@pytest.mark.parametrize("shape", ["[1]", "[]"])
def test_tensors_of_one_dimension_or_none_are_no_maps(shape: str) -> None:
    """Neither what becomes of a map, nor what a map is made of, or is added to."""
    module = parse(
        f"""
  func @main(%x: i8[1,1,1,1]{X}, %u: i8[1,4,3]{X}) -> (%y: i8[1,4,3]{X}, %z: i8[1,1]{X}) {{
    %a = reshape(%x) {{shape={shape}}} : i8{shape}{X}
    %b = max(%a, %a) : i8{shape}{X}
    %c = reshape(%b) {{shape=[1, 1]}} : i8[1,1]{X}
    %d = reshape(%x) {{shape={shape}}} : i8{shape}{X}
    %y = add(%u, %d) : i8[1,4,3]{X}
    %z = max(%c, %c) : i8[1,1]{X}
    return %y, %z
  }}"""
    )
    original, inputs = clone(module), random_inputs(module, np.random.default_rng(0))
    run_pass(PASS, module)
    for name, array in interp.run(original, inputs).items():
        np.testing.assert_array_equal(interp.run(module, inputs)[name], array)


def test_a_chain_is_one_movement_whose_first_part_is_another(rng: np.random.Generator) -> None:
    """As MobileViT unfolds an image: parts of 2 x 2 pixels stand side by side, and then each is an image."""
    lines = [f"func @main(%x: i8[1,16,8,8]{X}) -> (%z: i8[64,16,1,1]{X}) {{ %m = max(%x, %x) : i8[1,16,8,8]{X}"]
    lines.append("%x0 = reshape(%m) {shape=[64, 2, 4, 2]}")
    lines[1] += f" : i8[64,2,4,2]{X} %x1 = transpose(%x0) {{perm=[0, 2, 1, 3]}} : i8[64,4,2,2]{X}"
    lines.append(f"%x2 = reshape(%x1) {{shape=[1, 16, 16, 4]}} : i8[1,16,16,4]{X}")
    lines.append(f"%x3 = transpose(%x2) {{perm=[0, 3, 2, 1]}} : i8[1,4,16,16]{X}")
    lines.append(f"%y = reshape(%x3) {{shape=[64, 16, 1, 1]}} : i8[64,16,1,1]{X}")
    lines.append(f"%z = max(%y, %y) : i8[64,16,1,1]{X} return %z }}")
    assert check("\n".join(lines), rng).count("slice") == 4, "two for rows and two for columns"


def test_what_long_chains_take_grows_with_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with its square, nor with the elements of the maps: no view is computed."""
    counts: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        called = getattr(owner, name)

        def count(*arguments: object) -> object:
            counts[name] += 1
            return called(*arguments)

        monkeypatch.setattr(owner, name, count)

    for owner, name in ((pixel_views, "joined_loops"), (Reshape, "reference"), (Transpose, "reference")):
        counted(owner, name)
    monkeypatch.setattr(pixel_views, "PIXELS_LIMIT", 1)
    rule = next(rule for rule in pixel_views.RULES if rule.name == "view")
    steps: list[int] = []
    for pairs in (20, 40, 80):
        lines, x = list[str](), "x"
        for index in range(pairs):
            lines.append(f"%a{index} = transpose(%{x}) {{perm=[0, 1, 3, 2]}} : i8[1,4,512,256]{X}")
            lines.append(f"%t{index} = reshape(%a{index}) {{shape=[1, 4, 256, 512]}} : i8[1,4,256,512]{X}")
            x = f"t{index}"
        body = "\n".join([f"func @main(%x: i8[1,4,256,512]{X}) -> (%{x}: i8[1,4,256,512]{X}) {{", *lines])
        module = parse(f"{body}\nreturn %{x} }}")
        counts.clear()
        assert not Driver([rule]).run(module, Record("views"))
        assert counts["reference"] == 0
        steps.append(counts["joined_loops"])
    assert 0 < steps[2] - steps[1] == 2 * (steps[1] - steps[0])


@pytest.mark.parametrize("count", [1500, 1501])
def test_a_slice_behind_a_deep_chain_of_transpositions(count: int) -> None:
    """An even number of them leaves the dimensions as they are: the channels do not come last."""
    shapes = ["[1,4,6]", "[1,6,4]"]
    lines = [f"func @main(%t0: i8[1,4,6]{X}) -> (%y: i8[1,2,2]{X}) {{"]
    for index in range(count):
        lines.append(f"%t{index + 1} = transpose(%t{index}) {{perm=[0, 2, 1]}} : i8{shapes[(index + 1) % 2]}{X}")
    lines.append(f"%y = slice(%t{count}) {{begin=[0, 1, 1], extent=[1, 2, 2], step=[1, 1, 1]}} : i8[1,2,2]{X}")
    module = parse("\n".join([*lines, "return %y }"]))
    rule = next(rule for rule in pixel_views.MOVED if rule.name == "slice_of_pixels")
    assert Driver([rule]).run(module, Record("views")) == bool(count % 2)


def test_rows_that_are_rolled_are_not_turned_for_ever(rng: np.random.Generator) -> None:
    """A map with channels last, as rows that are cut and joined, as windows that are shifted have it."""
    check(
        f"""
  func @main(%x: i8[1,6,4,4]{X}) -> (%z: i8[1,6,16]{X}) {{
    %a = max(%x, %x) : i8[1,6,4,4]{X}
    %t = transpose(%a) {{perm=[0, 2, 3, 1]}} : i8[1,4,4,6]{X}
    %r = reshape(%t) {{shape=[1, 16, 6]}} : i8[1,16,6]{X}
    %b = slice(%r) {{begin=[0, 4, 0], extent=[1, 12, 6], step=[1, 1, 1]}} : i8[1,12,6]{X}
    %c = slice(%r) {{begin=[0, 0, 0], extent=[1, 4, 6], step=[1, 1, 1]}} : i8[1,4,6]{X}
    %d = concat(%b, %c) {{axis=1}} : i8[1,16,6]{X}
    %y = transpose(%d) {{perm=[0, 2, 1]}} : i8[1,6,16]{X}
    %z = max(%y, %y) : i8[1,6,16]{X}
    return %z
  }}""",
        rng,
    )


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        ("slice(%b) {begin=[0, 0, 0], extent=[2, 1, 1], step=[1, 1, 1]}", "[2,1,1]"),
        ("concat(%b, %b) {axis=2}", "[3,1,2]"),
    ],
)
def test_single_numbers_are_not_turned_for_ever(op: str, shape: str, rng: np.random.Generator) -> None:
    check(
        f"""
  func @main(%x: i8[3,1,1,1]{X}) -> (%z: i8{shape}{X}) {{
    %a = max(%x, %x) : i8[3,1,1,1]{X}
    %b = reshape(%a) {{shape=[3, 1, 1]}} : i8[3,1,1]{X}
    %y = {op} : i8{shape}{X}
    %z = max(%y, %y) : i8{shape}{X}
    return %z
  }}""",
        rng,
    )


def test_rows_and_turned_rows_are_not_turned_for_ever(rng: np.random.Generator) -> None:
    check(
        f"""
  func @main(%x: i8[16,7,1,1]{X}, %y: i8[14,8,1,1]{X})
    -> (%z: i8[16,7,1,1]{X}, %b: i8[14,8,1,1]{X}, %a: i8[16,7,1,1]{X}) {{
    %a = max(%x, %x) : i8[16,7,1,1]{X}
    %b = max(%y, %y) : i8[14,8,1,1]{X}
    %c = reshape(%a) {{shape=[2, 8, 7]}} : i8[2,8,7]{X}
    %d = reshape(%b) {{shape=[2, 7, 8]}} : i8[2,7,8]{X}
    %e = transpose(%d) {{perm=[0, 2, 1]}} : i8[2,8,7]{X}
    %f = max(%c, %e) : i8[2,8,7]{X}
    %z = reshape(%f) {{shape=[16, 7, 1, 1]}} : i8[16,7,1,1]{X}
    return %z, %b, %a
  }}""",
        rng,
    )


def test_clusters_that_share_images_do_not_share_exchanged_channels() -> None:
    kind = "i16[1,2,2,1]<s=0x1.0p-4, z=0>"
    module = parse(
        f"""
  func @main(%x: {kind}) -> (%y: {kind}) {{
    %a = max(%x, %x) : {kind}
    %t = transpose(%a) {{perm=[0, 2, 1, 3]}} : {kind}
    %y = max(%t, %t) : {kind}
    return %y
  }}"""
    )
    IMAGES.set(module.main, (2, 1))
    plan_for_device(module, M4096, 2)
    (exchange,) = (op for op in module.main.ops if op.name == "transpose")
    assert SPLIT.get(exchange) != "images"


def _viewing(graph: ChipGraph) -> None:
    """Images of one row, or column, as rows, or columns, of one image."""
    x = graph.some()
    perms = ((2, 1, 0, 3), (3, 1, 2, 0), (0, 1, 3, 2), (3, 1, 0, 2), (2, 1, 3, 0))
    kept = [axis for axis in (0, 2, 3) if x.type.shape[axis] > 1]
    fitting = [perm for perm in perms if [axis for axis in perm if axis in kept] == kept]
    if fitting:
        perm = fitting[int(graph.rng.integers(len(fitting)))]
        graph.op(Transpose(perm), x, shape=tuple(x.type.shape[axis] for axis in perm))


def _joining(graph: ChipGraph) -> None:
    """Rows, columns or images of maps, behind each other."""
    x, axis = graph.some(), int(graph.rng.choice([0, 2, 3]))
    rest = [*x.type.shape]
    del rest[axis]
    same = [v for v in graph.values if [e for a, e in enumerate(v.type.shape) if a != axis] == rest]
    parts = [same[int(n) % len(same)] for n in graph.rng.integers(0, 99, int(graph.rng.integers(1, 3)))] + [x]
    shape = [*x.type.shape]
    shape[axis] = sum(part.type.shape[axis] for part in parts)
    if shape[axis] < 40:
        graph.op(Concat(axis), *parts, shape=tuple(shape))


def _flattening(graph: ChipGraph) -> None:
    """Maps of one row or column, which may be seen in several ways."""
    x = graph.some()
    images, channels, height, width = x.type.shape
    shape = (images, channels, *((1, height * width) if graph.rng.integers(2) else (height * width, 1)))
    graph.op(Reshape(shape), x, shape=shape)
    if shape[3] == 1 and graph.rng.integers(2):
        graph.op(Transpose((0, 2, 1, 3)), graph.values[-1], shape=(shape[0], shape[2], shape[1], 1))


@pytest.mark.parametrize("seed", seeds(4, 24))
def test_random_networks_of_views_and_joined_pixels(seed: int) -> None:
    rng = np.random.default_rng(191_000 + seed)
    graph = ChipGraph(rng)
    makers = [graph.convolution, graph.pooling, graph.adding, graph.residual, graph.joining, graph.slicing]
    while len(graph.values) < 16:
        if rng.integers(2):
            (_viewing, _joining, _flattening)[int(rng.integers(3))](graph)
        else:
            makers[int(rng.integers(len(makers)))](graph.some())
    graph.function.set_results([value for value in graph.values[1:] if not value.uses or rng.integers(12) == 0])
    ON.set(graph.function, "device")
    module = graph.module
    assert [reason for op in module.ops if (reason := reject(op, M4096)) is not None] == []
    inputs = random_inputs(module, rng)
    clusters = int(rng.choice([1, 4]))
    machine = replace(M4096, maps_bytes=int(rng.choice([1 << 15, M4096.maps_bytes])))
    found = run_on_device(module, compile_for_device(module, machine, clusters), machine, inputs)
    for name, array in interp.run(module, inputs).items():
        np.testing.assert_array_equal(found[name], array, f"seed {seed}, {clusters} clusters, {name}")
