"""Output channels that cannot be told from a constant, whose accumulators may overflow for nothing."""

import numpy as np

from ...ir.accumulators import accumulator_bounds, channel_axis, overflowing_channels
from ...ir.core import Constant, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.quantized import accumulator_factors
from ..pattern import Match, Rule, node, on_quantized


def _settle_channels(found: Match[Conv | MatMul]) -> Value | None:
    """Weights and bias of channels that may overflow are cleared where the result is the same whatever the input.

    Training leaves dead channels with scales so small that any accumulator is requantised to the same integer, and
    with a bias that fills 32 bits.
    """
    op = found.root
    x, w, b, residual = op.operands
    # The least that is added to a residual may decide how that is rounded.
    if op.result.type.quant is None or residual is not None:
        return None
    if not isinstance(w, Constant) or not isinstance(b, Constant):
        return None
    channels = overflowing_channels(op)
    y = op.result.type
    factors = np.broadcast_to(accumulator_factors(x.type, w.type, y), b.array.shape)
    reach = accumulator_bounds(op)[channels].astype(np.float64) * factors[channels].astype(np.float64)
    # What is below a quarter of a step rounds to nothing, in whatever way its factors were rounded.
    settled = channels[reach < 0.25]
    if not settled.size:
        return None
    assert w.type.quant is not None
    axis = channel_axis(op)
    zeros = np.broadcast_to(w.type.quant.broadcast(w.type.rank)[1], w.array.shape)
    weights, bias = np.moveaxis(w.array.copy(), axis, 0), b.array.copy()
    weights[settled] = np.moveaxis(zeros, axis, 0)[settled]
    bias[settled] = 0
    new_w = found.add_constant(w.name, np.moveaxis(weights, 0, axis), w.type)
    new_b = found.add_constant(b.name, bias, b.type)
    return found.emit(op.operator, x, new_w, new_b, result_types=[y])


RULES = on_quantized(Rule("settled_channels", node((Conv, MatMul)), _settle_channels))
"""Channels that cannot be told from a constant."""
