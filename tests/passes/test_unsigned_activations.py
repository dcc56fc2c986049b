"""Signed activations become unsigned and mean the same; what others see as integers stays."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites

from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import print_module
from tilewright.passes.cpu.unsigned_activations import UnsignedActivations
from tilewright.passes.pipeline import Pipeline

PASS = "unsigned_activations"
CONV = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'
WEIGHTS = "const @w : i8[2,2,1,1]<s=0x1.0p-5, z=0> = [5, -3, 127, -128]"


def network(dtype: str, zero: int, constant: str) -> str:
    """A convolution of activations of a type, and a maximum with a constant."""
    shift = {"u8": 128, "u16": 32768}.get(dtype, 0)
    x, y = (f"{dtype}[1,2,2,2]<s=0x1.0p-{scale}, z={zero + shift}>" for scale in (4, 3))
    return f"""
  {WEIGHTS}
  const @k : {dtype}[1,2,1,1]<s=0x1.0p-3, z={zero + shift}> = {constant}
  func @main(%x: f32[1,2,2,2]) -> (%y: f32[1,2,2,2]) {{
    %q = quantize(%x) : {x}
    %c = conv(%q, @w, _) {{{CONV}}} : {y}
    %m = max(%c, @k) : {y}
    %y = dequantize(%m) : f32[1,2,2,2]
    return %y
  }}"""


def test_activations_move_with_the_constants_beside_them(rng: np.random.Generator) -> None:
    assert_rewrites(PASS, network("i8", -7, "[-128, 20]"), network("u8", -7, "[0, 148]"), rng)


def test_words_become_signed(rng: np.random.Generator) -> None:
    assert_rewrites(PASS, network("u16", -7, "[0, 65535]"), network("i16", -7, "[-32768, 32767]"), rng)
    assert_leaves_alone(PASS, network("i16", -7, "[-32768, 32767]"))


@pytest.mark.parametrize("signed", [False, True])
def test_words_of_files_for_other_tools_stay(signed: bool) -> None:
    module = parse_module(f"module @m {{{network('u16', -7, '[0, 65535]')}}}")
    text = print_module(module)
    Pipeline((UnsignedActivations(signed=signed, exact=False),), "export").run(module)
    assert print_module(module) == text


def test_what_adds_the_zero_point_before_it_rounds_keeps_its_type(rng: np.random.Generator) -> None:
    signed, unsigned = (f"[1,2,4,4]<s=0x1.eb851ep-6, z={zero}>" for zero in (13, 141))
    window = "strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], kernel=[1, 1]"
    pool = f"average_pool(%m) {{{window}, count_include_pad=false, overhang=[0, 0]}}"

    def lines(*ops: str) -> str:
        body = "\n    ".join(ops)
        return f"""
  func @main(%x: f32[1,2,4,4]) -> (%y: f32[1,2,4,4]) {{
    {body}
    %y = dequantize(%r) : f32[1,2,4,4]
    return %y
  }}"""

    before = (
        f"%q = quantize(%x) : i8{signed}",
        f"%m = mul(%q, %q) : i8{signed}",
        f"%a = {pool} : i8{signed}",
        f"%r = relu(%a) : i8{signed}",
    )
    after = (
        f"%q = quantize(%x) : u8{unsigned}",
        f"%q.1 = requantize(%q) : i8{signed}",
        f"%q.2 = requantize(%q) : i8{signed}",
        f"%m = mul(%q.1, %q.2) : i8{signed}",
        f"%a = {pool} : i8{signed}",
        f"%a.1 = requantize(%a) : u8{unsigned}",
        f"%r = relu(%a.1) : u8{unsigned}",
    )
    assert_rewrites(PASS, lines(*before), lines(*after), rng)


def test_words_that_callers_see_are_converted(rng: np.random.Generator) -> None:
    before, after = (f"{dtype}[4]<s=0x1.0p-3, z={zero}>" for dtype, zero in (("u16", 7), ("i16", -32761)))

    def function(*lines: str) -> str:
        body = "\n    ".join(lines)
        return f"""
  func @main(%x: {before}) -> (%y: {before}, %d: f32[4]) {{
    {body}
    return %y, %d
  }}"""

    real = "%d = dequantize(%x) : f32[4]"
    moved = f"%x.1 = requantize(%x) : {after}", f"%m = max(%x.1, %x.1) : {after}", real
    end = f"%y = requantize(%m) : {before}"
    assert_rewrites(PASS, function(f"%y = max(%x, %x) : {before}", real), function(*moved, end), rng)


def test_unsigned_activations_stay() -> None:
    assert_leaves_alone(PASS, network("u8", 3, "[0, 148]"))


def test_loops_and_branches_see_no_integers(rng: np.random.Generator) -> None:
    """A recurrent layer, exported, is one: its network had signed bytes, which runtimes and kernels compute slowest."""

    def text(dtype: str, zero: int, constant: str) -> str:
        bodies = """
  func @twice(%v: f32[1,2,2,2]) -> (%r: f32[1,2,2,2]) {
    %r = add(%v, %v) : f32[1,2,2,2]
    return %r
  }
  func @same(%v: f32[1,2,2,2]) -> (%r: f32[1,2,2,2]) {
    %r = neg(%v) : f32[1,2,2,2]
    return %r
  }"""
        branch = """%d = dequantize(%m) : f32[1,2,2,2]
    %y = if(%b, %d) {then="twice", otherwise="same"} : f32[1,2,2,2]"""
        main = network(dtype, zero, constant).replace("%y = dequantize(%m) : f32[1,2,2,2]", branch)
        return main.replace("(%x: f32[1,2,2,2])", "(%b: bool[], %x: f32[1,2,2,2])") + bodies

    assert_rewrites(PASS, text("i8", -7, "[-128, 20]"), text("u8", -7, "[0, 148]"), rng)


def test_integers_that_callers_see_stay() -> None:
    assert_leaves_alone(
        PASS,
        """
  func @main(%x: i8[4]<s=0x1.0p-3, z=1>) -> (%y: i8[4]<s=0x1.0p-2, z=1>) {
    %y = relu(%x) : i8[4]<s=0x1.0p-2, z=1>
    return %y
  }""",
    )


def test_stored_integers_that_the_network_looks_at_stay() -> None:
    assert_leaves_alone(
        PASS,
        """
  func @main(%x: f32[4]) -> (%y: i8[4]) {
    %q = quantize(%x) : i8[4]<s=0x1.0p-2, z=1>
    %y = storage_cast(%q) : i8[4]
    return %y
  }""",
    )
