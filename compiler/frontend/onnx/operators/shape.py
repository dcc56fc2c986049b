"""Shapes, constants and element types of ONNX: what is known when importing becomes constants and attributes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from .....ir.core import Constant, Op, Value
from .....ir.ops.shape import BitCast, Cast, Expand, Reshape
from .....ir.types import DType
from ...shape import cast, expand, filled_in, progression, reshape, squeeze, unsqueeze
from ..exporter import MICROSOFT, Exporter, exports
from ..importer import Importer, Node, imports
from ..narrow_types import STORED, bits_of_element, code_of, narrowed, stored
from ..one_to_one import exports_as
from ..open_extents import open_operators
from ..open_extents.intervals import Extent, room
from ..tensors import element_type, stored_type

exports_as("Reshape", Reshape, inputs=("shape",), allowzero=1)
exports_as("Expand", Expand, inputs=("shape",))


@imports("Reshape")
def import_reshape(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    if importer.open.decides(node.input(1)) or importer.open.is_open(x):
        wanted = open_operators.extents_of(node, importer.open, 1, "the shape")
        return open_operators.reshaped(node, importer.open, x, wanted, zero_copies=not node.int("allowzero", 0))
    shape = filled_in(node, x.type, node.integers(1, "the shape"), zero_copies=not node.int("allowzero", 0))
    return reshape(importer, x, shape)


@imports("Flatten")
def import_flatten(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    axis = node.int("axis", 1)
    axis = axis + x.type.rank if axis < 0 else axis
    if not 0 <= axis <= x.type.rank:
        raise node.model_error("the axis is out of range", expected=f"0 to {x.type.rank}", found=axis)
    return reshape(importer, x, (math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis:])))


@imports("Squeeze")
def import_squeeze(node: Node, importer: Importer) -> Value:
    # No axes at all mean every one, as in onnxruntime.
    x, axes = node.input(0), node.attribute_or_input("axes", 1) or None
    if {node.from_front(axis, x.type.rank) for axis in axes or ()} & set(importer.open.axes(x)):
        raise importer.open.refusal("a squeeze", [x])
    return squeeze(node, importer, x, axes)


@imports("Unsqueeze")
def import_unsqueeze(node: Node, importer: Importer) -> Value:
    return unsqueeze(node, importer, node.input(0), node.attribute_or_input("axes", 1) or ())


@imports("Expand")
def import_expand(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    if importer.open.is_open(x) or importer.open.decides(node.input(1)):
        wanted = open_operators.extents_of(node, importer.open, 1, "the shape")
        return open_operators.expanded(node, importer.open, x, wanted)
    return expand(node, importer, x, node.integers(1, "the shape"))


imports("Cast")(lambda node, importer: _converted(node, importer, node.int("to")))


@imports("BitCast")
def import_bit_cast(node: Node, importer: Importer) -> Value:
    x, code = node.input(0), node.int("to")
    to = stored_type(code, node.name)
    of = importer.code_of(x)
    if any(each in STORED and bits_of_element(each) < 8 for each in (of, code)):
        raise node.unsupported("elements of less than 8 bits cannot be read as others")
    # Truth values are bytes of 0 and 1, and any other byte is true.
    is_truth = DType.BOOL in (x.type.dtype, to) and x.type.dtype.bytes == to.bytes
    result = importer.emit_one(Cast(to) if is_truth else BitCast(to), x)
    return importer.stored_as(code, result) if code in STORED else result


imports("CastLike")(lambda node, importer: _converted(node, importer, importer.code_of(node.input(1))))


def _converted(node: Node, importer: Importer, to: int) -> Value:
    x = node.input(0)
    if importer.narrow.get(x) == to:
        return x
    x = importer.numbers(x)
    if to not in STORED:
        dtype = element_type(to, node.name)
        # Integers that become what holds them are another value then.
        return importer.emit_one(Cast(dtype), x) if x in importer.narrow else cast(importer, x, dtype)
    mode = node.string("round_mode", "up")
    return importer.stored_as(to, narrowed(importer, x, to, node.bool("saturate", 1), mode))


@exports(Cast, BitCast)
def export_cast(op: Op[Cast | BitCast], exporter: Exporter) -> None:
    to = onnx.helper.np_dtype_to_tensor_dtype(op.result.type.dtype.numpy)
    exporter.write_as(op, type(op.operator).__name__, [op.operands.x], to=to)


@imports("Shape")
def import_shape(node: Node, importer: Importer) -> Value:
    shape = importer.open.shape(node.input(0))
    # Unlike a slice of Python, ONNX clamps start and end to the rank after counting from the back; the same here.
    return importer.open.vector(shape[node.int("start", 0) : node.int("end", len(shape))], f"{node.name}_shape")


@imports("Size")
def import_size(node: Node, importer: Importer) -> Value:
    size = importer.open.product(importer.open.shape(node.input(0)))
    return importer.open.number(size, f"{node.name}_size")


imports("Identity")(lambda node, importer: node.input(0))


@imports("Constant")
def import_constant(node: Node, importer: Importer) -> Value:
    for name in ("value", "sparse_value"):
        if node.has(name):
            return importer.constant(node.attributes[name], node.name)
    for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
        for given in (name, f"{name}s"):
            if node.has(given):
                return importer.constant(np.asarray(node.attributes[given], dtype), node.name)
    raise node.unsupported("only constants of numbers are supported", found=", ".join(node.attributes))


@imports("ConstantOfShape")
def import_constant_of_shape(node: Node, importer: Importer) -> Value:
    extents: Sequence[Extent] = node.integers(0, "the shape") if isinstance(node.input(0), Constant) else ()
    if not isinstance(node.input(0), Constant):
        wanted = open_operators.extents_of(node, importer.open, 0, "the shape")
        extents = open_operators.bounded(node, importer.open, wanted, "the shape")
    value = node.attributes.get("value", np.zeros(1, np.float32))
    filler, code = stored(value).reshape(-1)[0], code_of(value.dtype)
    shape = tuple(map(room, extents))
    filled = importer.described(node, shape, DType.of(filler.dtype), lambda: np.full(shape, filler))
    filled = importer.open.opened(filled, extents)
    return filled if code is None else importer.stored_as(code, filled)


@imports("EyeLike")
def import_eye_like(node: Node, importer: Importer) -> Value:
    x = node.input(0).type
    if x.rank != 2:
        raise node.model_error("EyeLike takes a matrix", found=list(x.shape))
    dtype = element_type(node.int("dtype"), node.name) if node.has("dtype") else x.dtype
    diagonal = node.int("k", 0)
    return importer.described(node, x.shape, dtype, lambda: np.eye(*x.shape, k=diagonal, dtype=dtype.numpy))


@imports("Range")
@imports("Range", domain=MICROSOFT)
def import_range(node: Node, importer: Importer) -> Value:
    if node.domain == MICROSOFT and node.optional(2) is None:
        one = importer.constant(np.ones((), node.input(0).type.dtype.numpy), "delta")
        node = replace(node, inputs=(*node.inputs[:2], one))
    if any(not isinstance(node.input(i), Constant) for i in range(3)):
        numbers = [open_operators.scalar_extent(node, importer.open, i, "the range") for i in range(3)]
        return open_operators.progression(node, importer.open, numbers, node.input(0).type.dtype)
    start, limit, delta = (node.constant(i, w).reshape(-1)[0] for i, w in enumerate(("start", "limit", "delta")))
    return progression(node, importer, start, limit, delta, DType.of(start.dtype))
