"""Compute everything once: equal ops on equal operands, and equal constants, become one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from ..ir.core import Module, Op
from .base import Pass, Record
from .invariants import UNPLANNED, Invariant


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """The first of several equal ops stays and takes over the source nodes of the others.

    Ops are equal if operator, attributes, operands, result types and annotations are. Constants are equal if type
    and content are.
    """

    requires: ClassVar[tuple[Invariant, ...]] = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        constants: dict[Hashable, str] = {}
        for name, constant in list(module.constants.items()):
            kept = constants.setdefault((constant.type, constant.digest), name)
            if kept != name:
                constant.replace_all_uses(module.constants[kept])
                del module.constants[name]
                record.counts["constant"] += 1
        for function in module.functions.values():
            seen: dict[Hashable, Op] = {}
            for op in function.ops:
                kept = seen.setdefault(_key(op), op)
                if kept is not op:
                    kept.loc = tuple(dict.fromkeys((*kept.loc, *op.loc)))
                    op.replace_with(*kept.results)
                    record.counts["op"] += 1
        return bool(record.counts)


def _key(op: Op) -> Hashable:
    return (
        # repr, not the operator itself: 0.0 and -0.0 compare equal but are different attributes.
        repr(op.operator),
        op.operands,
        tuple(value.type for value in op.results),
        tuple(sorted(op.annotations.items(), key=lambda item: item[0])),
    )
