"""Prove that no accumulator of a quantised product overflows, or name the channels that may."""

from tilewright.errors import PassError

from ...ir.accumulators import Product, accumulator_bounds, is_accumulating, overflowing_channels
from ...ir.core import Module
from ..base import UNPLANNED, Pass, Record

NAMED_CHANNELS = 8
"""How many channels a message names before it only counts them."""


class CheckAccumulatorOverflow(Pass):
    """Checks each convolution and product of quantised tensors, by its actual weights and biases.

    For each output channel, the sum of the magnitudes of the weights times the largest magnitude of an activation,
    plus that of the bias, must stay below 2**31; of activations of 16 bits, whose accumulators have 54, below 2**53.
    """

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        """Never changes the module.

        Raises:
            PassError: an accumulator may overflow; names op, node and channels.
        """
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
