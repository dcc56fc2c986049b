"""Functions of one tensor in ONNX. Their activations stand in the module ``activation``."""

from __future__ import annotations

from ...ir.core import Op, Value
from ...ir.op import Operator
from ...ir.ops import unary
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports

_PLAIN: dict[str, type[Operator]] = {
    "Neg": unary.Neg,
    "Abs": unary.Abs,
    "Sign": unary.Sign,
    "Sqrt": unary.Sqrt,
    "Reciprocal": unary.Reciprocal,
    "Exp": unary.Exp,
    "Log": unary.Log,
    "Floor": unary.Floor,
    "Ceil": unary.Ceil,
    "Round": unary.Round,
    "Erf": unary.Erf,
    "Sin": unary.Sin,
    "Cos": unary.Cos,
    "Tan": unary.Tan,
    "Asin": unary.Asin,
    "Acos": unary.Acos,
    "Atan": unary.Atan,
    "Sinh": unary.Sinh,
    "Cosh": unary.Cosh,
    "Asinh": unary.Asinh,
    "Acosh": unary.Acosh,
    "Atanh": unary.Atanh,
    "BitwiseNot": unary.BitwiseNot,
    "Not": unary.Not,
    "IsNaN": unary.IsNan,
}
_ONNX_NAMES = {cls: name for name, cls in _PLAIN.items()}


@imports(*_PLAIN)
def import_unary(node: Node, importer: Importer) -> Value:
    return importer.emit_one(_PLAIN[node.op_type](), node.input(0))


@exports(*_ONNX_NAMES)
def export_unary(op: Op, exporter: Exporter) -> None:
    exporter.define(op, exporter.node(_ONNX_NAMES[type(op.operator)], op.operands))


@imports("IsInf")
def import_is_inf(node: Node, importer: Importer) -> Value:
    operator = unary.IsInf(negative=node.int("detect_negative", 1) != 0, positive=node.int("detect_positive", 1) != 0)
    return importer.emit_one(operator, node.input(0))


@exports(unary.IsInf)
def export_is_inf(op: Op, exporter: Exporter) -> None:
    operator = op.operator
    assert isinstance(operator, unary.IsInf)
    y = exporter.node(
        "IsInf", op.operands, detect_negative=int(operator.negative), detect_positive=int(operator.positive)
    )
    exporter.define(op, y)
