"""Images with channels last, cut into patches that become channels, and padded before they are cut into windows."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from before_after import parse, run_pass
from legalized_networks import ONES, PASS, W, X, check
from random_seeds import seeds

POINT = f"{{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}}"


def product(name: str, inputs: int) -> str:
    numbers = ", ".join(str((7 * n) % 13 - 6) for n in range(20 * inputs))
    return f"const @{name} : i8[20,{inputs},1,1]{W} = [{numbers}]"


def listed(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def merged(rows: int, columns: int, down: int, across: int, perm: tuple[int, ...], *, is_map: bool, dtype: str) -> str:
    """A network that makes channels of blocks of pixels, of a map or of rows, which a product reads."""
    image = f"1,{rows},{columns},16"
    apart = [1, rows // down, down, columns // across, across, 16]
    many, count = 16 * down * across, apart[1] * apart[3]
    x = f"{dtype}[{f'1,16,{rows},{columns}' if is_map else f'{rows * columns},16,1,1'}]{X}"
    view = "transpose(%m) {perm=[0, 2, 3, 1]}" if is_map else f"reshape(%m) {{shape=[{image}]}}"
    return f"""
  {product("w", many)}
  func @main(%x: {x}) -> (%y: {dtype}[{count},20,1,1]{X}) {{
    %m = max(%x, %x) : {x}
    %l = {view} : {dtype}[{image}]{X}
    %a = reshape(%l) {{shape={apart}}} : {dtype}[{listed(apart)}]{X}
    %t = transpose(%a) {{perm={[*perm]}}} : {dtype}[{listed([apart[axis] for axis in perm])}]{X}
    %r = reshape(%t) {{shape=[{count}, {many}, 1, 1]}} : {dtype}[{count},{many},1,1]{X}
    %y = conv(%r, @w, _) {POINT} : {dtype}[{count},20,1,1]{X}
    return %y
  }}"""


@pytest.mark.parametrize("is_map", [False, True])
@pytest.mark.parametrize("perm", [(0, 1, 3, 4, 2, 5), (0, 1, 3, 2, 4, 5)])
@pytest.mark.parametrize(("down", "across"), [(2, 2), (1, 3), (3, 1)])
def test_blocks_of_pixels_become_channels(
    down: int, across: int, perm: tuple[int, ...], is_map: bool, rng: np.random.Generator
) -> None:
    """As many slices as a block has pixels, side by side, with either its rows or its columns first."""
    found = check(merged(4 * down, 3 * across, down, across, perm, is_map=is_map, dtype="i8"), rng)
    assert "concat" in found


@pytest.mark.parametrize("seed", seeds(4, 40))
def test_random_blocks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    down, across, h, w = (int(rng.integers(*ends)) for ends in ((1, 5), (1, 5), (1, 6), (1, 6)))
    perm = ((0, 1, 3, 4, 2, 5), (0, 1, 3, 2, 4, 5))[int(rng.integers(2))]
    dtype = ("i8", "u8")[int(rng.integers(2))]
    check(merged(h * down, w * across, down, across, perm, is_map=bool(rng.integers(2)), dtype=dtype), rng)


def test_many_pixels_stay_beside_each_other() -> None:
    """25 slices are more short transfers than the host is slow."""
    module = parse(merged(10, 10, 5, 5, (0, 1, 3, 2, 4, 5), is_map=False, dtype="i8"))
    run_pass(PASS, module)
    assert "concat" not in [op.name for op in module.ops]


@pytest.mark.parametrize("is_rolled", [False, True])
def test_zeros_go_around_maps_before_windows(is_rolled: bool, rng: np.random.Generator) -> None:
    """Rows and columns up to whole windows of 3 by 3, of what may have been rolled before, and windows as rows."""
    size, windows, image = 8, [1, 3, 3, 3, 3, 16], f"i8[1,8,8,16]{X}"
    parts = f"""
    %p = slice(%l) {{begin=[0, 2, 0, 0], extent=[1, 6, 8, 16], step=[1, 1, 1, 1]}} : i8[1,6,8,16]{X}
    %q = slice(%l) {{begin=[0, 0, 0, 0], extent=[1, 2, 8, 16], step=[1, 1, 1, 1]}} : i8[1,2,8,16]{X}
    %c = concat(%p, %q) {{axis=1}} : {image}"""
    around = '{pads=[0, 0, 0, 0, 0, 1, 1, 0], mode="constant", value=0x0.0p0}'
    found = check(
        f"""
  {product("w", 16)}
  func @main(%x: i8[1,16,{size},{size}]{X}) -> (%y: i8[81,20,1,1]{X}) {{
    %m = max(%x, %x) : i8[1,16,{size},{size}]{X}
    %l = transpose(%m) {{perm=[0, 2, 3, 1]}} : {image}{parts if is_rolled else ""}
    %z = pad({"%c" if is_rolled else "%l"}) {around} : i8[1,9,9,16]{X}
    %a = reshape(%z) {{shape={windows}}} : i8[{listed(windows)}]{X}
    %t = transpose(%a) {{perm=[0, 1, 3, 2, 4, 5]}} : i8[{listed(windows)}]{X}
    %r = reshape(%t) {{shape=[{prod(windows) // 16}, 16, 1, 1]}} : i8[81,16,1,1]{X}
    %y = conv(%r, @w, _) {POINT} : i8[81,20,1,1]{X}
    return %y
  }}""",
        rng,
    )
    assert found.count("conv") == 2


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_a_window_that_is_larger_than_the_map(dtype: str, rng: np.random.Generator) -> None:
    """Zeros around its pixels, of six dimensions as those of windows are, and pixels that are cut out again."""

    def type(*shape: int) -> str:
        return f"{dtype}[{listed([*shape])}]{X}"

    found = check(
        f"""
  {product("w", 16)}
  func @main(%x: {type(25, 16, 1, 1)}) -> (%y: {type(25, 20, 1, 1)}) {{
    %a = reshape(%x) {{shape=[1, 1, 1, 5, 5, 16]}} : {type(1, 1, 1, 5, 5, 16)}
    %p = pad(%a) {{pads=[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0], mode=constant, value=0x0.0p0}} : {type(1, 1, 1, 7, 7, 16)}
    %r = reshape(%p) {{shape=[49, 16, 1, 1]}} : {type(49, 16, 1, 1)}
    %c = conv(%r, @w, _) {POINT} : {type(49, 20, 1, 1)}
    %h = reshape(%c) {{shape=[1, 1, 49, 2, 10]}} : {type(1, 1, 49, 2, 10)}
    %s = slice(%h) {{begin=[0, 0, 0, 0, 0], extent=[1, 1, 35, 2, 10], step=[1, 1, 1, 1, 1]}} : {type(1, 1, 35, 2, 10)}
    %b = reshape(%s) {{shape=[1, 1, 1, 5, 7, 20]}} : {type(1, 1, 1, 5, 7, 20)}
    %t = slice(%b) {{begin=[0, 0, 0, 0, 0, 0], extent=[1, 1, 1, 5, 5, 20], step=[1, 1, 1, 1, 1, 1]}} : {
            type(1, 1, 1, 5, 5, 20)
        }
    %y = reshape(%t) {{shape=[25, 20, 1, 1]}} : {type(25, 20, 1, 1)}
    return %y
  }}""",
        rng,
    )
    assert found.count("slice") == 2
