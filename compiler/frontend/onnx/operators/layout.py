"""Layouts are unknown to ONNX: a reorder is the identity."""

from __future__ import annotations

from .....ir.core import Op
from .....ir.ops.layout import Reorder
from ..exporter import Exporter, exports


@exports(Reorder)
def export_reorder(op: Op[Reorder], exporter: Exporter) -> None:
    exporter.write_as(op, "Identity", op.operands)
