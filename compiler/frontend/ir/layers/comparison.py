"""Comparisons, logic and Select of IR."""

from .....ir.core import Op, Value
from .....ir.ops.comparison import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where, Xor
from .....ir.ops.elementwise import Binary
from .....ir.ops.unary import Not
from .....ir.types import DType
from ..exporter import IrExporter, exports, exports_as
from ..importer import IrImporter, IrNode, opset
from .elementwise import along, broadcast, check_same_shape, combined

_OPERATORS: dict[str, Binary] = {
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

opset(*_OPERATORS)(lambda node, importer: importer.emit_one(_OPERATORS[node.op_type], *broadcast(node, importer, 0)))


@opset("NotEqual")
def import_not_equal(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Not(), importer.emit_one(Equal(), *broadcast(node, importer, 0)))


@opset("Select")
def import_select(node: IrNode, importer: IrImporter) -> Value:
    condition, (x, y) = node.input(0), broadcast(node, importer, 1)
    mode = node.word("auto_broadcast", "numpy")
    if mode == "pdpd":
        condition = along(node, importer, x, condition)
    elif mode != "numpy":
        check_same_shape(node, x, condition)
    return importer.emit_one(Where(), condition, x, y)


_TYPES: dict[type[Binary], str] = {operator.__class__: type for type, operator in _OPERATORS.items() if type != "Xor"}


@exports(*_TYPES)
def export_comparison(op: Op[Binary], exporter: IrExporter) -> None:
    exporter.define(op, combined(exporter, _TYPES[op.operator.__class__], *op.operands, dtype=DType.BOOL))


exports_as(Where, "Select", auto_broadcast="numpy")
