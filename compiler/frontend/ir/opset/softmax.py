"""Softmax of IR and its logarithm."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.softmax import LogSoftmax, Softmax
from ..importer import IrImporter, IrNode, opset


@opset("SoftMax", "Softmax")
def import_softmax(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    return importer.emit_one(Softmax(node.from_front(node.int("axis", 1), x.type.rank)), x)


@opset("LogSoftmax")
def import_log_softmax(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    return importer.emit_one(LogSoftmax(node.from_front(node.int("axis", -1), x.type.rank)), x)
