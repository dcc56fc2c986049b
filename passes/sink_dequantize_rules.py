"""Rules by which what moves elements changes places with ``dequantize`` and works on stored integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..ir.core import Constant, Value
from ..ir.op import REGISTRY, Operator, QuantizationRule
from ..ir.ops.movement import Pad, Transpose
from ..ir.ops.quantization import Dequantize
from ..ir.quantized import EIGHT_BIT, parameters, stored
from ..ir.types import TensorType
from .integer_rules import insert, integers_of
from .pattern import Match, Rule, node

MOVING: tuple[type[Operator], ...] = tuple(
    cls for cls in REGISTRY.values() if cls.QUANTIZATION in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY)
)
"""Operators that treat stored integers like any others."""


def _sink(found: Match) -> Sequence[Value] | None:
    root = found.root
    reals = [value for value in root.inputs if value.type.dtype.is_float]
    integers = [value for value in map(integers_of, reals) if value is not None]
    if not integers or len(integers) < len(reals):
        return None
    if any(not _can_move(root.operator, value.type) for value in integers):
        return None
    if len({value.type.quant for value in integers}) > 1 or len({value.type.dtype for value in integers}) > 1:
        return None
    swapped = dict(zip(reals, integers, strict=True))
    operands = [swapped.get(value, value) if value is not None else None for value in root.operands]
    types = _result_types(root.operator, operands)
    results: Sequence[Value]
    if all(value is None or isinstance(value, Constant) for value in operands):
        results = _computed(found, operands, types)
    elif root.operator.check_quantized([v.type if v is not None else None for v in operands], types) is None:
        results = insert(found, root.operator, operands, types, [root])
    else:
        return None
    return [found.emit(Dequantize(), value) if value.type.quant is not None else value for value in results]


def _can_move(operator: Operator, type: TensorType) -> bool:
    if type.quant is None or type.dtype not in EIGHT_BIT:
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
    return operator.result_types([value.type if value is not None else None for value in operands])


def _computed(found: Match, operands: Sequence[Value | None], types: Sequence[TensorType]) -> tuple[Value, ...]:
    """What the root moves constants to, as constants: weights must stay known."""
    arrays = [value.array if isinstance(value, Constant) else None for value in operands]
    operand_types = [value.type if value is not None else None for value in operands]
    results = found.root.operator.evaluate(arrays, operand_types, types)
    name = found.root.results[0].name
    return tuple(
        found.module.add_constant(name, np.ascontiguousarray(array), type)
        for array, type in zip(results, types, strict=True)
    )


RULES: tuple[Rule, ...] = (Rule("movement_before_dequantize", node(MOVING), _sink),)
"""From ``move(dequantize(x))`` to ``dequantize(move(x))``."""
