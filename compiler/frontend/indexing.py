"""Gather*, Scatter* and OneHot of ONNX."""

from __future__ import annotations

import onnx

from ...ir.core import Op, Value
from ...ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports
from .shape import normalize_axis


@imports("Gather", "GatherElements")
def import_gather(node: Node, importer: Importer) -> Value:
    cls = Gather if node.op_type == "Gather" else GatherElements
    x, indices = node.input(0), node.input(1)
    return importer.emit_one(cls(normalize_axis(node, node.int("axis", 0), x.type.rank)), x, indices)


@exports(Gather, GatherElements)
def export_gather(op: Op, exporter: Exporter) -> None:
    gather = op.operator
    assert isinstance(gather, (Gather, GatherElements))
    op_type = "Gather" if isinstance(gather, Gather) else "GatherElements"
    exporter.define(op, exporter.node(op_type, op.operands, axis=gather.axis))


@imports("GatherND")
def import_gather_nd(node: Node, importer: Importer) -> Value:
    return importer.emit_one(GatherND(node.int("batch_dims", 0)), node.input(0), node.input(1))


@exports(GatherND)
def export_gather_nd(op: Op, exporter: Exporter) -> None:
    gather = op.operator
    assert isinstance(gather, GatherND)
    # onnxruntime reads i64 indices only.
    indices = exporter.node("Cast", [op.operands[1]], to=onnx.TensorProto.INT64)
    exporter.define(op, exporter.node("GatherND", [op.operands[0], indices], batch_dims=gather.batch_dims))


@imports("ScatterElements", "Scatter")
def import_scatter_elements(node: Node, importer: Importer) -> Value:
    """``Scatter`` is the name that it had before version 11."""
    x = node.input(0)
    axis = normalize_axis(node, node.int("axis", 0), x.type.rank)
    operator = ScatterElements(axis, node.string("reduction", "none"))
    return importer.emit_one(operator, x, node.input(1), node.input(2))


@exports(ScatterElements)
def export_scatter_elements(op: Op, exporter: Exporter) -> None:
    scatter = op.operator
    assert isinstance(scatter, ScatterElements)
    exporter.define(op, exporter.node("ScatterElements", op.operands, axis=scatter.axis, reduction=scatter.reduction))


@imports("ScatterND")
def import_scatter_nd(node: Node, importer: Importer) -> Value:
    operator = ScatterND(node.string("reduction", "none"))
    return importer.emit_one(operator, node.input(0), node.input(1), node.input(2))


@exports(ScatterND)
def export_scatter_nd(op: Op, exporter: Exporter) -> None:
    scatter = op.operator
    assert isinstance(scatter, ScatterND)
    indices = exporter.node("Cast", [op.operands[1]], to=onnx.TensorProto.INT64)
    y = exporter.node("ScatterND", [op.operands[0], indices, op.operands[2]], reduction=scatter.reduction)
    exporter.define(op, y)


@imports("OneHot")
def import_one_hot(node: Node, importer: Importer) -> Value:
    indices, values = node.input(0), node.input(2)
    depth = int(node.constant(1, "the depth").reshape(-1)[0])
    axis = normalize_axis(node, node.int("axis", -1), indices.type.rank + 1)
    return importer.emit_one(OneHot(depth, axis), indices, values)


@exports(OneHot)
def export_one_hot(op: Op, exporter: Exporter) -> None:
    one_hot = op.operator
    assert isinstance(one_hot, OneHot)
    depth = exporter.integers([one_hot.depth], "depth")
    exporter.define(op, exporter.node("OneHot", [op.operands[0], depth, op.operands[1]], axis=one_hot.axis))
