"""Compute while compiling what depends on constants alone."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.errors import TilewrightError

from ...ir.core import Constant, Module, Op
from ...ir.ops.call import Call
from ..base import Pass, Record, erase_dead
from ..invariants import UNPLANNED


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replaces each op that reads nothing but constants by the constants that its reference computes.

    What becomes dead is erased, unused constants are dropped. An op that fails on its operands (such as a gather
    out of range) stays: the failure belongs to the run.

    Attributes:
        max_bytes: an op is left alone if its results would take more; an expanded constant can be cheaper to
            compute than to store.
        keep: names of operators never to fold, such as ``dequantize`` where the integers are wanted.
    """

    requires = (UNPLANNED,)

    max_bytes: int = 1 << 26
    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        for function in module.functions.values():
            for op in function.ops:
                if not any(value.uses for value in op.results):
                    record.counts["dead op"] += erase_dead(op)
                elif self._is_foldable(op):
                    record.counts[op.name] += _fold(module, op)
        record.counts["unused constant"] = module.drop_unused_constants()
        return record.counts.total() > 0

    def _is_foldable(self, op: Op) -> bool:
        return (
            op.name not in self.keep
            and not isinstance(op.operator, Call)
            and all(isinstance(value, Constant) for value in op.inputs)
            and sum(value.type.elements * value.type.dtype.bytes for value in op.results) <= self.max_bytes
        )


def _fold(module: Module, op: Op) -> int:
    arrays = [value.array if isinstance(value, Constant) else None for value in op.operands]
    try:
        results = op.evaluate(arrays)
    except (TilewrightError, IndexError):
        return 0
    constants = [
        module.add_constant(value.name, array, value.type) for value, array in zip(op.results, results, strict=True)
    ]
    op.replace_with(*constants)
    return 1
