"""Export of fused operators, as the nodes that they were fused from."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.fused import FusedElementwise
from ..exporter import Exporter, exports


@exports(FusedElementwise)
def export_fused(op: Op[FusedElementwise], exporter: Exporter) -> None:
    values: list[Value | None] = list(op.operands)
    parts: list[Op] = []
    for step in op.operator.steps:
        part = Op(step.operator, [values[position] for position in step.arguments], loc=op.loc)
        exporter.write(part)
        values.append(part.result)
        parts.append(part)
    exporter.define(op, exporter.name(parts[-1].result))
    for part in reversed(parts):
        part.erase()
