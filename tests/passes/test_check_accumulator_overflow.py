"""The proof that no accumulator overflows: tight, and with the channels named where it fails."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import parse, run_pass

from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.accumulators import (
    Product,
    accumulator_bounds,
    is_accumulating,
    overflowing_channels,
)
from tilewright.ir.core import Module

CONV = 'strides=[1], pads=[0, 0], dilations=[1], group=1, act="none", act_args=[]'


def network(weights: str, bias: str, zero_point: int = 0, w_zero: int = 0) -> str:
    return f"""
  const @w : i8[3,2,1]<s=0x1.0p-5, z={w_zero}> = {weights}
  const @b : i32[3] = {bias}
  func @main(%x: i8[1,2,4]<s=0x1.0p-4, z={zero_point}>) -> (%y: i8[1,3,4]<s=0x1.0p-3, z=0>) {{
    %y = conv(%x, @w, @b) {{{CONV}}} : i8[1,3,4]<s=0x1.0p-3, z=0> loc("the_node")
    return %y
  }}"""


def only_op(module: Module) -> Product:
    (op,) = module.ops
    assert is_accumulating(op)
    return op


def test_bound_is_that_of_the_worst_input() -> None:
    module = parse(network("[1, -2, 3, 4, 127, -127]", "[0, -5, 7]"))
    op = only_op(module)
    assert accumulator_bounds(op).tolist() == [3 * 128, 7 * 128 + 5, 254 * 128 + 7]
    assert run_pass("check_accumulator_overflow", module)[0].counts["proved"] == 1


def test_zero_points_widen_the_bound() -> None:
    op = only_op(parse(network("[1, 1, 1, 1, 1, 1]", "[0, 0, 0]", zero_point=-128, w_zero=-1)))
    # Two weights of 2, and activations that are up to 255 above their zero point.
    assert accumulator_bounds(op).tolist() == [4 * 256] * 3


def test_no_accumulator_of_random_inputs_passes_the_bound(rng: np.random.Generator) -> None:
    weights = rng.integers(-128, 128, 6)
    bias = rng.integers(-(2**20), 2**20, 3)
    module = parse(network(str(weights.tolist()), str(bias.tolist()), zero_point=-77, w_zero=5))
    op = only_op(module)
    x = rng.integers(-128, 128, (2, 2000))
    totals = (weights.reshape(3, 2) - 5) @ (x + 77) + bias[:, np.newaxis]
    assert (np.abs(totals).max(1) <= accumulator_bounds(op)).all()


def test_overflow_names_op_node_and_channels() -> None:
    module = parse(network("[1, -2, 3, 4, 127, -127]", "[0, 2147483000, -2147483647]"))
    op = only_op(module)
    assert overflowing_channels(op).tolist() == [1, 2]
    message = (
        r"check_accumulator_overflow: conv: node 'the_node': an int32 accumulator may overflow; "
        r"expected sum of \|weight\| \* max\|x\| \+ \|bias\| below 2\*\*31, "
        r"found 2147516159 in output channels 1, 2\. Leave the node in floating point"
    )
    with pytest.raises(PassError, match=message):
        run_pass("check_accumulator_overflow", module)


def test_the_reference_refuses_what_the_proof_refuses() -> None:
    module = parse(network("[1, -2, 3, 4, 127, -127]", "[0, 0, -2147483647]"))
    x = np.array([[[-128] * 4, [127] * 4]], np.int8)
    with pytest.raises(Exception, match="an accumulator does not fit 32 bits"):
        interp.run(module, {"x": x})
