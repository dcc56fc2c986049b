"""Arithmetic on channels becomes depthwise convolution."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites

PASS = "depthwise_affine"
CONV = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=2, act="none", act_args=[]'
CONSTANTS = """
  const @c : f32[2,1,1] = [0x1.0p+1, -0x1.8p+0]
  const @d : f32[1,2,1,1] = [0x1.0p-1, 0x1.0p+2]"""


def network(*lines: str) -> str:
    body = "\n    ".join(lines)
    return f"""{CONSTANTS}
  func @main(%x: f32[1,2,3,3]) -> (%y: f32[1,2,3,3]) {{
    {body}
    return %y
  }}"""


@pytest.mark.parametrize(
    ("lines", "scale", "shift"),
    [
        (("%m = mul(%x, @c) : f32[1,2,3,3]", "%y = add(%m, @d) : f32[1,2,3,3]"), "2,-1.5", "0.5,4"),
        (("%m = mul(@c, %x) : f32[1,2,3,3]", "%y = sub(%m, @d) : f32[1,2,3,3]"), "2,-1.5", "-0.5,-4"),
        (("%y = mul(%x, @c) : f32[1,2,3,3]",), "2,-1.5", ""),
        (("%y = sub(%x, @d) : f32[1,2,3,3]",), "1,1", "-0.5,-4"),
        # A normalisation and a scale, as some files have them, are one.
        (
            (
                "%m = mul(%x, @c) : f32[1,2,3,3]",
                "%a = add(%m, @d) : f32[1,2,3,3]",
                "%n = mul(%a, @c) : f32[1,2,3,3]",
                "%y = add(%n, @d) : f32[1,2,3,3]",
            ),
            "4,2.25",
            "1.5,-2",
        ),
    ],
)
def test_becomes_a_convolution(lines: tuple[str, ...], scale: str, shift: str, rng: np.random.Generator) -> None:
    def literals(text: str) -> str:
        return ", ".join(float(n).hex() for n in text.split(","))

    shifts = f"const @b : f32[2] = [{literals(shift)}]" if shift else ""
    after = f"""
  const @w : f32[2,1,1,1] = [{literals(scale)}]
  {shifts}
  func @main(%x: f32[1,2,3,3]) -> (%y: f32[1,2,3,3]) {{
    %y = conv(%x, @w, {"@b" if shift else "_"}) {{{CONV}}} : f32[1,2,3,3]
    return %y
  }}"""
    assert_rewrites(PASS, network(*lines), after, rng)


def test_other_constants_are_left_alone() -> None:
    assert_leaves_alone(
        PASS,
        """
  const @c : f32[3] = [0x1.0p+1, -0x1.8p+0, 0x1.0p+0]
  const @one : f32[] = [0x1.0p+1]
  func @main(%x: f32[1,2,3,3]) -> (%y: f32[1,2,3,3]) {
    %m = mul(%x, @c) : f32[1,2,3,3]
    %y = add(%m, @one) : f32[1,2,3,3]
    return %y
  }""",
    )
