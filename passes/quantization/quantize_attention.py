"""Attention between quantised tensors as an operator on their integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.attention import Attention
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.ops.quantization import Quantize
from ...ir.quantized import EIGHT_BIT, limits, parameters
from ...ir.types import DType, Quantization, TensorType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..cpu.fuse_attention import MOVEMENT
from ..pattern import Driver, Match, Rule, node, on_quantized
from .integer_rules import integers_of

_MASK_STEP = 1 / 8
"""Of masks that are computed; what is 16 or more below 0 hides a key."""

_HIDDEN = -64.0
"""What known masks add, or less, hides a key: beside any other its exponential is 0."""


class QuantizeAttention(Pass):
    """Makes ``attention`` of integers what stands between ``dequantize`` and ``quantize``.

    Masks become i8, whose smallest integer hides a key: those that are computed in steps of 1/8, known ones in steps of
    their own. Queries that a product makes for attention alone get the zero point 0, as the accelerator multiplies
    them by what is computed, and would have to take off another one by a product of its own.
    """

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    def apply(self, module: Module, record: Record) -> bool:
        between = node(Quantize, node(Attention, name="attention"))
        rules = on_quantized(Rule("attention_on_integers", between, _attention))
        return Driver((*rules, *MOVEMENT)).run(module, record)


def _attention(found: Match[Quantize]) -> Value | None:
    op, y = found.op("attention", Attention), found.root.result.type
    integers = [integers_of(value) for value in op.inputs[:3]]
    if y.quant is None or y.quant.axis is not None or y.dtype not in EIGHT_BIT:
        return None
    operands: list[Value] = []
    for value in integers:
        if value is None or value.type.quant is None or value.type.quant.axis is not None:
            return None
        operands.append(value)
    if op.operands.mask is not None:
        operands.append(_mask(found, op.operands.mask, y.dtype))
    if operands[0] not in operands[1:]:
        operands[0] = _symmetric(found, operands[0], op)
    if len({value.type.dtype for value in operands} | {y.dtype}) > 1:
        return None
    return found.emit(op.operator, *operands, result_types=[y])


def _mask(found: Match, mask: Value, dtype: DType) -> Value:
    """What is added to scores as integers."""
    step = _MASK_STEP
    if isinstance(mask, Constant):
        added = np.abs(mask.array[mask.array > _HIDDEN])
        step = float(np.float32(added.max(initial=0.0) / 127)) or 1.0
    low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    quant = Quantization.per_tensor(step, (int(low) + int(high) + 1) // 2)
    return found.emit(Quantize(), mask, result_types=[TensorType(mask.type.shape, dtype, quant)])


def _symmetric(found: Match, q: Value, attention: Op) -> Value:
    """Queries with the zero point 0, if a product makes them for this op alone."""
    op, (scale, zero) = q.producer, parameters(q.type)
    middle = sum(limits(q.type)) // 2 + 1
    if op is None or not is_op(op, Conv, MatMul) or zero == middle or q.type.dtype is not DType.I8:
        return q
    if any(user is not attention.inputs[0].producer for user in q.users) or op.operator.act != "none":
        return q
    low, high = ((bound - zero) * float(scale) for bound in limits(q.type))
    quant = Quantization.per_tensor(float(np.float32(max(-low, high) / 127)))
    return found.emit(replace(op.operator), *op.operands, result_types=[q.type.with_quant(quant)], origin=[op])
