"""Elimination of dead code and of common subexpressions."""

from __future__ import annotations

import numpy as np
from before_after import assert_leaves_alone, assert_rewrites, parse, run_pass


def test_dead_ops_functions_and_constants_go(rng: np.random.Generator) -> None:
    assert_rewrites(
        "eliminate_dead_code",
        """
        const @k : f32[2] = [0x1.0p0, 0x1.0p1]
        func @other(%x: f32[2]) -> (%y: f32[2]) {
          %y = add(%x, @k) : f32[2]
          return %y
        }
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %a = neg(%x) : f32[2]
          %b = add(%a, @k) : f32[2]
          %y = neg(%x) : f32[2]
          %c = add(%b, %y) : f32[2]
          return %y
        }
        """,
        """
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %y = neg(%x) : f32[2]
          return %y
        }
        """,
        rng,
    )


def test_live_code_stays() -> None:
    assert_leaves_alone(
        "eliminate_dead_code",
        """
        func @main(%x: f32[4]) -> (%b: f32[2]) {
          %a, %b = split(%x) {axis=0, sizes=[2,2]} : f32[2], f32[2]
          return %b
        }
        """,
    )


def test_functions_that_nobody_calls_go() -> None:
    module = parse("""
      func @other(%x: f32[2]) -> (%x: f32[2]) {
        return %x
      }
      func @main(%x: f32[2]) -> (%x: f32[2]) {
        return %x
      }
    """)
    assert run_pass("eliminate_dead_code", module)[0].counts == {"function": 1}


def test_equal_ops_and_constants_become_one(rng: np.random.Generator) -> None:
    assert_rewrites(
        "eliminate_common_subexpressions",
        """
        const @k : f32[2] = [0x1.0p0, 0x1.0p1]
        const @l : f32[2] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f32[2]) -> (%y: f32[2], %z: f32[2]) {
          %a = add(%x, @k) : f32[2] loc("first")
          %b = add(%x, @l) : f32[2] loc("second")
          %c = neg(%a) : f32[2]
          %d = neg(%b) : f32[2]
          %y = add(%c, %d) : f32[2]
          return %y, %d
        }
        """,
        """
        const @k : f32[2] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f32[2]) -> (%y: f32[2], %z: f32[2]) {
          %a = add(%x, @k) : f32[2] loc("first", "second")
          %c = neg(%a) : f32[2]
          %y = add(%c, %c) : f32[2]
          return %y, %c
        }
        """,
        rng,
    )


def test_different_attributes_types_and_annotations_stay_apart() -> None:
    assert_leaves_alone(
        "eliminate_common_subexpressions",
        """
        const @k : f32[1] = [0x0.0p0]
        const @l : f32[1] = [-0x0.0p0]
        const @m : f32[] = [0x0.0p0]
        func @main(%x: f32[6]) -> (%a: f32[2,3], %b: f32[3,2], %c: f32[6], %d: f32[6], %e: f32[6], %f: f32[6]) {
          %a = reshape(%x) {shape=[2,3]} : f32[2,3]
          %b = reshape(%x) {shape=[3,2]} : f32[3,2]
          %c = add(%x, @k) [on=cpu] : f32[6]
          %d = add(%x, @k) [on=device] : f32[6]
          %e = add(%x, @l) : f32[6]
          %f = add(%x, @m) : f32[6]
          return %a, %b, %c, %d, %e, %f
        }
        """,
    )
