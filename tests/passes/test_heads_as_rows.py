"""Heads that are computed with between the product that makes them and the one that reads them, as rows of these."""

from __future__ import annotations

import numpy as np
import pytest
from legalized_networks import ONES, W, X, check

COUNT, WIDTH = 2, 16


def coat(rows: int, columns: int, dtype: str) -> str:
    """Values of a convolution of the pixels of a map, multiplied by queries, padded for a token that has none and added
    to what attention makes of all rows, as CoaT has its positions."""
    pixels, channels = rows * columns, COUNT * WIDTH
    tokens, heads = 1 + pixels, f"1,{COUNT},{pixels},{WIDTH}"
    whole = f"1,{COUNT},{tokens},{WIDTH}"

    def numbers(count: int) -> str:
        return ", ".join(str((7 * n) % 13 - 6) for n in range(count))

    def view(part: int) -> str:
        return f"[{part * channels}, 0, {WIDTH}, {3 * channels}, 1]"

    def cut(part: int) -> str:
        return (
            f"slice(%t) {{begin=[{part}, 0, 0, 1, 0], extent=[1, 1, {COUNT}, {pixels}, {WIDTH}], "
            f"step=[1, 1, 1, 1, 1]}} : {dtype}[1,1,{COUNT},{pixels},{WIDTH}]{X}"
        )

    def as_map(shape: str) -> str:
        return f"{dtype}[{shape}]{X}"

    return f"""
  const @w : i8[{3 * channels},{channels},1,1]{W} = [{numbers(3 * channels**2)}]
  const @d : i8[{channels},1,3,3]{W} = [{numbers(9 * channels)}]
  func @main(%x: {as_map(f"{tokens},{channels},1,1")}) -> (%y: {as_map(f"{tokens},{channels},1,1")}) {{
    %p = conv(%x, @w, _) {{strides=[1, 1], pads=[0, 0, 0, 0], {ONES}}} : {as_map(f"{tokens},{3 * channels},1,1")}
    %r = reshape(%p) {{shape=[1, {tokens}, 3, {COUNT}, {WIDTH}]}} : {as_map(f"1,{tokens},3,{COUNT},{WIDTH}")}
    %t = transpose(%r) {{perm=[2, 0, 3, 1, 4]}} : {as_map(f"3,1,{COUNT},{tokens},{WIDTH}")}
    %q = {cut(0)}
    %h = reshape(%q) {{shape=[{heads}]}} : {as_map(heads)}
    %v = {cut(2)}
    %u = reshape(%v) {{shape=[{heads}]}} : {as_map(heads)}
    %c = transpose(%u) {{perm=[0, 1, 3, 2]}} : {as_map(f"1,{COUNT},{WIDTH},{pixels}")}
    %m = reshape(%c) {{shape=[1, {channels}, {rows}, {columns}]}} : {as_map(f"1,{channels},{rows},{columns}")}
    %e = conv(%m, @d, _) {{strides=[1, 1], pads=[1, 1, 1, 1], {ONES.replace("group=1", f"group={channels}")}}} : {
        as_map(f"1,{channels},{rows},{columns}")
    }
    %f = reshape(%e) {{shape=[1, {COUNT}, {WIDTH}, {pixels}]}} : {as_map(f"1,{COUNT},{WIDTH},{pixels}")}
    %g = transpose(%f) {{perm=[0, 1, 3, 2]}} : {as_map(heads)}
    %i = mul(%h, %g) : {as_map(heads)}
    %j = pad(%i) {{pads=[0, 0, 1, 0, 0, 0, 0, 0], mode=constant, value=0x0.0p0}} : {as_map(whole)}
    %a = attention(%p, %p, %p, _) {{batch=[1, {COUNT}], rows={tokens}, keys={tokens}, width={WIDTH}, depth={
        WIDTH
    }, shape=[{whole}], q_view={view(0)}, k_view={view(1)}, v_view={view(2)}, y_view=[0, {COUNT * tokens * WIDTH}, {
        tokens * WIDTH
    }, {WIDTH}, 1], mask_view=[], scale=0x1.0p-4, causal=false, shares=false}} : {as_map(whole)}
    %l = mul(%a, %a) : {as_map(whole)}
    %n = add(%l, %j) : {as_map(whole)}
    %o = transpose(%n) {{perm=[0, 2, 1, 3]}} : {as_map(f"1,{tokens},{COUNT},{WIDTH}")}
    %y = reshape(%o) {{shape=[{tokens}, {channels}, 1, 1]}} : {as_map(f"{tokens},{channels},1,1")}
    return %y
  }}"""


@pytest.mark.parametrize(("rows", "columns", "dtype"), [(4, 4, "i8"), (2, 7, "u8")])
def test_positions_of_values_are_computed_on_rows(
    rows: int, columns: int, dtype: str, rng: np.random.Generator
) -> None:
    found = check(coat(rows, columns, dtype), rng)
    assert found.count("attention") == 1
