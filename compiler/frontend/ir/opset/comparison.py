"""Comparisons and logic of IR, and Select."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.op import Operator
from .....ir.ops.comparison import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where, Xor
from .....ir.ops.unary import Not
from ..importer import IrImporter, IrNode, opset
from .elementwise import along, broadcast

_OPERATORS: dict[str, Operator] = {
    "Equal": Equal(),
    "Greater": Greater(),
    "GreaterEqual": GreaterOrEqual(),
    "Less": Less(),
    "LessEqual": LessOrEqual(),
    "LogicalAnd": And(),
    "LogicalOr": Or(),
    "LogicalXor": Xor(),
    "Xor": Xor(),
}


@opset(*_OPERATORS)
def import_comparison(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_OPERATORS[node.op_type], *broadcast(node, importer, 0))


@opset("NotEqual")
def import_not_equal(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Not(), importer.emit_one(Equal(), *broadcast(node, importer, 0)))


@opset("Select")
def import_select(node: IrNode, importer: IrImporter) -> Value:
    condition, (x, y) = node.input(0), broadcast(node, importer, 1)
    mode = node.word("auto_broadcast", "numpy")
    if mode == "pdpd":
        condition = along(node, importer, x, condition)
    elif mode != "numpy" and condition.type.shape != x.type.shape:
        raise node.model_error(
            "the shapes differ, and are not to be broadcast",
            expected=list(x.type.shape),
            found=list(condition.type.shape),
        )
    return importer.emit_one(Where(), condition, x, y)
