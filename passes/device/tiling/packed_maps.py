"""Which feature maps lie without padding between their pixels."""

from __future__ import annotations

from ....ir.core import Op, Value
from ....ir.feature_map import map_shape
from ....ir.ops.convolution import Conv
from ....runtime.machines.machine import CHANNEL_BLOCK


def is_packed(value: Value) -> bool:
    """Whether a parameter of few channels is kept without padding, for convolutions that read it row by row."""

    def reads_rows(op: Op) -> bool:
        conv = op.operator
        return isinstance(conv, Conv) and conv.group == 1 and conv.dilations[-1] == 1 and op.operands[0] is value

    few = value.producer is None and map_shape(value.type).channels < CHANNEL_BLOCK and value.type.rank > 2
    return few and not value.is_returned and all(reads_rows(op) for op in value.users)
