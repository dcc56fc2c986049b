"""Activations of IR."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.activation import Relu
from ..exporter import IrExporter, exports
from ..importer import IrImporter, IrNode, opset


@opset("ReLU")
def import_relu(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Relu(), node.input(0))


@exports(Relu)
def export_relu(op: Op[Relu], exporter: IrExporter) -> None:
    exporter.write_as(op, "ReLU", op.operands)
