"""Shapes and element types of IR: what is known when importing becomes constants and attributes."""

from __future__ import annotations

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.ops.quantization import STORED
from .....ir.ops.shape import Cast, Expand, Reshape
from .....ir.types import DType
from ...shape import cast, expand, filled_in, progression, reshape, squeeze, unsqueeze
from ..document import ELEMENT_TYPES
from ..exporter import IrExporter, Tensor, exports
from ..exporter import element_type as name_of
from ..importer import IrImporter, IrNode, element_type, opset


def type_of(node: IrNode, name: str, default: str | None = None) -> DType:
    """The element type that attribute ``name`` asks for."""
    text = node.word(name, default)
    return element_type(ELEMENT_TYPES.get(text, text), node.layer)


@opset("Reshape")
def import_reshape(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    shape = filled_in(node, x.type, node.integers(1, "the shape"), zero_copies=node.bool("special_zero"))
    return reshape(importer, x, shape)


@exports(Reshape)
def export_reshape(op: Op[Reshape], exporter: IrExporter) -> None:
    shape = exporter.integers(op.operator.shape, "shape")
    exporter.write_as(op, "Reshape", [op.operands.x, shape], special_zero=False)


@opset("Squeeze")
def import_squeeze(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axes = node.integers(1, "the axes") if node.optional(1) is not None else ()
    if axes and node.bool("allow_axis_skip", False):
        axes = [a for a in axes if x.type.shape[node.from_front(a, x.type.rank)] == 1]
        return squeeze(node, importer, x, axes)
    return squeeze(node, importer, x, axes or None)


@opset("Unsqueeze")
def import_unsqueeze(node: IrNode, importer: IrImporter) -> Value:
    return unsqueeze(node, importer, node.input(0), node.integers(1, "the axes"))


@opset("Broadcast")
def import_broadcast(node: IrNode, importer: IrImporter) -> Value:
    """The mode says how the dimensions of x find theirs in the target shape."""
    x, target = node.input(0), node.integers(1, "the target shape")
    mode = node.word("mode", "numpy")
    if mode == "explicit":
        mapping = node.integers(2, "the axes")
        if len(mapping) != x.type.rank or sorted(set(mapping)) != list(mapping):
            raise node.model_error(
                "each dimension of x needs an axis, in order", expected=x.type.rank, found=list(mapping)
            )
        places = {
            node.from_front(axis, len(target)): extent for axis, extent in zip(mapping, x.type.shape, strict=True)
        }
        x = reshape(importer, x, tuple(places.get(d, 1) for d in range(len(target))))
    elif mode not in ("numpy", "bidirectional"):
        raise node.unsupported("the mode is not supported", expected="numpy, explicit or bidirectional", found=mode)
    result = expand(node, importer, x, target)
    if mode != "bidirectional" and result.type.shape != target:
        raise node.model_error("x does not expand to the target shape", expected=list(target), found=x.type)
    return result


@exports(Expand)
def export_expand(op: Op[Expand], exporter: IrExporter) -> None:
    shape = exporter.integers(op.operator.shape, "shape")
    exporter.write_as(op, "Broadcast", [op.operands.x, shape], opset=3, mode="numpy")


@opset("Convert")
def import_convert(node: IrNode, importer: IrImporter) -> Value:
    """Integers of weights and biases stay what they are: see the module ``quantization_chains``."""
    x, to = node.input(0), type_of(node, "destination_type")
    if importer.is_stored(x) and x.type.dtype in (*STORED, DType.I32) and to is DType.F32:
        return importer.function.append(Cast(to), [x], loc=(node.name,), names=[node.name]).result
    return cast(importer, x, to)


@opset("ConvertLike")
def import_convert_like(node: IrNode, importer: IrImporter) -> Value:
    return cast(importer, node.input(0), node.input(1).type.dtype)


def converted(exporter: IrExporter, x: Value | Tensor, to: DType) -> Tensor:
    """A tensor in another element type; itself where it has that."""
    tensor = exporter.tensor(x)
    if tensor.type.dtype is to:
        return tensor
    return exporter.layer("Convert", [tensor], tensor.type.with_dtype(to), destination_type=name_of(to))


def reshaped(exporter: IrExporter, x: Value | Tensor, shape: tuple[int, ...]) -> Tensor:
    """A tensor under another shape; itself where it has that. Constants stay constants."""
    if isinstance(x, Constant):
        return exporter.constant(x.array.reshape(shape), x.name)
    tensor = exporter.tensor(x)
    if tensor.type.shape == shape:
        return tensor
    wanted = exporter.integers(shape, "shape")
    return exporter.layer("Reshape", [tensor, wanted], tensor.type.with_shape(shape), special_zero=False)


@exports(Cast)
def export_cast(op: Op[Cast], exporter: IrExporter) -> None:
    exporter.write_as(op, "Convert", [op.operands.x], destination_type=name_of(op.operator.to))


@opset("ShapeOf")
def import_shape(node: IrNode, importer: IrImporter) -> Value:
    dtype = type_of(node, "output_type", "i64")
    return importer.constant(np.asarray(node.input(0).type.shape, dtype.numpy), node.name)


@opset("Range")
def import_range(node: IrNode, importer: IrImporter) -> Value:
    """Since version 4 an attribute says the element type; integers are made of floats by dropping the fraction."""
    numbers = [node.constant(i, what).reshape(-1)[0] for i, what in enumerate(("the start", "the stop", "the step"))]
    dtype = type_of(node, "output_type") if node.has("output_type") else DType.of(numbers[0].dtype)
    start, stop, step = (number.astype(dtype.numpy) if dtype.is_integer else number for number in numbers)
    return progression(node, importer, start, stop, step, dtype)


@opset("Eye")
def import_eye(node: IrNode, importer: IrImporter) -> Value:
    rows, columns, diagonal = (node.integers(i, "the extents and the diagonal")[0] for i in range(3))
    batch = node.integers(3, "the extents of the batch") if node.optional(3) is not None else ()
    dtype, shape = type_of(node, "output_type"), (*batch, rows, columns)
    return importer.described(
        node, shape, dtype, lambda: np.broadcast_to(np.eye(rows, columns, diagonal, dtype.numpy), shape).copy()
    )


@opset("Identity")
def import_identity(node: IrNode, importer: IrImporter) -> Value:
    return node.input(0)
