"""Const of IR: an array of the .bin file."""

from __future__ import annotations

from .....ir.core import Value
from ..importer import IrImporter, IrNode, opset


@opset("Const")
def import_constant(node: IrNode, importer: IrImporter) -> Value:
    return importer.array(node, "custom", node.ints("shape", ()))
