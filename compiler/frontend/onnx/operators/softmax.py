"""Softmax, LogSoftmax and Hardmax of ONNX, with the flattened meaning that they had before version 13."""

from __future__ import annotations

import math

from .....ir.core import Value
from .....ir.ops.softmax import AlongAxis, Hardmax, LogSoftmax, Softmax
from ...shape import reshape
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as

_OPERATORS: dict[str, type[AlongAxis]] = {cls.__name__: cls for cls in (Hardmax, LogSoftmax, Softmax)}

for _op_type, _operator in _OPERATORS.items():
    exports_as(_op_type, _operator)


@imports(*_OPERATORS)
def import_along_axis(node: Node, importer: Importer) -> Value:
    x, operator = node.input(0), _OPERATORS[node.op_type]
    shape = x.type.shape
    if node.opset >= 13:
        return importer.emit_one(operator(node.axis(len(shape), -1)), x)
    # All dimensions from the axis on count as one line; a line with a single true dimension needs no reshape.
    axis = node.axis(len(shape), 1)
    longer = [d for d in range(axis, len(shape)) if shape[d] != 1]
    if len(longer) <= 1:
        return importer.emit_one(operator(longer[0] if longer else axis), x)
    flat = reshape(importer, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
    return reshape(importer, importer.emit_one(operator(1), flat), shape)
