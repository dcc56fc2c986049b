"""What one asks of a tile program as a whole."""

from __future__ import annotations

from ..core import Function, Op, Value, is_op
from .places import Part, Phase, Reshape
from .types import TileType


def whole_of(op: Op) -> Value | None:
    """The place that the result of an op is, or is a part of; ``None`` where it is a place of its own."""
    if is_op(op, Part, Phase, Reshape):
        return op.inputs[0]
    return getattr(op.operands, "into", None)


def clusters_of(function: Function) -> int:
    """How many clusters a tile program uses, from 0 on."""
    types = (value.type for op in function.ops for value in op.results)
    return max((type.cluster + 1 for type in types if isinstance(type, TileType)), default=1) or 1


def cluster_of(op: Op) -> int:
    """Who runs the instruction of an op: whose scratchpad it reads maps from, or whose it loads."""
    types = [value.type for value in (op.inputs[:1] + op.results)]
    own = (type.cluster for type in types if isinstance(type, TileType) and type.memory != "dram")
    return max(next(own, 0), 0)
