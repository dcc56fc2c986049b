"""Values as views of what they are a part or another order of: an offset, and a stride for each dimension."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tilewright.immutable import Immutable

from ..ir.core import Constant, Op, Value, is_op
from ..ir.layout import loops_of_dimensions, row_major
from ..ir.ops.attention import Attention
from ..ir.ops.indexing import Gather
from ..ir.ops.movement import Slice, Split, Transpose
from ..ir.ops.quantization import Dequantize
from ..ir.ops.shape import Expand, Reshape
from ..ir.quantized import EIGHT_BIT

LEVELS = 16
"""So many ops are looked back over at most."""


class View(Immutable):
    """How elements are visited in the memory of a value: the first, and a stride for each dimension."""

    value: Value
    offset: int
    strides: tuple[int, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.offset, *self.strides)


def is_known(value: Value) -> bool:
    """Whether a value is a constant, be it of integers that weights were rounded to already."""
    op = value.producer
    return isinstance(value, Constant) or (is_op(op, Dequantize) and isinstance(op.operands.x, Constant))


def regrouped(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> tuple[int, ...] | None:
    """The strides of a view under another shape of as many elements; ``None`` if there are none."""
    dimensions = loops_of_dimensions(zip(shape, strides, strict=True), target)
    if dimensions is None or any(len(loops) > 1 for loops in dimensions):
        return None
    return tuple(loops[0][1] if loops else 0 for loops in dimensions)


def written(
    attention: Attention, apart: Sequence[int], strides: Sequence[int], shape: Sequence[int]
) -> Attention | None:
    """Attention whose result, of extents ``apart``, lies with these strides in a tensor of this shape; ``None`` if it
    is not written in order yet, or no such strides do."""
    extents = (*attention.batch, attention.rows, attention.depth)
    found = regrouped(apart, strides, extents) if attention.y_view == (0, *row_major(extents)) else None
    return replace(attention, shape=tuple(shape), y_view=(0, *found)) if found is not None else None


def view_of(value: Value, shape: Sequence[int], levels: int = LEVELS) -> View:
    """A value under another shape, as a view of what it is a part or another order of, at most so many ops before."""
    op = value.producer
    is_number = op is not None and is_op(op, Dequantize) and op.inputs[0].type.dtype in EIGHT_BIT
    if op is not None and (is_op(op, Reshape) or is_number) and levels:
        return view_of(op.inputs[0], shape, levels - 1)
    if is_op(op, Transpose) and value.type.elements and levels:
        ends, reached = np.cumprod(value.type.shape), np.cumprod(shape)
        if {*ends} <= {1, *reached}:
            # Each dimension is a part of one that was moved.
            axes, perm = np.searchsorted(ends, reached), op.operator.perm
            order = sorted(range(len(shape)), key=lambda place: perm[axes[place]])
            before = view_of(op.inputs[0], [shape[place] for place in order], levels - 1)
            strides = (before.strides[order.index(place)] for place in range(len(shape)))
            return View(before.value, before.offset, (*strides,))
    if (
        levels
        and is_op(op, Split, Slice)
        and value.type.shape[:1] == (1,)
        and value.type.shape[1:] == op.inputs[0].type.shape[1:]
    ):
        # One of several tensors, whatever the shape of each.
        x, operator = op.inputs[0], op.operator
        place = operator.begin[0] if isinstance(operator, Slice) else op.results.index(value)
        whole = view_of(x, (x.type.shape[0], *shape), levels - 1)
        first, *strides = whole.strides
        return View(whole.value, whole.offset + place * first, (*strides,))
    seen = _moved(op, value, levels - 1) if op is not None and op.inputs and levels else None
    strides = regrouped(value.type.shape, seen.strides, shape) if seen is not None else None
    if seen is None or strides is None:
        return View(value, 0, row_major(shape))
    return View(seen.value, seen.offset, strides)


def _moved(op: Op, value: Value, levels: int) -> View | None:
    """The result of an op that takes a part of its operand, repeats it or exchanges dimensions."""
    if not is_op(op, Transpose, Slice, Split, Gather, Expand):
        return None
    x = op.inputs[0]
    source = view_of(x, x.type.shape, levels)
    before, strides, operator = 0, source.strides, op.operator
    if isinstance(operator, Transpose):
        strides = tuple(strides[axis] for axis in operator.perm)
    elif isinstance(operator, Slice):
        before = sum(begin * stride for begin, stride in zip(operator.begin, strides, strict=True))
        strides = tuple(step * stride for step, stride in zip(operator.step, strides, strict=True))
    elif isinstance(operator, Split):
        before = sum(operator.sizes[: op.results.index(value)]) * strides[operator.axis]
    elif isinstance(operator, Expand):
        strides = broadcast(x.type.shape, strides, operator.shape)
    else:
        index = op.inputs[1]
        if not isinstance(index, Constant) or index.type.elements != 1:
            return None
        axis, number = operator.axis, int(index.array.reshape(()))
        if not -x.type.shape[axis] <= number < x.type.shape[axis]:
            return None
        before = number % x.type.shape[axis] * strides[axis]
        strides = (*strides[:axis], *(0,) * index.type.rank, *strides[axis + 1 :])
    return View(source.value, source.offset + before, strides)


def broadcast(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    """The strides of a view along a larger shape."""
    moved = [0 if extent == 1 else stride for extent, stride in zip(shape, strides, strict=True)]
    return (*(0,) * (len(target) - len(shape)), *moved)


def matrix_views(
    sides: Sequence[tuple[Value, bool, tuple[int, ...]]], batch: tuple[int, ...], matrices: Sequence[tuple[int, int]]
) -> tuple[tuple[int, ...], list[View]] | None:
    """The batch dimensions under which least has to be copied, and the views of the operands under them; ``None`` if
    operands that are shared have none.
    ``sides``: operands, whether their matrices are transposed, and the batch dimensions of the product that reads them.
    ``batch``: that of scores.
    ``matrices``: rows and columns of each."""

    def views(batch: tuple[int, ...]) -> list[View] | None:
        found = []
        for (value, is_turned, level), matrix in zip(sides, matrices, strict=True):
            matrix = matrix[::-1] if is_turned else matrix
            seen = _regrouped_view(value, (*level, *matrix), (*batch, *matrix))
            if seen is None:
                return None
            found.append(replace(seen, strides=(*seen.strides[:-2], *seen.strides[:-3:-1])) if is_turned else seen)
        return found

    # Where keys are repeated for groups of queries, or images and heads are of one dimension, others were joined.
    inner = (shape for value, *_ in sides for shape in _outer_shapes(value))
    candidates = dict.fromkeys((batch, *(shape for shape in inner if math.prod(shape) == math.prod(batch))))
    seen = [(each, found) for each in candidates if (found := views(each)) is not None]

    def copied(each: tuple[tuple[int, ...], list[View]]) -> tuple[int, int]:
        values = [view.value for view in each[1]]
        return sum(value.type.elements for value in values), sum(is_op(value.producer, Transpose) for value in values)

    return min(seen, key=copied, default=None)


def _outer_shapes(value: Value) -> Iterator[tuple[int, ...]]:
    """Dimensions before the last two that a value had before it was moved, and the last ones of these."""
    for _ in range(LEVELS):
        op = value.producer
        if not is_op(op, Reshape, Transpose, Slice, Split, Dequantize):
            return
        value = op.inputs[0]
        outer = value.type.shape[:-2] if is_op(op, Reshape) else ()
        yield from (outer[first:] for first in range(len(outer)))


def _regrouped_view(value: Value, level: tuple[int, ...], shape: tuple[int, ...]) -> View | None:
    """A value that may be repeated in ``level``, in as many elements of another shape."""
    if value.type.elements == math.prod(shape):
        return view_of(value, shape)
    seen = view_of(value, value.type.shape)
    strides = regrouped(level, broadcast(value.type.shape, seen.strides, level), shape)
    return replace(seen, strides=strides) if strides is not None else None


def exchanged(value: Value) -> tuple[int, ...]:
    """The order of dimensions in which the last two change places."""
    rank = value.type.rank
    return (*range(rank - 2), rank - 1, rank - 2)
