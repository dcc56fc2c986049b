"""Pools of long windows are taken over rows and columns in turn."""

from __future__ import annotations

import numpy as np
from before_after import assert_leaves_alone, assert_rewrites

PASS = "separate_pools"


def pool(x: str, kernel: str, strides: str, pads: str, dilations: str) -> str:
    return f"max_pool({x}) {{strides={strides}, pads={pads}, dilations={dilations}, kernel={kernel}}} [on=cpu]"


def function(type: str, result: str, *lines: str) -> str:
    body = "\n    ".join(lines)
    return f"""
  func @main(%x: {type}) -> (%y: {result}) {{
    {body}
    return %y
  }}"""


def test_windows_of_any_dimensions(rng: np.random.Generator) -> None:
    for dtype in ("f32", "u8"):
        quant = "<s=0x1.0p-3, z=7>" if dtype == "u8" else ""
        x, m, y = (f"{dtype}[1,2,{extents}]{quant}" for extents in ("7,9,8", "4,9,8", "4,9,4"))
        whole = pool("%x", "[3, 1, 5]", "[2, 1, 2]", "[1, 0, 1, 1, 0, 2]", "[1, 1, 1]")
        first = pool("%x", "[3, 1, 1]", "[2, 1, 1]", "[1, 0, 0, 1, 0, 0]", "[1, 1, 1]")
        second = pool("%m", "[1, 1, 5]", "[1, 1, 2]", "[0, 0, 1, 0, 0, 2]", "[1, 1, 1]")
        lines = f"%m = {first} : {m}", f"%y = {second} : {y}"
        assert_rewrites(PASS, function(x, y, f"%y = {whole} : {y}"), function(x, y, *lines), rng)


def test_means_of_what_counts(rng: np.random.Generator) -> None:
    x, m, y = (f"f32[1,2,{extents}]" for extents in ("9,8", "4,8", "4,4"))
    window = "strides={}, pads={}, dilations=[1, 1], kernel={}, count_include_pad=false, overhang={}"
    whole = window.format("[2, 2]", "[1, 1, 0, 1]", "[5, 3]", "[1, 0]")
    first = window.format("[2, 1]", "[1, 0, 0, 0]", "[5, 1]", "[1, 0]")
    second = window.format("[1, 2]", "[0, 1, 0, 1]", "[1, 3]", "[0, 0]")
    lines = (f"%m = average_pool(%x) {{{first}}} [on=cpu] : {m}", f"%y = average_pool(%m) {{{second}}} [on=cpu] : {y}")
    before = function(x, y, f"%y = average_pool(%x) {{{whole}}} [on=cpu] : {y}")
    assert_rewrites(PASS, before, function(x, y, *lines), rng)


def test_windows_of_few_taps_stay() -> None:
    x, y = (f"f32[1,16,{n},{n}]#c16" for n in (8, 6))
    window = "[1, 1]", "[0, 0, 0, 0]", "[1, 1]"
    assert_leaves_alone(PASS, function(x, y, f"%y = {pool('%x', '[3, 3]', *window)} : {y}"))
    assert_leaves_alone(PASS, function(x, x, f"%y = {pool('%x', '[1, 1]', *window)} : {x}"))
