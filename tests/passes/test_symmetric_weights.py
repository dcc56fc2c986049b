"""Weights around another zero point get the zero point 0, exactly where they fit and with the same sum where not."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites

from tilewright.ir.core import Constant
from tilewright.ir.text.parser import parse_module
from tilewright.passes.base import Record
from tilewright.passes.quantization.symmetric_weights import SymmetricWeights

CONV = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'


def network(weights: str, bias: str = "[70, -9]") -> str:
    """A convolution of three channels to two."""
    return f"""
  const @w : i8[2,3,1,1]{weights}
  const @b : i32[2] = {bias}
  func @main(%x: i8[1,3,2,2]<s=0x1.0p-4, z=5>) -> (%y: i8[1,2,2,2]<s=0x1.0p-3, z=1>) {{
    %y = conv(%x, @w, @b) {{{CONV}}} : i8[1,2,2,2]<s=0x1.0p-3, z=1>
    return %y
  }}"""


def test_weights_that_fit_keep_their_numbers(rng: np.random.Generator) -> None:
    before = network("<s=0x1.0p-6, z=-7> = [120, 5, -7, -128, 0, 1]")
    after = network("<axis=0, s=[0x1.0p-6, 0x1.0p-6], z=[0, 0]> = [127, 12, 0, -121, 7, 8]")
    assert_rewrites("symmetric_weights", before, after.replace("@w ", "@w_1 ").replace("@w,", "@w_1,"), rng)


def test_symmetric_weights_stay() -> None:
    assert_leaves_alone("symmetric_weights", network("<s=0x1.0p-6, z=0> = [120, 5, -7, -128, 0, 1]"))


@pytest.mark.parametrize("rounds", [True, False])
def test_channels_that_do_not_fit_are_rounded_where_that_is_wanted(rounds: bool) -> None:
    text = network("<s=0x1.0p-6, z=-100> = [127, 27, 28, 20, 0, 1]")
    module = parse_module(f"module @m {{{text}\n}}")
    assert SymmetricWeights(rounds=rounds).apply(module, Record("symmetric_weights")) == rounds
    (op,) = module.ops
    _, w, b = op.operands[:3]
    assert isinstance(w, Constant)
    assert isinstance(b, Constant)
    if not rounds:
        assert w.array.ravel().tolist() == [127, 27, 28, 20, 0, 1]
        return
    # The first channel is 227, 127 and 128 times the scale, 227 / 127 times as coarse now: 127, 71.05 and 71.61, whose
    # sum is 269.66.
    assert w.array.reshape(2, 3).tolist() == [[127, 71, 72], [120, 100, 101]]
    assert w.type.quant is not None
    assert w.type.quant.zero_point == (0, 0)
    np.testing.assert_allclose(w.type.quant.scale, [227 / 127 / 64, 1 / 64])
    assert b.array.tolist() == [39, -9]


def test_the_sum_of_a_rounded_channel_is_kept() -> None:
    text = network("<s=0x1.0p-6, z=-127> = [127, -6, -4, 0, 0, 0]")
    module = parse_module(f"module @m {{{text}\n}}")
    assert SymmetricWeights().apply(module, Record("symmetric_weights"))
    (w,) = (each for each in module.constants.values() if each.base == "w")
    # 254, 121 and 123, by halves: 127, 60.5 and 61.5, whose sum is 249 and would be 247 or 251 rounded one by one.
    assert int(w.array.reshape(2, 3)[0].sum()) == 249
