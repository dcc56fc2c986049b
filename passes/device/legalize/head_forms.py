"""Heads, [N, heads, M, C], between what makes rows of them and what reads such, as rows. All rules are exact."""

import math

import numpy as np

from ....ir.core import Constant, Op, Value, is_op
from ....ir.feature_map import MAP_RANKS
from ....ir.ops.attention import Attention
from ....ir.ops.movement import Pad, Slice, Split, Transpose
from ....ir.ops.quantization import Requantize
from ....ir.ops.shape import Reshape
from ...pattern import Match, Rule, node, on_quantized
from ...views import LEVELS, view_of, written
from .movement_forms import is_quantized
from .row_forms import BY_ELEMENT, has_rows

_SIDE_BY_SIDE = (0, 2, 1, 3)
"""The order of dimensions in which the heads of a row lie beside each other."""


def _are_side_by_side(op: Op[Reshape]) -> bool:
    """Whether a reshape makes rows of heads that were brought beside each other."""
    heads, y = op.inputs[0].type.shape, op.result.type
    width = y.shape[1 if has_rows(y) else -1]
    return len(heads) == 4 and heads[2] > 1 and width == heads[2] * heads[3] and y.elements > 0


def _as_rows(found: Match, heads: Value) -> Value:
    """Heads as rows of channels, [N M, heads C, 1, 1]."""
    images, count, rows, width = heads.type.shape
    moved = found.emit(Transpose(_SIDE_BY_SIDE), heads)
    return found.emit(Reshape((images * rows, count * width, 1, 1)), moved)


def _before_heads_move(found: Match[Reshape]) -> Value | None:
    """What is computed element by element, or padded with rows, in front of a movement to rows comes behind it."""
    op, y = found.op("op"), found.root.result.type
    if found.op("moved", Transpose).operator.perm != _SIDE_BY_SIDE or not _are_side_by_side(found.root):
        return None
    images, count, rows, width = op.result.type.shape
    if is_op(op, Pad):
        pads = op.operator.pads
        if any(pad for axis, pad in enumerate(pads) if axis % 4 != 2):
            return None
        x = _as_rows(found, op.inputs[0])
        x = found.emit(Reshape((images, op.inputs[0].type.shape[2], count * width)), x)
        pad = Pad((0, pads[2], 0, 0, pads[6], 0), op.operator.mode, op.operator.value)
        return found.emit(Reshape(y.shape), found.emit(pad, x))
    shape, operands = (images * rows, count * width, 1, 1), list[Value]()
    for value in op.inputs:
        if isinstance(value, Constant) and value.type.has_one_scale:
            array = np.broadcast_to(value.array, op.result.type.shape).transpose(_SIDE_BY_SIDE).reshape(shape)
            array = array[:1] if (array == array[:1]).all() else array
            operands.append(found.add_constant(value.name, array, value.type.with_shape(array.shape)))
        elif value.type.shape == op.result.type.shape:
            operands.append(_as_rows(found, value))
        else:
            return None
    result = found.emit(op.operator, *operands, result_types=[op.result.type.with_shape(shape)])
    return found.emit(Reshape(y.shape), result)


def _written_as_rows(found: Match[Reshape]) -> Value | None:
    """Attention writes its heads where they lie beside each other."""
    op, y = found.op("op", Attention), found.root.result.type
    if found.op("moved", Transpose).operator.perm != _SIDE_BY_SIDE or not _are_side_by_side(found.root):
        return None
    images, count, rows, width = heads = op.result.type.shape
    strides, shape = (rows * count * width, width, count * width, 1), (images, rows, count, width)
    placed = written(op.operator, heads, strides, shape)
    if placed is None:
        return None
    return found.emit(Reshape(y.shape), found.emit(placed, *op.operands, result_types=[y.with_shape(placed.shape)]))


def _part_of_rows(found: Match[Reshape]) -> Value | None:
    """Heads that were taken apart and moved, of which some columns of some rows are left: cut out of the rows."""
    y, source, chain = found.root.result, found.root.inputs[0], list[Op]()
    while (
        len(chain) < LEVELS and not has_rows(source.type) and is_op(source.producer, Reshape, Transpose, Slice, Split)
    ):
        chain.append(source.producer)
        source = source.producer.inputs[0]
    is_moved = all(any(is_op(op, *each) for op in chain) for each in ((Slice, Split), (Transpose,)))
    if not is_moved or source.type.rank < 2 or y.type.rank not in MAP_RANKS[1:] or not y.type.elements:
        return None
    shape, is_turned = y.type.shape, not has_rows(y.type)
    if is_turned and shape[0] != 1:
        return None
    width = source.type.shape[1 if has_rows(source.type) else -1]
    count = source.type.elements // width
    rows, columns = (math.prod(shape[2:]), shape[1]) if is_turned else shape[:2]
    seen = view_of(y, (columns, rows) if is_turned else (rows, columns), len(chain) + 1)
    strides = seen.strides[::-1] if is_turned else seen.strides
    row, column = divmod(seen.offset, width)
    is_part = all(n == 1 or a == b for n, a, b in zip((rows, columns), strides, (width, 1), strict=True))
    if seen.value is not source or not is_part or row + rows > count or column + columns > width:
        return None
    source = found.emit(Reshape((count, width, 1, 1)), source)
    part = found.emit(Slice((row, column, 0, 0), (rows, columns, 1, 1), (1,) * 4), source)
    if is_turned:
        part = found.emit(Transpose((0, 2, 1)), found.emit(Reshape((1, rows, columns)), part))
    return found.emit(Reshape(shape), part)


_MOVED = (*BY_ELEMENT, Pad, Requantize)

RULES: tuple[Rule, ...] = on_quantized(
    Rule(
        "before_heads_move",
        node(Reshape, node(Transpose, node(_MOVED, name="op"), name="moved"), where=is_quantized),
        _before_heads_move,
    ),
    Rule(
        "heads_written_as_rows",
        node(Reshape, node(Transpose, node(Attention, name="op"), name="moved"), where=is_quantized),
        _written_as_rows,
    ),
    Rule("part_of_rows", node(Reshape, where=is_quantized), _part_of_rows),
)
"""In the order in which they are tried at each op."""
