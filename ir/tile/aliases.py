"""Which values of a tile program are names for the same place."""

from __future__ import annotations

from ..core import Op, Value, is_op
from .places import Part, Reshape


def whole_of(op: Op) -> Value | None:
    """The place that the result of an op is, or is a part of; ``None`` where it is a place of its own."""
    if is_op(op, Part, Reshape):
        return op.inputs[0]
    return getattr(op.operands, "into", None)
