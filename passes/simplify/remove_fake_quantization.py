"""Give a quantised network its meaning in real numbers."""

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.activation import Clip
from ...ir.ops.elementwise import Max, Min
from ...ir.ops.quantization import DequantizeLinear, QuantizeLinear, along
from ...ir.quantized import quantization_of
from ...ir.types import Quantization
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node


class RemoveFakeQuantization(Pass):
    """Replaces ``dequantize_linear(quantize_linear(x))`` by ``x`` clipped to the range that the integers can represent.

    The clip stays because networks rely on it: exporters drop a ReLU whose work the range of the integers does. Both
    ops must have the same parameters, which must be constants; then the pair brings ``x`` back but for rounding.
    Parameters along a dimension give bounds along it. Pairs on constants are left to ``fold_constants``: the rounding
    of weights belongs to the weights, and happens while compiling.

    Comes after ``fold_constants``, which finds out which pairs those are."""

    requires = (PLAIN, UNPLANNED)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES).run(module, record)


def rounding(op: Op) -> tuple[Op[QuantizeLinear], Quantization] | None:
    """The conversion to integers that ``op`` brings back to the same real numbers but for rounding, and its parameters,
    which are known; ``None`` if ``op`` does no such thing, or to a constant."""
    before = op.inputs[0].producer if is_op(op, DequantizeLinear) else None
    if not is_op(op, DequantizeLinear) or not is_op(before, QuantizeLinear):
        return None
    own, other = (quantization_of(*each.operands[1:], each.operator.axis) for each in (op, before))
    x = before.inputs[0]
    is_same = own == other and x.type.dtype is op.result.type.dtype and not isinstance(x, Constant)
    return (before, own) if own is not None and is_same else None


def _clip(found: Match[DequantizeLinear]) -> Value | None:
    pair = rounding(found.root)
    if pair is None:
        return None
    (quantize, quant), x = pair, pair[0].inputs[0]
    axis, limits = quant.axis, np.iinfo(quantize.operator.to.numpy)
    scales, zeros = np.array(quant.scale, x.type.dtype.numpy), np.array(quant.zero_point, limits.dtype)
    # As dequantize_linear rounds them.
    low, high = (
        DequantizeLinear(0).reference(np.full(zeros.shape, limit, zeros.dtype), scales, zeros)
        for limit in (limits.min, limits.max)
    )
    if axis is None:
        clip = found.emit(Clip(low.item(), high.item()), x)
        # What is left of a conversion in floating point is called as what it limits.
        clip.name = x.name
        return clip
    lowest, highest = (along(bound, axis, x.type.rank) for bound in (low, high))
    above = found.emit(Max(), x, found.add_constant(f"{x.name}_low", lowest))
    return found.emit(Min(), above, found.add_constant(f"{x.name}_high", highest))


RULES: tuple[Rule, ...] = (
    Rule("clip_without_rounding", node(DequantizeLinear, node(QuantizeLinear, single_use=False)), _clip),
)
"""From pairs of conversions to clips."""
