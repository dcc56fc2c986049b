"""Softmax of IR and its logarithm."""

from __future__ import annotations

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.softmax import Hardmax, LogSoftmax, Softmax
from .....ir.types import DType, TensorType
from ..exporter import IrExporter, exports
from ..importer import IrImporter, IrNode, opset
from .reduction import first_extreme


@opset("SoftMax", "Softmax")
def import_softmax(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    return importer.emit_one(Softmax(node.from_front(node.int("axis", 1), x.type.rank)), x)


@opset("LogSoftmax")
def import_log_softmax(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    return importer.emit_one(LogSoftmax(node.from_front(node.int("axis", -1), x.type.rank)), x)


@exports(Softmax)
def export_softmax(op: Op[Softmax], exporter: IrExporter) -> None:
    exporter.write_as(op, "SoftMax", op.operands, opset=8, axis=op.operator.axis)


@exports(LogSoftmax)
def export_log_softmax(op: Op[LogSoftmax], exporter: IrExporter) -> None:
    exporter.write_as(op, "LogSoftmax", op.operands, opset=5, axis=op.operator.axis)


@exports(Hardmax)
def export_hardmax(op: Op[Hardmax], exporter: IrExporter) -> None:
    """One where the first of the largest elements is."""
    x, axis = exporter.tensor(op.operands.x), op.operator.axis
    first = first_extreme(exporter, x, axis, is_largest=True)
    places = TensorType(first.type.shape[:axis] + first.type.shape[axis + 1 :], DType.I64)
    flat = exporter.layer("Squeeze", [first, exporter.integers([axis], "axis")], places)
    on, off = (exporter.constant(np.asarray(value, x.type.dtype.numpy)) for value in (1, 0))
    depth = exporter.integers(x.type.shape[axis], "depth")
    exporter.define(op, exporter.layer("OneHot", [flat, depth, on, off], x.type, axis=axis))
