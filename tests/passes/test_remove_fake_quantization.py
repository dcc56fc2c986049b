"""The meaning of quantised networks in real numbers."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, canonical, parse, run_pass

from tilewright.ir import interp

PAIR = """
  const @s : f32[] = [0x1.0p-4]
  const @z : u8[] = [16]
  func @main(%x: f32[2,3]) -> (%y: f32[2,3]) {
    %q = quantize_linear(%x, @s, @z) {to=u8, axis=none} : u8[2,3]
    %y = dequantize_linear(%q, @s, @z) {axis=none} : f32[2,3]
    return %y
  }
"""

CLIPPED = """
  func @main(%x: f32[2,3]) -> (%y: f32[2,3]) {
    %y = clip(%x) {min=-0x1.0p0, max=0x1.dep3} : f32[2,3]
    return %y
  }
"""


def rewrites_to(before: str, after: str) -> None:
    """Not `assert_rewrites`: the values change, by the rounding."""
    module = parse(before)
    run_pass("remove_fake_quantization", module)
    assert canonical(module) == canonical(parse(after))
    assert not run_pass("remove_fake_quantization", module)[0].modified


def test_a_pair_becomes_the_range_of_its_integers() -> None:
    rewrites_to(PAIR, CLIPPED)


def test_what_remains_differs_by_the_rounding_alone(rng: np.random.Generator) -> None:
    x = rng.uniform(-3, 20, (2, 3)).astype(np.float32)
    module = parse(PAIR)
    expected = interp.run(module, {"x": x})["y"]
    run_pass("remove_fake_quantization", module)
    found = interp.run(module, {"x": x})["y"]
    assert np.abs(found - expected).max() <= 2.0**-5
    assert np.abs(found - expected).max() > 0


def test_bounds_are_representable_numbers(rng: np.random.Generator) -> None:
    """On multiples of the scale, far outside the range too, nothing changes at all."""
    x = (rng.integers(-400, 400, (2, 3)) / 16).astype(np.float32)
    module = parse(PAIR)
    expected = interp.run(module, {"x": x})["y"]
    run_pass("remove_fake_quantization", module)
    np.testing.assert_array_equal(interp.run(module, {"x": x})["y"], expected)


def test_one_quantisation_read_twice_and_returned() -> None:
    rewrites_to(
        """
        const @s : f32[] = [0x1.0p0]
        func @main(%x: f32[2]) -> (%y: f32[2], %q: i8[2]) {
          %q = quantize_linear(%x, @s) {to=i8, axis=none} : i8[2]
          %a = dequantize_linear(%q, @s) {axis=none} : f32[2]
          %b = dequantize_linear(%q, @s) {axis=none} : f32[2]
          %y = add(%a, %b) : f32[2]
          return %y, %q
        }
        """,
        """
        const @s : f32[] = [0x1.0p0]
        func @main(%x: f32[2]) -> (%y: f32[2], %q: i8[2]) {
          %q = quantize_linear(%x, @s) {to=i8, axis=none} : i8[2]
          %a = clip(%x) {min=-0x1.0p7, max=0x1.fcp6} : f32[2]
          %b = clip(%x) {min=-0x1.0p7, max=0x1.fcp6} : f32[2]
          %y = add(%a, %b) : f32[2]
          return %y, %q
        }
        """,
    )


def test_parameters_along_a_dimension_give_bounds_along_it() -> None:
    rewrites_to(
        """
        const @s : f32[2] = [0x1.0p0, 0x1.0p1]
        const @z : i8[2] = [0, 8]
        func @main(%x: f32[3,2,5]) -> (%y: f32[3,2,5]) {
          %q = quantize_linear(%x, @s, @z) {to=i8, axis=1} : i8[3,2,5]
          %y = dequantize_linear(%q, @s, @z) {axis=1} : f32[3,2,5]
          return %y
        }
        """,
        """
        const @low : f32[2,1] = [-0x1.0p7, -0x1.1p8]
        const @high : f32[2,1] = [0x1.fcp6, 0x1.dcp7]
        func @main(%x: f32[3,2,5]) -> (%y: f32[3,2,5]) {
          %a = max(%x, @low) : f32[3,2,5]
          %y = min(%a, @high) : f32[3,2,5]
          return %y
        }
        """,
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            """
            const @s : f32[] = [0x1.0p-4]
            const @t : f32[] = [0x1.0p-3]
            func @main(%x: f32[2]) -> (%y: f32[2]) {
              %q = quantize_linear(%x, @s) {to=i8, axis=none} : i8[2]
              %y = dequantize_linear(%q, @t) {axis=none} : f32[2]
              return %y
            }
            """,
            id="other parameters: it rescales too",
        ),
        pytest.param(
            """
            func @main(%x: f32[2], %s: f32[]) -> (%y: f32[2]) {
              %q = quantize_linear(%x, %s) {to=i8, axis=none} : i8[2]
              %y = dequantize_linear(%q, %s) {axis=none} : f32[2]
              return %y
            }
            """,
            id="parameters that are computed: the range is not known",
        ),
        pytest.param(
            """
            const @w : f32[2] = [0x1.8p-5, 0x1.0p0]
            const @s : f32[] = [0x1.0p-4]
            func @main() -> (%y: f32[2]) {
              %q = quantize_linear(@w, @s) {to=i8, axis=none} : i8[2]
              %y = dequantize_linear(%q, @s) {axis=none} : f32[2]
              return %y
            }
            """,
            id="a weight: its rounding is part of it",
        ),
    ],
)
def test_leaves_alone(body: str) -> None:
    assert_leaves_alone("remove_fake_quantization", body)


def test_weights_fold_to_their_rounded_values(rng: np.random.Generator) -> None:
    assert_rewrites(
        "fold_constants",
        """
        const @w : f32[2] = [0x1.2p-4, 0x1.0p0]
        const @s : f32[] = [0x1.0p-4]
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %q = quantize_linear(@w, @s) {to=i8, axis=none} : i8[2]
          %d = dequantize_linear(%q, @s) {axis=none} : f32[2]
          %y = mul(%x, %d) : f32[2]
          return %y
        }
        """,
        """
        const @d : f32[2] = [0x1.0p-4, 0x1.0p0]
        func @main(%x: f32[2]) -> (%y: f32[2]) {
          %y = mul(%x, @d) : f32[2]
          return %y
        }
        """,
        rng,
    )


@pytest.mark.parametrize("scale", ["0x0.0p0", "-0x1.0p-4", "nan", "inf"])
def test_a_scale_that_means_nothing_is_left_to_the_run(scale: str) -> None:
    """The importer refuses those that it sees; others become known while passes compute constants."""
    assert_leaves_alone("remove_fake_quantization", PAIR.replace("0x1.0p-4", scale))
