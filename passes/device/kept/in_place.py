"""Element-wise ops that write over what they read: the result takes the operand's place where both stay on chip."""

from __future__ import annotations

from collections.abc import Mapping

from ....ir.annotations import OVER
from ....ir.core import Function, Op, Value, is_op
from ....ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ....ir.ops.movement import Concat, Slice
from ....ir.ops.shape import Reshape
from ..fused_pairs import fused_convolution


def overwritten(op: Op) -> Value | None:
    """The operand over which an op writes its result where both stay on chip, ``None`` if it is written elsewhere."""
    number = OVER.get(op)
    return op.inputs[number] if number is not None else None


def choose_overwritten(function: Function) -> None:
    """Annotate the ops that may write over an operand: that of whose users each comes before.

    A tile is written when it has been read, and no other tile of the result reads it.
    """
    steps = {op: step for step, op in enumerate(function.ops)}
    for op in function.ops:
        if is_op(op, Add, Sub, Mul, Max, Min):
            fitting = (number for number, value in enumerate(op.inputs) if _can_be_overwritten(value, op, steps))
            number = next(fitting, None)
            if number is not None:
                OVER.set(op, number)


def _can_be_overwritten(value: Value, op: Op, steps: Mapping[Op, int]) -> bool:
    if value.producer is None or value.is_returned or value.type.shape != op.result.type.shape:
        return False
    conv = fused_convolution(op)
    if conv is not None and conv in (value.producer, *value.users):
        return False  # which is nowhere, or read while the result is written
    others = [user for user in value.users if user is not op]
    # What lies in the same place under other names may be read later.
    views = any(is_op(each, Concat, Reshape, Slice) for each in (value.producer, *others))
    return not views and op.inputs.count(value) == 1 and all(steps[user] < steps[op] for user in others)
