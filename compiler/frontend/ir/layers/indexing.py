"""Gather*, Scatter* and OneHot of IR; indices of versions 2 to 7 may be of any precision."""

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND
from .....ir.ops.unary import Neg
from .....ir.types import DType, TensorType
from ...expression import Expression
from ...movement import join, transpose
from ...shape import cast, flatten, reshape
from ..exporter import IrExporter, exports, exports_as
from ..importer import IrImporter, IrNode, legacy, opset
from .elementwise import combined, stated
from .movement import only_axis
from .shape import converted, type_of

REDUCTIONS = {"none": "none", "sum": "add", "prod": "mul", "min": "min", "max": "max"}
"""What ours are called; IR has ``sub`` and ``mean`` besides."""


def indices_of(node: IrNode, importer: IrImporter, index: int) -> Value:
    """Input ``index`` as indices."""
    value = node.input(index)
    if not value.type.dtype.is_integer:
        raise node.model_error("indices must be integers", found=value.type)
    return value if value.type.dtype in (DType.I32, DType.I64) else cast(importer, value, DType.I64)


@opset("Gather")
def import_gather(node: IrNode, importer: IrImporter) -> Value:
    """Since version 7 with leading dimensions that both operands share."""
    x, indices = node.input(0), indices_of(node, importer, 1)
    axis, shared = only_axis(node, 2, x.type.rank), node.int("batch_dims", 0)
    shared = shared + indices.type.rank if shared < 0 else shared
    if not 0 <= shared <= min(axis, indices.type.rank) or x.type.shape[:shared] != indices.type.shape[:shared]:
        raise node.model_error("the operands do not share the batch dimensions", expected=shared, found=indices.type)
    if not shared:
        return importer.emit_one(Gather(axis), x, indices)
    # With the axis behind the batch, slices are picked by tuples of one index each.
    rank, count = x.type.rank, indices.type.rank
    order = (*range(shared), axis, *range(shared, axis), *range(axis + 1, rank))
    single = reshape(importer, indices, (*indices.type.shape, 1))
    picked = importer.emit_one(GatherND(shared), transpose(importer, x, order), single)
    between = range(count, count + axis - shared)
    return transpose(
        importer, picked, (*range(shared), *between, *range(shared, count), *range(between.stop, picked.type.rank))
    )


@opset("GatherElements")
def import_gather_elements(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    operator = GatherElements(node.from_front(node.int("axis"), x.type.rank))
    return importer.emit_one(operator, x, indices_of(node, importer, 1))


@exports(GatherElements)
def export_gather_elements(op: Op[GatherElements], exporter: IrExporter) -> None:
    """Operands have the same extents there, apart from the axis."""
    axis, (x, indices) = op.operator.axis, map(exporter.tensor, op.operands)
    extents = [*op.result.type.shape]
    extents[axis] = x.type.shape[axis]
    if x.type.shape != tuple(extents):
        # Not with Slice: OpenVINO drops one before this layer.
        inputs = [exporter.integers([0] * len(extents), "begin"), exporter.integers(extents, "end")]
        none = [0] * len(extents)
        x = exporter.layer("StridedSlice", [x, *inputs], x.type.with_shape(extents), begin_mask=none, end_mask=none)
    exporter.write_as(op, "GatherElements", [x, indices], opset=6, axis=axis)


@opset("GatherND")
def import_gather_nd(node: IrNode, importer: IrImporter) -> Value:
    """Before version 8 the batch dimensions of the result are one."""
    shared = node.int("batch_dims", 0)
    y = importer.emit_one(GatherND(shared), node.input(0), indices_of(node, importer, 1))
    return y if node.opset >= 8 or shared < 2 else flatten(importer, y, 0, shared - 1)


exports_as(Gather, "Gather", opset=8, inputs={"axis": "axis"}, batch_dims=0)
exports_as(GatherND, "GatherND", opset=8)


def reduced(node: IrNode, importer: IrImporter, updates: Value) -> tuple[str, Value]:
    """How updates meet what is there, since version 12 and 15, and the updates for that."""
    reduction = node.word("reduction", "none")
    if reduction == "sub":
        return "add", importer.emit_one(Neg(), updates)
    if reduction not in REDUCTIONS:
        raise node.unsupported("the reduction is not supported", expected=", ".join(REDUCTIONS), found=reduction)
    if reduction != "none" and not node.bool("use_init_val", True):
        raise node.unsupported("a reduction that leaves out what is there is not supported")
    return REDUCTIONS[reduction], updates


@opset("ScatterElementsUpdate")
def import_scatter_elements(node: IrNode, importer: IrImporter) -> Value:
    x, indices = node.input(0), indices_of(node, importer, 1)
    reduction, updates = reduced(node, importer, node.input(2))
    return importer.emit_one(ScatterElements(only_axis(node, 3, x.type.rank), reduction), x, indices, updates)


@opset("ScatterUpdate")
def import_scatter(node: IrNode, importer: IrImporter) -> Value:
    """Whole slices along one axis, which comes first for that."""
    x, indices = node.input(0), indices_of(node, importer, 1)
    return scattered(importer, x, indices, node.input(2), only_axis(node, 3, x.type.rank))


def scattered(importer: IrImporter, x: Value, indices: Value, updates: Value, axis: int) -> Value:
    """A copy of ``x`` with slices along ``axis`` replaced."""
    rank, count = x.type.rank, indices.type.rank
    order = (axis, *range(axis), *range(axis + 1, rank))
    back = (*range(1, axis + 1), 0, *range(axis + 1, rank))
    slices = (*range(axis, axis + count), *range(axis), *range(axis + count, updates.type.rank))
    single = reshape(importer, indices, (*indices.type.shape, 1))
    front, moved = transpose(importer, x, order), transpose(importer, updates, slices)
    return transpose(importer, importer.emit_one(ScatterND(), front, single, moved), back)


@opset("ScatterNDUpdate")
def import_scatter_nd(node: IrNode, importer: IrImporter) -> Value:
    reduction, updates = reduced(node, importer, node.input(2))
    return importer.emit_one(ScatterND(reduction), node.input(0), indices_of(node, importer, 1), updates)


@exports(ScatterElements, ScatterND)
def export_scatter(op: Op[ScatterElements | ScatterND], exporter: IrExporter) -> None:
    inputs, type, opsets, attributes = [*op.operands], "ScatterNDUpdate", (4, 15), {}
    if isinstance(op.operator, ScatterElements):
        inputs, type, opsets = [*inputs, exporter.integers(op.operator.axis, "axis")], "ScatterElementsUpdate", (3, 12)
        attributes["use_init_val"] = True
    if op.operator.reduction == "none":
        exporter.write_as(op, type, inputs, opset=opsets[0])
        return
    reduction = next(name for name, ours in REDUCTIONS.items() if ours == op.operator.reduction)
    exporter.write_as(op, type, inputs, opset=opsets[1], reduction=reduction, **attributes)


@opset("OneHot")
def import_one_hot(node: IrNode, importer: IrImporter) -> Value:
    """Negative indices mean nothing, unless version 16 says that they count from the end."""
    indices, depth = indices_of(node, importer, 0), node.integers(1, "the depth")
    if len(depth) != 1:
        raise node.model_error("the depth must be one whole number", found=list(depth))
    ends = [reshape(importer, node.input(index), (1,)) for index in (3, 2)]
    operator = OneHot(depth[0], node.from_front(node.int("axis"), indices.type.rank + 1))
    if node.word("negative_indices_mode", "ignore_negative") != "normalize":
        given = Expression(importer, indices)
        indices = given.where(given < 0, depth[0], given).value
    return importer.emit_one(operator, indices, join(importer, ends, 0))


@exports(OneHot)
def export_one_hot(op: Op[OneHot], exporter: IrExporter) -> None:
    """Indices count from the front there, and fractions are none."""
    indices, values = map(exporter.tensor, op.operands)
    indices = converted(exporter, indices, DType.I64)
    depth = exporter.integers(op.operator.depth, "depth")
    is_negative = combined(exporter, "Less", indices, 0, DType.BOOL)
    ends = [is_negative, combined(exporter, "Add", indices, depth), indices]
    indices = exporter.layer("Select", ends, indices.type, auto_broadcast="numpy")
    number = TensorType((), values.type.dtype)
    off, on = (
        exporter.layer("Gather", [values, exporter.integers(i), exporter.integers(0)], number, opset=8, batch_dims=0)
        for i in range(2)
    )
    exporter.write_as(op, "OneHot", [indices, depth, on, off], axis=op.operator.axis)


@opset("NonZero")
def import_non_zero(node: IrNode, importer: IrImporter) -> Value:
    """How many there are must be known, as all shapes are."""
    places = np.nonzero(node.constant(0, "what is searched for elements other than 0"))
    return importer.constant(np.stack(places).astype(type_of(node, "output_type", "i64").numpy), node.name)


def _indices(importer: IrImporter, x: Value) -> Value:
    return x if x.type.dtype in (DType.I32, DType.I64) else cast(importer, x, DType.I32)


@legacy("Gather")
def import_legacy_gather(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    operator = Gather(node.from_front(node.int("axis", 0), x.type.rank))
    return importer.emit_one(operator, x, _indices(importer, node.input(1)))


@legacy("OneHot")
def import_legacy_one_hot(node: IrNode, importer: IrImporter) -> Value:
    """A new dimension of ``depth`` that holds ``on_value`` at the index, ``off_value`` elsewhere."""
    x = node.input(0)
    axis = node.from_front(node.int("axis", -1), x.type.rank + 1)
    values = np.array([node.float("off_value", 0.0), node.float("on_value", 1.0)], np.float32)
    result = importer.emit_one(OneHot(node.int("depth"), axis), x, importer.constant(values, "off_and_on"))
    return stated(node, importer, result)


@legacy("ScatterUpdate")
def import_legacy_scatter_update(node: IrNode, importer: IrImporter) -> Value:
    """A copy of x with elements along ``axis`` replaced: one for each index, or whole slices."""
    x, indices, updates = node.input(0), _indices(importer, node.input(1)), node.input(2)
    axis = node.from_front(node.int("axis", 0), x.type.rank)
    if updates.type.shape == indices.type.shape and indices.type.rank == x.type.rank:
        return importer.emit_one(ScatterElements(axis), x, indices, updates)
    return scattered(importer, x, indices, updates, axis)
