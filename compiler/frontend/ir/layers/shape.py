"""Shapes, element types and constants of IR: what is known when importing becomes constants and attributes.

In versions 2 to 7 attributes or a second input state shapes, for a batch that the file may fix.
"""

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.ops.quantization import STORED
from .....ir.ops.shape import Cast, Expand, Reshape
from .....ir.types import DType
from ...shape import cast, expand, filled_in, flatten, progression, reshape, squeeze, unsqueeze
from ..document import ELEMENT_TYPES
from ..exporter import IrExporter, Tensor, exports, exports_as
from ..exporter import element_type as name_of
from ..importer import IrImporter, IrNode, element_type, legacy, opset


def type_of(node: IrNode, name: str, default: str | None = None) -> DType:
    """The element type that attribute ``name`` asks for."""
    text = node.word(name, default)
    return element_type(ELEMENT_TYPES.get(text, text), node.layer)


@opset("Reshape")
def import_reshape(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    shape = filled_in(node, x.type, node.integers(1, "the shape"), zero_copies=node.bool("special_zero"))
    return reshape(importer, x, shape)


exports_as(Reshape, "Reshape", inputs={"shape": "shape"}, special_zero=False)
exports_as(Expand, "Broadcast", opset=3, inputs={"shape": "shape"}, mode="numpy")


@opset("Squeeze")
def import_squeeze(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axes = node.integers(1, "the axes") if node.optional(1) is not None else ()
    if axes and node.bool("allow_axis_skip", False):
        axes = [a for a in axes if x.type.shape[node.from_front(a, x.type.rank)] == 1]
        return squeeze(node, importer, x, axes)
    return squeeze(node, importer, x, axes or None)


opset("Unsqueeze")(lambda node, importer: unsqueeze(node, importer, node.input(0), node.integers(1, "the axes")))


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


@opset("Convert")
def import_convert(node: IrNode, importer: IrImporter) -> Value:
    """Integers of weights and biases stay what they are: see the module ``quantization_chains``."""
    x, to = node.input(0), type_of(node, "destination_type")
    if importer.is_stored(x) and x.type.dtype in (*STORED, DType.I32) and to is DType.F32:
        return importer.function.append(Cast(to), [x], loc=(node.name,), names=[node.name]).result
    return cast(importer, x, to)


opset("ConvertLike")(lambda node, importer: cast(importer, node.input(0), node.input(1).type.dtype))


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


opset("Identity")(legacy("Copy", "Identity", "Dropout")(lambda node, importer: node.input(0)))


@opset("Const")
def import_constant(node: IrNode, importer: IrImporter) -> Value:
    element_type = node.text("element_type")
    if element_type.lower() not in ELEMENT_TYPES:
        expected = ", ".join(ELEMENT_TYPES)
        raise node.unsupported("the element type is not supported", expected=expected, found=repr(element_type[:60]))
    return importer.array(node, "custom", node.ints("shape", ()))


_BATCH = "Only 0 and -1 follow another batch; give inputs the batch of the file."


def _axes(node: IrNode, name: str) -> tuple[int, ...] | None:
    """Dimensions of the second input, or of an attribute; ``None`` where neither names any."""
    if node.optional(1) is not None:
        return node.integers(1, "the dimensions")
    return node.ints(name) if node.has(name) and node.text(name).strip() else None


@legacy("Reshape")
def import_legacy_reshape(node: IrNode, importer: IrImporter) -> Value:
    """x under the shape ``dim``, in place of its dimensions ``axis`` to ``axis + num_axes``."""
    x = node.input(0)
    wanted = _axes(node, "dim")
    if wanted is None:
        wanted = node.output_shape()
    axis = node.int("axis", 0)
    # An axis counts from the front, or from behind the last dimension.
    first = axis if axis >= 0 else axis + x.type.rank + 1
    count = node.int("num_axes", -1)
    last = x.type.rank if count == -1 else first + count
    if not 0 <= first <= last <= x.type.rank:
        raise node.model_error(
            "axis and num_axes leave the input", expected=f"0 to {x.type.rank}", found=f"{axis} and {count}"
        )
    # 0 stands for the extent that is there.
    copied = dict(enumerate(x.type.shape[first:]))
    inner = (copied.get(d, 0) if extent == 0 else extent for d, extent in enumerate(wanted))
    full = (*x.type.shape[:first], *inner, *x.type.shape[last:])
    _check_batch(node, x, full if first else wanted)
    shape = filled_in(node, x.type, full)
    if x.type.elements != x.type.with_shape(shape).elements:
        raise node.model_error(
            "the shape does not hold the elements of the input", expected=x.type, found=list(shape), hint=_BATCH
        )
    return reshape(importer, x, shape)


def _check_batch(node: IrNode, x: Value, wanted: tuple[int, ...]) -> None:
    """Raise ModelError where the shape fixes the batch of the file, and -1 would mix images of another one."""
    stated = node.layer.inputs[0].shape
    if not (stated and wanted and x.type.rank == len(stated)) or wanted[0] < 1:
        return
    if wanted[0] == stated[0] != x.type.shape[0]:
        raise node.model_error(
            "the shape fixes the batch", expected=f"a batch of {wanted[0]}", found=x.type, hint=_BATCH
        )


@legacy("Flatten")
def import_legacy_flatten(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    first, last = (node.from_front(node.int(name, each), x.type.rank) for name, each in (("axis", 1), ("end_axis", -1)))
    if first > last:
        raise node.model_error("axis is behind end_axis", found=f"{first} and {last}")
    return flatten(importer, x, first, last)


legacy("Squeeze")(lambda node, importer: squeeze(node, importer, node.input(0), _axes(node, "axes") or None))
legacy("Unsqueeze")(lambda node, importer: unsqueeze(node, importer, node.input(0), _axes(node, "axes") or ()))
legacy("Broadcast")(lambda node, importer: expand(node, importer, node.input(0), node.integers(1, "the shape")))


@legacy("Shape", "ShapeOf")
def import_legacy_shape(node: IrNode, importer: IrImporter) -> Value:
    return importer.constant(np.asarray(node.input(0).type.shape, np.int32), f"{node.name}_shape")


legacy("Const")(lambda node, importer: importer.array(node, "custom", node.output_shape()))


@legacy("Fill")
def import_legacy_fill(node: IrNode, importer: IrImporter) -> Value:
    shape, value = node.integers(0, "the shape"), node.constant(1, "the value").reshape(-1)
    if value.size != 1:
        raise node.model_error("one value fills a tensor", found=value.size)
    return importer.described(node, shape, DType.of(value.dtype), lambda: np.full(shape, value[0]))


@legacy("Range")
def import_legacy_range(node: IrNode, importer: IrImporter) -> Value:
    start, limit, delta = (node.constant(i, w).reshape(-1)[0] for i, w in enumerate(("start", "limit", "delta")))
    return progression(node, importer, start, limit, delta, DType.of(start.dtype))
