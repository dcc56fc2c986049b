"""Let convolutions multiply numbers in bfloat16."""

from __future__ import annotations

from ...ir.calls import host_functions
from ...ir.core import Module, Op, is_op
from ...ir.ops.convolution import Conv, NarrowConv
from ..base import PLAIN, UNPLANNED, Pass, Record
from .layout_support import can_be_narrow


class NarrowConvolutions(Pass):
    """Makes ``narrow_conv`` of convolutions in single precision that have kernels as such.

    First layers of few channels, depthwise ones and those of weights that are computed stay in single precision.
    """

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    def apply(self, module: Module, record: Record) -> bool:
        for function in host_functions(module):
            for op in [*function.ops]:
                if is_op(op, Conv) and can_be_narrow(op):
                    narrow = Op(NarrowConv(**vars(op.operator)), op.operands, names=[op.result.name], loc=op.loc)
                    function.insert(narrow, op)
                    op.replace_with(narrow.result)
                    record.counts[op.name] += 1
        return bool(record.counts)
