"""Folding of constants."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, parse, run_pass
from grouped_tests import grouped
from operator_samples import Case, all_cases, operator_of

from tilewright.errors import TilewrightError
from tilewright.ir import interp
from tilewright.passes.simplify.fold_constants import FoldConstants


def test_folds_chains_and_drops_what_is_dead(rng: np.random.Generator) -> None:
    assert_rewrites(
        "fold_constants",
        """
        const @a : f32[2] = [0x1.0p0, 0x1.0p1]
        const @b : f32[1] = [0x1.8p1]
        const @unused : f32[1] = [0x1.8p1]
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %s = add(@a, @b) : f32[2]
          %t = neg(%s) : f32[2]
          %dead = mul(%x, %t) : f32[2]
          %more = neg(%dead) : f32[2]
          %y = mul(%x, %t) : f32[2]
          return %y
        }
        """,
        """
        const @t : f32[2] = [-0x1.0p2, -0x1.4p2]
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %y = mul(%x, @t) : f32[2]
          return %y
        }
        """,
        rng,
    )


def test_a_returned_constant_folds(rng: np.random.Generator) -> None:
    assert_rewrites(
        "fold_constants",
        """
        const @a : f32[2] = [0x1.0p0, 0x1.0p1]
        func @main() -> (%y: f32[2]) {
          %y = neg(@a) : f32[2]
          return %y
        }
        """,
        """
        const @a : f32[2] = [-0x1.0p0, -0x1.0p1]
        func @main() -> (%y: f32[2]) {
          return @a
        }
        """,
        rng,
    )


EXPANDED = """
  const @a : f32[1] = [0x1.0p0]
  func @main(%x: f32[64]) -> (%y: f32[64]) {
    %e = expand(@a) {shape=[64]} : f32[64]
    %y = add(%x, %e) : f32[64]
    return %y
  }
"""


def test_keeps_what_would_grow_too_large() -> None:
    assert_leaves_alone("fold_constants{max_bytes=255, max_expanded=255}", EXPANDED)
    assert run_pass("fold_constants{max_bytes=255, max_expanded=256}", parse(EXPANDED))[0].counts["expand"] == 1


def test_keeps_operators_by_name() -> None:
    assert_leaves_alone("fold_constants{keep=[expand]}", EXPANDED)


def test_bodies_read_the_constants_that_they_are_given(rng: np.random.Generator) -> None:
    """And are folded with them, but for the states, which steps change."""
    assert_rewrites(
        "fold_constants",
        """
        const @a : f32[2] = [0x1.0p0, 0x1.0p1]
        const @steps : i64[] = [3]
        const @true : bool[] = [true]
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %s = neg(@a) : f32[2]
          %y, %count = loop(@steps, @true, @a, %s, %x) {body="body", states=1} : f32[2], i64[]
          return %y
        }
        func @body(%step: i64[], %state: f32[2], %s: f32[2], %x: f32[2]) -> (%true: bool[], %y: f32[2]) {
          %t = neg(%s) : f32[2]
          %u = mul(%state, %t) : f32[2]
          %y = add(%u, %x) : f32[2]
          return @true, %y
        }
        """,
        """
        const @a : f32[2] = [0x1.0p0, 0x1.0p1]
        const @steps : i64[] = [3]
        const @true : bool[] = [true]
        const @t : f32[2] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %y, %count = loop(@steps, @true, @a, %x) {body="body", states=1} : f32[2], i64[]
          return %y
        }
        func @body(%step: i64[], %state: f32[2], %x: f32[2]) -> (%true: bool[], %y: f32[2]) {
          %u = mul(%state, @t) : f32[2]
          %y = add(%u, %x) : f32[2]
          return @true, %y
        }
        """,
        rng,
    )


def test_bodies_read_several_constants_each_where_it_was_given(rng: np.random.Generator) -> None:
    constants = """
        const @a : f32[2] = [0x1.0p0, 0x1.0p1]
        const @b : f32[2] = [0x1.8p1, 0x1.4p2]
        const @c : f32[2] = [0x1.4p2, 0x1.8p2]
        const @steps : i64[] = [3]
        const @true : bool[] = [true]"""
    computed = """
          %t = sub({a}, %x) : f32[2]
          %u = div(%t, {b}) : f32[2]
          %v = sub(%u, %z) : f32[2]"""
    assert_rewrites(
        "fold_constants",
        f"""{constants}
        func @main(%x: f32[2], %z: f32[2], %which: bool[]) -> (%y: f32[2], %w: f32[2]) {{
          %y, %count = loop(@steps, @true, %x, @a, %x, @b, %z, @c) {{body="body", states=1}} : f32[2], i64[]
          %w = if(%which, @a, %x, @b, %z, @c) {{then="then", otherwise="else"}} : f32[2]
          return %y, %w
        }}
        func @body(%step: i64[], %state: f32[2], %a: f32[2], %x: f32[2], %b: f32[2], %z: f32[2], %c: f32[2])
          -> (%true: bool[], %y: f32[2]) {{{computed.format(a="%a", b="%b")}
          %w = sub(%v, %c) : f32[2]
          %y = sub(%w, %state) : f32[2]
          return @true, %y
        }}
        func @then(%a: f32[2], %x: f32[2], %b: f32[2], %z: f32[2], %c: f32[2])
          -> (%y: f32[2]) {{{computed.format(a="%a", b="%b")}
          %y = div(%v, %c) : f32[2]
          return %y
        }}
        func @else(%a: f32[2], %x: f32[2], %b: f32[2], %z: f32[2], %c: f32[2]) -> (%y: f32[2]) {{
          %y = sub(%z, %b) : f32[2]
          return %y
        }}
        """,
        f"""{constants}
        func @main(%x: f32[2], %z: f32[2], %which: bool[]) -> (%y: f32[2], %w: f32[2]) {{
          %y, %count = loop(@steps, @true, %x, %x, %z) {{body="body", states=1}} : f32[2], i64[]
          %w = if(%which, %x, %z) {{then="then", otherwise="else"}} : f32[2]
          return %y, %w
        }}
        func @body(%step: i64[], %state: f32[2], %x: f32[2], %z: f32[2])
          -> (%true: bool[], %y: f32[2]) {{{computed.format(a="@a", b="@b")}
          %w = sub(%v, @c) : f32[2]
          %y = sub(%w, %state) : f32[2]
          return @true, %y
        }}
        func @then(%x: f32[2], %z: f32[2]) -> (%y: f32[2]) {{{computed.format(a="@a", b="@b")}
          %y = div(%v, @c) : f32[2]
          return %y
        }}
        func @else(%x: f32[2], %z: f32[2]) -> (%y: f32[2]) {{
          %y = sub(%z, @b) : f32[2]
          return %y
        }}
        """,
        rng,
    )


@grouped(all_cases(), operator_of)
def test_every_operator_folds_to_what_the_interpreter_computes(case: Case) -> None:
    try:
        expected = interp.run(case.module, case.inputs)
    except TilewrightError:
        pytest.skip("the sample fails by design")
    function = case.module.main
    for parameter in list(function.parameters):
        array = case.inputs[parameter.name]
        parameter.replace_all_uses(case.module.add_constant(f"input_{parameter.name}", array, parameter.type))
        function.parameters.remove(parameter)
    FoldConstants().run(case.module)
    assert len(function) == 0
    for name, array in interp.run(case.module, {}).items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype
