"""Can the accelerator run this op? Rules by operator, and for an op the first one that it breaks.

What the rules say is what :mod:`tilewright.passes.device.lowering` does; tests hold the two against each other.
"""

from __future__ import annotations

from ....ir.annotations import Reason
from ....ir.core import Constant, Op
from ....ir.op import Operator, QuantizationRule
from ....ir.ops import REGISTRY
from ....ir.ops.convolution import Conv
from ....ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ....ir.ops.movement import Concat, DepthToSpace, Slice
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ....ir.ops.quantization import Dequantize, DequantizeLinear, Quantize, QuantizeLinear, Requantize
from ....ir.ops.resize import Resize
from ....ir.ops.shape import Reshape
from ....ir.ops.unary import Unary
from ....runtime.machines.machine import Machine
from . import convolution, elementwise, maps, movement, pooling
from .rule import Rule, text_of

COMMON_RULES = (*maps.FIRST, *maps.LAST)
"""What holds for every operator of the device."""

OWN_RULES: dict[type[Operator], tuple[Rule, ...]] = {
    Conv: convolution.RULES,
    MaxPool: pooling.MAXIMUM_RULES,
    AveragePool: pooling.AVERAGE_RULES,
    GlobalAveragePool: pooling.GLOBAL_RULES,
    GlobalMaxPool: pooling.GLOBAL_RULES,
    **dict.fromkeys((Add, Sub, Mul, Max, Min), elementwise.RULES),
    Concat: (movement.along_channels,),
    DepthToSpace: (movement.whole_pixels, movement.rows_of_phases),
    Slice: (movement.neighbours,),
    Reshape: (movement.moves_no_byte,),
    Resize: movement.RESIZE_RULES,
    Requantize: (),
    **{cls: () for cls in REGISTRY.values() if issubclass(cls, Unary) and cls.QUANTIZATION is QuantizationRule.TABLE},
}
"""Operators that the device has, with the rules that hold for them besides."""

SUPPORT: dict[type[Operator], tuple[Rule, ...]] = {
    cls: (*maps.FIRST, *rules, *maps.LAST) for cls, rules in OWN_RULES.items()
}
"""All rules that an op of each operator keeps, in the order in which they are checked."""

CONVERSION = "converts between real numbers and integers, which the host does"
"""Why borders of the integers are not on the device."""


def _lacking(op: Op) -> Reason:
    is_conversion = isinstance(op.operator, (Quantize, Dequantize, QuantizeLinear, DequantizeLinear))
    rule = CONVERSION if is_conversion else f"the device has no {op.name}"
    return Reason(rule, f"%{op.results[0].name}", "")


def reject(op: Op, machine: Machine) -> Reason | None:
    """The first rule that ``op`` breaks on ``machine``; ``None`` if the device can run it."""
    if type(op.operator) not in SUPPORT:
        return _lacking(op)
    for rule in SUPPORT[type(op.operator)]:
        found = rule(op, machine)
        if found is not None:
            sigil = "@" if isinstance(found.tensor, Constant) else "%"
            return Reason(text_of(rule), sigil + found.tensor.name, found.value)
    return None
