"""Gather*, Scatter* and OneHot of ONNX."""

from __future__ import annotations

from dataclasses import asdict

import onnx

from .....ir.core import Op, Value
from .....ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND
from ..exporter import Exporter, exports
from ..importer import Importer, Node, imports
from ..one_to_one import one_to_one

one_to_one("Gather", Gather, axis=0)
one_to_one("GatherElements", GatherElements, axis=0)
one_to_one("GatherND", GatherND, batch_dims=0)
one_to_one("Scatter", ScatterElements, axis=0, reduction="none")  # its name before version 11
one_to_one("ScatterElements", ScatterElements, axis=0, reduction="none")
one_to_one("ScatterND", ScatterND, reduction="none")


@exports(GatherND, ScatterND)
def export_nd(op: Op[GatherND | ScatterND], exporter: Exporter) -> None:
    x, indices, *updates = op.operands
    # onnxruntime reads i64 indices only.
    inputs = [x, exporter.node("Cast", [indices], to=onnx.TensorProto.INT64), *updates]
    exporter.write_as(op, type(op.operator).__name__, inputs, **asdict(op.operator))


@imports("OneHot")
def import_one_hot(node: Node, importer: Importer) -> Value:
    indices, values = node.input(0), node.input(2)
    # Of any numeric type, as ONNX has it.
    depth = node.constant(1, "the depth").reshape(-1).tolist()
    if len(depth) != 1 or depth[0] != depth[0] // 1:
        raise node.model_error("the depth must be one whole number", found=depth)
    return importer.emit_one(OneHot(int(depth[0]), node.axis(indices.type.rank + 1, -1)), indices, values)


@exports(OneHot)
def export_one_hot(op: Op[OneHot], exporter: Exporter) -> None:
    depth = exporter.integers([op.operator.depth], "depth")
    inputs = [op.operands.indices, depth, op.operands.values]
    exporter.write_as(op, "OneHot", inputs, axis=op.operator.axis)
