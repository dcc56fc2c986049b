"""Run everything on the host CPU."""

from ...ir.annotations import ON
from ...ir.core import Module
from ..base import PLACED, Pass, Record


class PlaceOnCpu(Pass):
    """Annotates ``on=cpu`` on every op that has no place yet."""

    ensures = (PLACED,)

    def apply(self, module: Module, record: Record) -> bool:
        for op in module.ops:
            if not ON.is_at(op):
                ON.set(op, "cpu")
                record.counts[op.name] += 1
        return bool(record.counts)
