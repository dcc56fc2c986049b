"""Networks that take and give integers, in textual form and by the reference."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import canonical, parse, run_pass

from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.passes.quantization.integer_interface import IntegerInterface

FLOATING = """
  func @main(%x: f32[1,5,4,3]) -> (%flat: f32[1,60], %z: f32[1,5,4,3]) {
    %flat = reshape(%x) {shape=[1,60]} : f32[1,60]
    %e = exp(%x) : f32[1,5,4,3]
    %z = add(%e, %x) : f32[1,5,4,3]
    return %flat, %z
  }
"""

QUANTIZED = """
  func @main(%x: f32[1,3,4,4]) -> (%y: f32[1,3,4,4]) {
    %q = quantize(%x) : i8[1,3,4,4]<s=0x1.0p-8, z=0>
    %r = tanh(%q) : i8[1,3,4,4]<s=0x1.0p-7, z=0>
    %y = dequantize(%r) : f32[1,3,4,4]
    return %y
  }
"""


def test_integers_of_the_same_scale_pass_unchanged() -> None:
    module = parse(QUANTIZED)
    assert run_pass(IntegerInterface(2.0**-8, (2.0**-7,)), module)[0].modified
    expected = """
      func @main(%x: i8[1,3,4,4]<s=0x1.0p-8, z=0>) -> (%y: i8[1,3,4,4]<s=0x1.0p-7, z=0>) {
        %r = tanh(%x) : i8[1,3,4,4]<s=0x1.0p-7, z=0>
        return %r
      }
    """
    assert canonical(module) == canonical(parse(expected))


def test_other_integers_are_requantised() -> None:
    module = parse(QUANTIZED)
    run_pass(IntegerInterface(2.0**-6, (0.25,)), module)
    expected = """
      func @main(%x: i8[1,3,4,4]<s=0x1.0p-6, z=0>) -> (%y: i8[1,3,4,4]<s=0x1.0p-2, z=0>) {
        %q = requantize(%x) : i8[1,3,4,4]<s=0x1.0p-8, z=0>
        %r = tanh(%q) : i8[1,3,4,4]<s=0x1.0p-7, z=0>
        %y = requantize(%r) : i8[1,3,4,4]<s=0x1.0p-2, z=0>
        return %y
      }
    """
    assert canonical(module) == canonical(parse(expected))


def test_images_become_planes_and_outputs_have_four_dimensions(rng: np.random.Generator) -> None:
    module, original = parse(FLOATING), parse(FLOATING)
    run_pass(IntegerInterface(2.0**-6, (2.0**-6, 0.125)), module)
    (x,), (flat, z) = module.main.parameters, module.main.results
    assert [str(each.type) for each in (x, flat, z)] == [
        "i8[1,3,5,4]<s=0x1.0p-6, z=0>",
        "i8[1,60,1,1]<s=0x1.0p-6, z=0>",
        "i8[1,5,4,3]<s=0x1.0p-3, z=0>",
    ]
    planes = rng.integers(-128, 128, (1, 3, 5, 4)).astype(np.int8)
    real = interp.run(original, {"x": planes.transpose(0, 2, 3, 1).astype(np.float32) / 64})
    found = interp.run(module, {"x": planes})
    assert np.array_equal(found["flat"], planes.transpose(0, 2, 3, 1).reshape(1, 60, 1, 1))
    assert np.array_equal(found["z"], np.clip(np.rint(real["z"] / 0.125), -128, 127))


def test_scales_of_another_network() -> None:
    message = "expected one for each of 1 inputs and 2 outputs, found one and 1"
    with pytest.raises(PassError, match=message):
        run_pass(IntegerInterface(1.0, (1.0,)), parse(FLOATING))
