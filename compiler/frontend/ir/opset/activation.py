"""Activations of IR."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.activation import Relu
from ..importer import IrImporter, IrNode, opset


@opset("ReLU")
def import_relu(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Relu(), node.input(0))
