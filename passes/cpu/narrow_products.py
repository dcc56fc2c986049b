"""Let convolutions and products of matrices multiply numbers in bfloat16."""

import math

from ...ir.calls import host_functions, macs_of
from ...ir.core import Constant, Module, Op, is_op
from ...ir.layout import CHANNEL_BLOCK
from ...ir.ops.convolution import Conv, NarrowConv, joined_groups
from ...ir.ops.matmul import MatMul, NarrowMatMul
from ...ir.types import DType
from ..base import PLAIN, UNPLANNED, Pass, Record
from .choose_layouts import transformed_weights
from .layout_support import can_be_narrow

_SHORT = 8
"""Rows or columns of a matrix of weights that are fewer than this fill too little of a tile."""

_FEW = 1 << 15
"""Multiplications that take as long as the tiles take to be made ready, about."""


class NarrowProducts(Pass):
    """Makes ``narrow_conv`` of convolutions in single precision that have kernels as such, and ``narrow_matmul`` of
    products with a known matrix, the same for all rows on the left.

    Depthwise convolutions, those of weights that are computed, small products and those of two computed matrices stay
    in single precision, and what is multiplied as fast there: by Winograd's algorithm unless ``exact``, or in groups
    that bfloat16 would multiply together.
    ``gain``: how many times as many numbers are multiplied in bfloat16, by instructions alone."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    gain: int = 16
    exact: bool = False

    def apply(self, module: Module, record: Record) -> bool:
        for function in host_functions(module):
            for op in [*function.ops]:
                if is_op(op, Conv) and self._gains(op):
                    narrow = NarrowConv(**vars(op.operator))
                elif is_op(op, MatMul) and _is_known(op) and macs_of(module, op) >= _FEW:
                    narrow = NarrowMatMul(**vars(op.operator))
                else:
                    continue
                made = Op(narrow, op.operands, names=[op.result.name], loc=op.loc)
                function.insert(made, op)
                op.replace_with(made.result)
                record.counts[op.name] += 1
        return bool(record.counts)

    def _gains(self, op: Op[Conv]) -> bool:
        x, w = (value.type.shape for value in op.inputs[:2])
        joined = joined_groups(op.operator.group, x[1], w[0]) or 1
        has_fewer = not self.exact and transformed_weights(op) is not None
        return self.gain > max(joined, 2 * has_fewer) and can_be_narrow(op, CHANNEL_BLOCK // (1 + (self.gain > 2)))


def _is_known(op: Op[MatMul]) -> bool:
    """Whether a product is one of a known matrix of a useful size, in single precision."""
    w, bias = op.operands.w, op.operands.b
    is_float = all(v.type.dtype is DType.F32 and v.type.quant is None for v in (*op.inputs, op.result))
    is_one = isinstance(w, Constant) and math.prod(w.type.shape[:-2]) == 1 and isinstance(bias, Constant | None)
    return is_float and is_one and not op.operator.transpose_a and min(w.type.shape[-2:]) >= _SHORT
