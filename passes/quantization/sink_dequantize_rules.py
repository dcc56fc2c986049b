"""Rules by which what moves elements goes before ``dequantize`` and works on stored integers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...ir.core import Constant, Value, types_of
from ...ir.op import Operator, QuantizationRule
from ...ir.ops import REGISTRY
from ...ir.ops.movement import Pad, Transpose
from ...ir.ops.quantization import Dequantize, StorageCast
from ...ir.ops.resize import Resize
from ...ir.quantized import EIGHT_BIT, WIDE, parameters, stored
from ...ir.types import DType, TensorType
from ..pattern import Match, Rule, node, on_quantized

MOVING: tuple[type[Operator], ...] = tuple(
    cls for cls in REGISTRY.values() if cls.QUANTIZATION in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY)
)
"""Operators that treat stored integers like any others."""


def is_interpolation(operator: Operator) -> bool:
    """Whether an operator makes numbers between those of its operand, which stored integers have to be rounded to."""
    return isinstance(operator, Resize) and operator.mode != "nearest"


def _sink_dequantize(found: Match) -> Sequence[Value] | None:
    if is_interpolation(found.root.operator):
        return None
    reals = [value for value in found.root.inputs if value.type.dtype.is_float]
    return _sink(found, Dequantize(), reals, found.root.operator)


def _sink_storage_cast(found: Match) -> Sequence[Value] | None:
    """Models of QLinear operators move plain integers between them."""
    operator = found.root.operator
    if is_interpolation(operator):
        return None
    moved = found.root.inputs[:1]
    if operator.QUANTIZATION is QuantizationRule.UNIFY:
        moved = tuple(value for value in found.root.inputs if value.type.dtype is not DType.BOOL)
    if isinstance(operator, Pad) and operator.mode == "constant":
        integers = under(StorageCast, moved[0])
        if integers is None or integers.type.quant is None or integers.type.quant.axis is not None:
            return None
        scale, zero = parameters(integers.type)
        operator = replace(operator, value=float(np.float32(operator.value - zero) * scale))
    return _sink(found, StorageCast(), moved, operator)


def under(boundary: type[Operator], value: Value | None) -> Value | None:
    """What ``value`` is the result of ``boundary`` of, ``None`` if it is not."""
    op = value.producer if value is not None else None
    return op.operands[0] if op is not None and isinstance(op.operator, boundary) else None


def _sink(found: Match, boundary: Operator, outer: Sequence[Value], operator: Operator) -> Sequence[Value] | None:
    """``operator`` on what lies before the boundary, and the boundary after it.
    ``outer``: the operands that the boundary must have made."""
    root = found.root
    integers = [value for value in (under(type(boundary), each) for each in outer) if value is not None]
    if not integers or len(integers) < len(outer):
        return None
    if any(not _can_move(operator, value) for value in integers):
        return None
    if len({value.type.quant for value in integers}) > 1 or len({value.type.dtype for value in integers}) > 1:
        return None
    swapped = dict(zip(outer, integers, strict=True))
    operands = [swapped.get(value, value) if value is not None else None for value in root.operands]
    types = _result_types(operator, operands)
    results: Sequence[Value]
    if all(value is None or isinstance(value, Constant) for value in operands):
        results = _computed(found, operands, types)
    elif operator.check_quantized(types_of(operands), types) is None:
        results = found.emit_all(operator, operands, types, [root])
    else:
        return None
    return [found.emit(boundary, value) if value.type.quant is not None else value for value in results]


def _can_move(operator: Operator, value: Value) -> bool:
    type = value.type
    # Biases are wider, but constants.
    if type.quant is None or (type.dtype not in (*EIGHT_BIT, *WIDE) and not isinstance(value, Constant)):
        return False
    if type.quant.axis is not None:
        # Channels stay together in a transposition; elsewhere they may not.
        return isinstance(operator, Transpose)
    if isinstance(operator, Pad) and operator.mode == "constant":
        scale, zero = parameters(type)
        return float(np.float32(stored(operator.value, type) - zero) * scale) == operator.value
    return True


def _result_types(operator: Operator, operands: Sequence[Value | None]) -> tuple[TensorType, ...]:
    first = operands[0]
    if isinstance(operator, Transpose) and first is not None and first.type.quant is not None:
        axis = first.type.quant.axis
        quant = replace(first.type.quant, axis=operator.perm.index(axis)) if axis is not None else first.type.quant
        return (TensorType(tuple(first.type.shape[p] for p in operator.perm), first.type.dtype, quant),)
    return operator.result_types(types_of(operands))


def _computed(found: Match, operands: Sequence[Value | None], types: Sequence[TensorType]) -> tuple[Value, ...]:
    """What the root moves constants to, as constants: weights must stay known."""
    arrays = [value.array if isinstance(value, Constant) else None for value in operands]
    results = found.root.operator.evaluate(arrays, types_of(operands), types)
    name = found.root.results[0].name
    return tuple(found.add_constant(name, array, type) for array, type in zip(results, types, strict=True))


RULES = on_quantized(
    Rule("movement_before_dequantize", node(MOVING), _sink_dequantize),
    Rule("movement_before_storage_cast", node(MOVING), _sink_storage_cast),
)
"""From ``move(dequantize(x))`` to ``dequantize(move(x))``, and so with ``storage_cast``."""
