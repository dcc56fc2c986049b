"""Softmax, LogSoftmax and Hardmax of ONNX, with the flattened meaning that they had before version 13."""

from __future__ import annotations

import math

from ...ir.core import Op, Value
from ...ir.ops.softmax import AlongAxis, Hardmax, LogSoftmax, Softmax
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports
from .shape import normalize_axis, reshape

OPERATORS: dict[str, type[AlongAxis]] = {"Hardmax": Hardmax, "LogSoftmax": LogSoftmax, "Softmax": Softmax}
ONNX_NAMES = {cls: name for name, cls in OPERATORS.items()}


@imports(*OPERATORS)
def import_along_axis(node: Node, importer: Importer) -> Value:
    x, operator = node.input(0), OPERATORS[node.op_type]
    shape = x.type.shape
    if node.opset >= 13:
        return importer.emit_one(operator(normalize_axis(node, node.int("axis", -1), len(shape))), x)
    # All dimensions from the axis on count as one line; a line with a single true dimension needs no reshape.
    axis = normalize_axis(node, node.int("axis", 1), len(shape))
    longer = [d for d in range(axis, len(shape)) if shape[d] != 1]
    if len(longer) <= 1:
        return importer.emit_one(operator(longer[0] if longer else axis), x)
    flat = reshape(importer, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
    return reshape(importer, importer.emit_one(operator(1), flat), shape)


@exports(*OPERATORS.values())
def export_along_axis(op: Op, exporter: Exporter) -> None:
    operator = op.operator
    assert isinstance(operator, AlongAxis)
    exporter.define(op, exporter.node(ONNX_NAMES[type(operator)], op.operands, axis=operator.axis))
