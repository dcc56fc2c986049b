"""Const of IR: an array of the .bin file."""

from __future__ import annotations

from .....ir.core import Value
from ..document import ELEMENT_TYPES
from ..importer import IrImporter, IrNode, opset


@opset("Const")
def import_constant(node: IrNode, importer: IrImporter) -> Value:
    element_type = node.text("element_type")
    if element_type.lower() not in ELEMENT_TYPES:
        expected = ", ".join(ELEMENT_TYPES)
        raise node.unsupported("the element type is not supported", expected=expected, found=repr(element_type[:60]))
    return importer.array(node, "custom", node.ints("shape", ()))
