"""Give a quantised network its meaning in real numbers."""

import numpy as np

from ...ir.core import Constant, Module, Op, Value
from ...ir.ops.activation import Clip
from ...ir.ops.elementwise import Max, Min
from ...ir.ops.quantization import DequantizeLinear, QuantizeLinear, along
from ...ir.types import DType
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


def _parameters(
    conversion: Op[QuantizeLinear | DequantizeLinear], dtype: DType
) -> tuple[np.ndarray, np.ndarray] | None:
    """Scales and zero points of a conversion from or to ``dtype``, both flat; ``None`` if they are not constants, or a
    scale is not positive and finite."""
    _, scale, zero = conversion.operands
    if not isinstance(scale, Constant) or not isinstance(zero, (Constant, type(None))):
        return None
    scales = scale.array.reshape(-1)
    if not (np.isfinite(scales) & (scales > 0)).all():
        return None
    return scales, zero.array.reshape(-1) if zero is not None else np.zeros(scales.shape, dtype.numpy)


def _clip(found: Match[DequantizeLinear]) -> Value | None:
    quantize, dequantize = found.op("quantize", QuantizeLinear), found.root
    x, axis = quantize.inputs[0], quantize.operator.axis
    parameters = _parameters(quantize, quantize.operator.to)
    others = _parameters(dequantize, quantize.operator.to)
    if parameters is None or others is None or not all(map(np.array_equal, parameters, others)):
        return None
    same = axis == dequantize.operator.axis and x.type.dtype is dequantize.result.type.dtype
    if isinstance(x, Constant) or not same:
        return None
    scales, zeros = parameters
    limits = np.iinfo(zeros.dtype)
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
    Rule(
        "clip_without_rounding", node(DequantizeLinear, node(QuantizeLinear, name="quantize", single_use=False)), _clip
    ),
)
"""From pairs of conversions to clips."""
