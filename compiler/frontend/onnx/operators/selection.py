"""NonZero, NonMaxSuppression, Unique and Compress of ONNX: the data decide how many there are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from .....ir.core import Op, Value
from .....ir.ops.indexing import Gather
from .....ir.ops.selection import Bounded, NonMaxSuppression, NonZero, Unique
from .....ir.types import DType
from ...shape import cast, reshape
from ..exporter import MICROSOFT, Exporter, exports
from ..importer import Importer, Node, imports
from ..open_extents.intervals import UNKNOWN, Extent, room
from ..open_extents.open_operators import scalar_extent, selected

imports("NonZero")(lambda node, importer: _nonzero(importer, node.input(0)))


def _nonzero(importer: Importer, x: Value) -> Value:
    positions, count = importer.open.once(NonZero(), importer.open.filled(x))
    return selected(importer.open, positions, 1, count)


@imports("Compress")
def import_compress(node: Node, importer: Importer) -> Value:
    """The slices whose places in the condition hold."""
    x, condition = node.input(0), node.input(1)
    if not node.has("axis"):
        x = reshape(importer, x, (x.type.elements,))
    axis = node.axis(x.type.rank) if node.has("axis") else 0
    if condition.type.rank != 1 or condition.type.elements > x.type.shape[axis]:
        raise node.model_error("the condition does not fit x", expected=x.type.shape[axis], found=condition.type)
    positions = _nonzero(importer, condition)
    line = reshape(importer, positions, positions.type.shape[1:])
    return importer.emit_one(Gather(axis), x, line)


@imports("Unique")
def import_unique(node: Node, importer: Importer) -> list[Value | None]:
    x = node.input(0)
    axis = node.axis(x.type.rank) if node.has("axis") else None
    positions, which, often, count = importer.emit(Unique(axis, node.bool("sorted", 1)), x)
    indices, counts = (selected(importer.open, value, 0, count, 1) for value in (positions, often))
    line = reshape(importer, x, (x.type.elements,)) if axis is None else x
    return [importer.emit_one(Gather(axis or 0), line, indices), indices, which, counts]


@imports("Unique", domain=MICROSOFT)
def import_unique_in_order(node: Node, importer: Importer) -> list[Value | None]:
    y, _, which, counts = import_unique(replace(node, attributes={"sorted": 0}), importer)
    return [y, which, counts]


@imports("NonMaxSuppression")
def import_non_max_suppression(node: Node, importer: Importer) -> Value:
    open = importer.open
    boxes, scores = (cast(importer, node.input(index), DType.F32) for index in range(2))
    most: Extent = 0
    if node.optional(2) is not None:
        most = scalar_extent(node, open, 2, "max_output_boxes_per_class")
    overlap, threshold = (_number(node, importer, index, default) for index, default in ((3, 0.0), (4, -np.inf)))
    if boxes.type.rank != 3 or scores.type.rank != 3:
        raise node.model_error("boxes and scores need three dimensions", found=f"{boxes.type} and {scores.type}")
    shapes = open.shape(boxes), open.shape(scores)
    pair = room(open.same(shapes[0][0], shapes[1][0])), room(open.same(shapes[0][1], shapes[1][2]))
    # Filler loses, whatever the threshold is.
    scores = open.cut(open.filled(scores, np.nan), (pair[0], scores.type.shape[1], pair[1]))
    boxes = open.cut(boxes, (*pair, 4))
    limit = most if isinstance(most, int) else most.most
    operator = NonMaxSuppression(max(0, min(limit, UNKNOWN, pair[1])), node.bool("center_point_box", 0))
    rows, count = open.once(operator, boxes, scores, open.value(most), overlap, threshold)
    return selected(open, rows, 0, count)


def _number(node: Node, importer: Importer, index: int, default: float) -> Value:
    """An input of one number, f32[]."""
    value = node.optional(index)
    if value is None:
        return importer.constant(np.asarray(default, np.float32), "threshold")
    if value.type.elements != 1:
        raise node.model_error("a threshold must be one number", found=value.type)
    return reshape(importer, cast(importer, value, DType.F32), ())


@exports(NonZero)
def export_nonzero(op: Op[NonZero], exporter: Exporter) -> None:
    found = exporter.node("NonZero", [op.operands.x])
    filled = _filled(exporter, found, op.results[0].type.shape, 1)
    exporter.define(op, filled, _count(exporter, found, 1))


@exports(NonMaxSuppression)
def export_non_max_suppression(op: Op[NonMaxSuppression], exporter: Exporter) -> None:
    *pair, most, overlap, threshold = op.operands
    limit = exporter.node("Min", [most, exporter.integers(np.asarray(op.operator.room), "room")])
    numbers: Sequence[Value | str] = [limit, overlap, threshold]
    line = exporter.integers([1], "line")
    lines = [exporter.node("Reshape", [number, line]) for number in numbers]
    found = exporter.node("NonMaxSuppression", [*pair, *lines], center_point_box=int(op.operator.centred))
    filled = _filled(exporter, found, op.results[0].type.shape, 0)
    exporter.define(op, filled, _count(exporter, found, 0))


@exports(Unique)
def export_unique(op: Op[Unique], exporter: Exporter) -> None:
    shape = op.results[0].type.shape
    axis, is_sorted = op.operator.axis, int(op.operator.sorted)
    _, first, which, times = exporter.nodes_of("Unique", [op.operands.x], 4, axis=axis, sorted=is_sorted)
    filled = [_filled(exporter, name, shape, 0) for name in (first, times)]
    exporter.define(op, filled[0], which, filled[1], _count(exporter, first, 0))


@exports(Bounded)
def export_bounded(op: Op[Bounded], exporter: Exporter) -> None:
    """Plus 0 from a table of one number, whose index is 1 where there is an error."""
    x, limit = op.operands
    zero = exporter.integers(np.asarray(0), "zero")
    wrong = exporter.node("Or", [exporter.node("Less", [x, zero]), exporter.node("Greater", [x, limit])])
    index = exporter.node("Cast", [wrong], to=onnx.TensorProto.INT64)
    nothing = exporter.node("Gather", [exporter.integers([0], "nothing"), index], axis=0)
    exporter.define(op, exporter.node("Add", [x, nothing]))


def _filled(exporter: Exporter, name: str, shape: Sequence[int], axis: int) -> str:
    """A tensor of an extent that the data decide, and zeros up to a shape behind it."""
    zeros = exporter.constant(np.zeros(shape, np.int64), "zeros")
    whole = exporter.node("Concat", [name, zeros], axis=axis)
    lists = ([0], [shape[axis]], [axis])
    return exporter.node("Slice", [whole, *(exporter.integers(values, "slice") for values in lists)])


def _count(exporter: Exporter, name: str, axis: int) -> str:
    """The extent of a tensor along an axis."""
    shape = exporter.node("Shape", [name])
    return exporter.node("Gather", [shape, exporter.integers(np.asarray(axis), "axis")], axis=0)
