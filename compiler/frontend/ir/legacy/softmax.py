"""SoftMax and LogSoftmax of IR of versions 2 to 7."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.softmax import LogSoftmax, Softmax
from ..importer import IrImporter, IrNode, legacy


@legacy("SoftMax", "LogSoftmax")
def import_softmax(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    operator = Softmax if node.op_type.lower() == "softmax" else LogSoftmax
    return importer.emit_one(operator(node.from_front(node.int("axis", 1), x.type.rank)), x)
