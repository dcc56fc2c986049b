"""Prove that no accumulator of a quantised product overflows, or name the channels that may.

Those that cannot be told from a constant are settled.
"""

import numpy as np

from tilewright.errors import PassError

from ...ir.accumulators import Product, accumulator_bounds, channel_axis, is_accumulating, overflowing_channels
from ...ir.core import Constant, Module, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.quantized import accumulator_factors
from ..base import UNPLANNED, Pass, Record
from ..pattern import Match, Rule, node, on_quantized

NAMED_CHANNELS = 8
"""How many channels a message names before it only counts them."""


class CheckAccumulatorOverflow(Pass):
    """Checks each convolution and product of quantised tensors, by its actual weights and biases.

    For each output channel, the sum of the magnitudes of the weights times the largest magnitude of an activation,
    plus that of the bias, must stay below 2**31; of activations of 16 bits, whose accumulators have 54, below 2**53."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        """Never changes the module. Raises PassError: an accumulator may overflow; names op, node and channels."""
        for op in module.ops:
            if not is_accumulating(op):
                continue
            channels = overflowing_channels(op)
            if channels.size:
                raise _overflow(op, [int(c) for c in channels])
            record.counts["proved"] += 1
        return False


def _overflow(op: Product, channels: list[int]) -> PassError:
    named = ", ".join(map(str, channels[:NAMED_CHANNELS]))
    more = f" and {len(channels) - NAMED_CHANNELS} more" if len(channels) > NAMED_CHANNELS else ""
    bounds = accumulator_bounds(op)
    return PassError(
        "an int32 accumulator may overflow",
        op=op.name,
        node=op.node,
        expected="sum of |weight| * max|x| + |bias| below 2**31",
        found=f"{int(bounds[channels].max())} in output channel{'s' if len(channels) > 1 else ''} {named}{more}",
        hint="Leave the node in floating point, or make its weights or bias smaller.",
    )


def _settle_channels(found: Match[Conv | MatMul]) -> Value | None:
    """Weights and bias of channels that may overflow are cleared where the result is the same whatever the input.

    Training leaves dead channels with scales so small that any accumulator is requantised to the same integer, and
    with a bias that fills 32 bits."""
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


SETTLED = on_quantized(Rule("settled_channels", node((Conv, MatMul)), _settle_channels))
"""Channels that cannot be told from a constant."""
