"""Gather*, Scatter* and OneHot of ONNX."""

from dataclasses import asdict

import numpy as np
import onnx

from .....ir.core import Op, Value
from .....ir.ops.elementwise import Mod
from .....ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND
from .....ir.types import DType
from ...expression import Expression
from ...movement import join, transpose
from ...shape import expand, reshape
from ..exporter import MICROSOFT, Exporter, exports
from ..importer import IMPORTS, Importer, Node, imports
from ..one_to_one import one_to_one

one_to_one("Gather", Gather, axis=0)
one_to_one("GatherElements", GatherElements, axis=0)
one_to_one("GatherND", GatherND, batch_dims=0)
one_to_one("Scatter", ScatterElements, axis=0, reduction="none")  # its name before version 11
one_to_one("ScatterElements", ScatterElements, axis=0, reduction="none")
one_to_one("ScatterND", ScatterND, reduction="none")
imports("GatherND", domain=MICROSOFT)(IMPORTS["", "GatherND"])


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
    indices, values = op.operands
    # onnxruntime counts indices of 32 bits by a depth of 32 bits alone.
    dtype = np.int32 if indices.type.dtype is DType.I32 else np.int64
    depth = exporter.constant(np.array([op.operator.depth], dtype), "depth")
    exporter.write_as(op, "OneHot", [indices, depth, values], axis=op.operator.axis)


@imports("ReverseSequence")
def import_reverse_sequence(node: Node, importer: Importer) -> Value:
    """The first elements of each sequence, as many as its length says, from the last to the first."""
    x, lengths = node.input(0), node.input(1)
    batch, time = (node.from_front(node.int(name, i), x.type.rank) for i, name in ((1, "batch_axis"), (0, "time_axis")))
    if batch == time or lengths.type.shape != (x.type.shape[batch],):
        raise node.model_error("there is not one length for each sequence", found=f"{lengths.type} of {x.type}")
    front = sorted((batch, time))
    perm = (*front, *(d for d in range(x.type.rank) if d not in front))
    ends = Expression(importer, reshape(importer, lengths, (*lengths.type.shape, 1)))
    steps = ends.operand(np.arange(x.type.shape[time]))
    indices = ends.where(steps < ends, ends - 1 - steps, steps).value
    if time < batch:
        indices = transpose(importer, indices, (1, 0))
    indices = reshape(importer, indices, (*indices.type.shape, 1))
    if time < batch:
        sequences = np.broadcast_to(np.arange(lengths.type.elements)[:, None], indices.type.shape)
        sequences = importer.constant(sequences.astype(lengths.type.dtype.numpy), "sequences")
        indices = join(importer, [indices, sequences], 2)
    y = importer.emit_one(GatherND(int(batch < time)), transpose(importer, x, perm), indices)
    return transpose(importer, y, tuple(perm.index(d) for d in range(x.type.rank)))


@imports("TensorScatter")
def import_tensor_scatter(node: Node, importer: Importer) -> Value:
    """What is new of each sample stands in the cache from its own index on."""
    cache, update, starts = node.input(0), node.input(1), node.optional(2)
    axis, mode = node.axis(cache.type.rank, -2), node.string("mode", "linear")
    if mode not in ("linear", "circular"):
        raise node.model_error("unknown mode", expected="linear or circular", found=mode)
    if axis == 0 or (starts is not None and starts.type.shape != cache.type.shape[:1]):
        raise node.model_error("there is not one index for each sample", found=f"axis {axis}, {cache.type}")
    behind = (1,) * (cache.type.rank - 1 - axis)
    dtype = starts.type.dtype.numpy if starts is not None else np.dtype(np.int64)
    steps = importer.constant(np.arange(update.type.shape[axis], dtype=dtype).reshape(-1, *behind), "steps")
    indices = Expression(importer, steps)
    if starts is not None:
        indices = reshape(importer, starts, (*starts.type.shape, *(1,) * (cache.type.rank - 1))) + indices
    if mode == "circular":
        indices = indices.apply(Mod(), cache.type.shape[axis])
    places = expand(node, importer, indices.value, update.type.shape)
    return importer.emit_one(ScatterElements(axis), cache, places, update)
