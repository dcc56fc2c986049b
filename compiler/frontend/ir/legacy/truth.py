"""Truth values of IR of versions 2 to 7, which have no type of their own: numbers that are 0 or not."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.unary import Not
from .....ir.types import DType
from ...shape import cast
from ..importer import IrImporter, IrNode, element_type


def truth(importer: IrImporter, x: Value) -> Value:
    """Whether elements are not 0."""
    return cast(importer, x, DType.BOOL)


def stated(node: IrNode, importer: IrImporter, x: Value, index: int = 0) -> Value:
    """``x`` in the precision that the file gives an output of the layer; single precision where it gives none."""
    ports = node.layer.outputs
    precision = (ports[index].precision if index < len(ports) else "") or node.layer.precision
    return cast(importer, x, element_type(precision or "FP32", node.layer))


def negated(node: IrNode, importer: IrImporter, x: Value) -> Value:
    """1 where ``x`` is 0, else 0."""
    return stated(node, importer, importer.emit_one(Not(), truth(importer, x)))
