"""Normalisation of heads of attention before they are moved apart."""

from dataclasses import replace

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.elementwise import Mul
from ...ir.ops.movement import Slice, Transpose
from ...ir.ops.normalization import LayerNorm, RmsNorm
from ...ir.ops.shape import Reshape
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..named_ops import kept_ops, unless_kept
from ..pattern import Const, Driver, Match, Rule, node
from ..views import view_of


class NormalizedHeads(Pass):
    """Normalises queries and keys along the channels of a head before heads are cut out and exchanged with rows,
    as rows that are parts of the rows of the product that makes them. What is computed is the same, and a factor of
    each head behind it is one of channels.

    The accelerator has the rows of products; parts of tensors of five dimensions it has not, and attention reads heads
    where they lie. Comes before positions are looked for, which are multiples of such rows, too.
    ``keep``: names of operators, of source nodes or of results that stay as they are."""

    requires = (PLAIN, UNPLANNED)

    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(unless_kept(RULES, kept_ops(module, self.keep, self.name))).run(module, record)


def _before_movement(found: Match[LayerNorm | RmsNorm]) -> Value | None:
    op, x = found.root, found["x"]
    shape, last = x.type.shape, x.type.rank - 1
    seen = view_of(x, shape)
    base, (*strides, step) = seen.value, seen.strides
    channels = base.type.shape[-1] if base.type.rank else 1
    if op.operator.axis != last or step != 1 or shape[-1] >= channels or isinstance(base, Constant):
        return None
    # From the innermost dimension on: heads within a row, then rows.
    order = sorted((axis for axis in range(last) if shape[axis] > 1), key=lambda axis: strides[axis])
    width, stride = 0, shape[-1]
    for axis in order:
        if not width and strides[axis] != stride:
            width, stride = stride, channels
        if strides[axis] != stride:
            return None
        stride *= shape[axis]
    width = width or channels
    if stride != base.type.elements or seen.offset + width > channels:
        return None
    cut = x.producer.inputs[0].producer if is_op(x.producer, Reshape) else x.producer
    is_cut = width == channels or (is_op(cut, Slice) and cut.inputs[0] is base)
    if is_cut and last == 1:
        return None
    source = base
    if width < channels:
        source = found.emit(Slice.along(base.type.rank - 1, seen.offset, width, base.type.shape), base)
    rows = found.emit(Reshape((x.type.elements // shape[-1], shape[-1])), source)
    normalized = found.emit(replace(op.operator, axis=1), rows, *op.inputs[1:])
    places = [*(axis for axis in range(last) if shape[axis] == 1), *reversed(order), last]
    whole = found.emit(Reshape(source.type.shape), normalized)
    apart = found.emit(Reshape(tuple(shape[axis] for axis in places)), whole)
    return found.emit(Transpose(tuple(places.index(axis) for axis in range(x.type.rank))), apart)


def are_heads(op: Op | None) -> bool:
    """Whether an op makes rows of vectors that were normalised each by itself."""
    if not is_op(op, Reshape):
        return False
    made = op.inputs[0].producer
    return is_op(made, LayerNorm, RmsNorm) and made.result.type.shape[-1] < op.result.type.shape[-1]


def _factor(found: Match[Mul]) -> Value | None:
    moved, rows, shape = found.op("moved", Transpose), found["rows"], found.root.result.type.shape
    if shape != moved.result.type.shape or not are_heads(rows.producer):
        return None
    array = np.broadcast_to(found.constant("c").array, shape).transpose(np.argsort(moved.operator.perm))
    array = array.reshape(-1, rows.type.shape[-1])
    if (array != array[:1]).any():
        return None
    # Arithmetic with maps has integers, with one number for each channel it has none.
    map = np.broadcast_to(array[0], rows.type.shape[-2:])
    scaled = found.emit(Mul(), rows, found.add_constant(found["c"].name, map))
    return found.emit(moved.operator, found.emit(found.op("apart").operator, scaled))


RULES: tuple[Rule, ...] = (
    Rule("normalized_heads", node((LayerNorm, RmsNorm), "x"), _before_movement),
    Rule(
        "factor_of_normalized_heads",
        node(Mul, node(Transpose, node(Reshape, "rows", name="apart"), name="moved"), Const("c"), commutative=True),
        _factor,
    ),
)
