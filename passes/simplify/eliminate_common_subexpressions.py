"""Compute everything once: equal ops on equal operands, and equal constants, become one."""

from collections.abc import Hashable

from ...ir.core import Module, Op
from ..base import UNPLANNED, Pass, Record, merged_loc


class EliminateCommonSubexpressions(Pass):
    """The first of several equal ops stays and takes over the source nodes of the others.

    Ops are equal if operator, attributes, operands, result types and annotations are. Constants are equal if type
    and content are."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        record.counts["constant"] = _merge_constants(module)
        for function in module.functions.values():
            first: dict[Hashable, Op] = {}
            equal: dict[Op, list[Op]] = {}
            for op in function.ops:
                kept = first.setdefault(_key(op), op)
                if kept is not op:
                    equal.setdefault(kept, [kept]).append(op)
                    op.replace_with(*kept.results)
            for kept, ops in equal.items():
                kept.loc = merged_loc(ops)
                record.counts["op"] += len(ops) - 1
        return record.counts.total() > 0


def _merge_constants(module: Module) -> int:
    """Let one constant stand for all that are equal; how many went."""
    # Reading a few elements tells nearly all different constants apart, without hashing megabytes of weights.
    alike: dict[Hashable, list[str]] = {}
    for name, constant in module.constants.items():
        flat = constant.array.reshape(-1)
        alike.setdefault((constant.type, flat[:: max(1, flat.size // 64)].tobytes()), []).append(name)
    count = 0
    for names in alike.values():
        kept: dict[str, str] = {}
        for name in names if len(names) > 1 else ():
            constant = module.constants[name]
            first = kept.setdefault(constant.digest, name)
            if first != name:
                constant.replace_all_uses(module.constants[first])
                del module.constants[name]
                count += 1
    return count


def _key(op: Op) -> Hashable:
    return (
        # repr, not the operator itself: 0.0 and -0.0 compare equal but are different attributes.
        repr(op.operator),
        op.operands,
        tuple(value.type for value in op.results),
        tuple(sorted(op.annotations.items(), key=lambda item: item[0])),
    )
