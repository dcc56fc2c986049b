"""Comparison and logic operators of ONNX, and Where."""

from __future__ import annotations

from ...ir.core import Op, Value
from ...ir.op import Operator
from ...ir.ops import comparison
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports

_PLAIN: dict[str, type[Operator]] = {
    "Equal": comparison.Equal,
    "Less": comparison.Less,
    "LessOrEqual": comparison.LessOrEqual,
    "Greater": comparison.Greater,
    "GreaterOrEqual": comparison.GreaterOrEqual,
    "And": comparison.And,
    "Or": comparison.Or,
    "Xor": comparison.Xor,
    "Where": comparison.Where,
}
_ONNX_NAMES = {cls: name for name, cls in _PLAIN.items()}


@imports(*_PLAIN)
def import_comparison(node: Node, importer: Importer) -> Value:
    cls = _PLAIN[node.op_type]
    return importer.emit_one(cls(), *(node.input(index) for index in range(cls.REQUIRED)))


@exports(*_ONNX_NAMES)
def export_comparison(op: Op, exporter: Exporter) -> None:
    exporter.define(op, exporter.node(_ONNX_NAMES[type(op.operator)], op.operands))
