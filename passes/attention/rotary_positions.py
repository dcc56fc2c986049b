"""Vectors turned by their positions, as multiples of the rows of products."""

import numpy as np

from tilewright.immutable import Immutable

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.elementwise import Add, Mul, Sub
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Slice, Split, Transpose
from ...ir.ops.shape import Expand, Reshape
from ...ir.ops.unary import Neg
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..named_ops import kept_ops
from ..pattern import Driver, Match, Rule, node
from ..quantization.quantizable import is_anchor
from ..views import LEVELS
from .normalized_heads import are_heads

_MOVING = (Reshape, Transpose, Slice, Split, Expand, Gather)

_MOST = 1 << 24
"""Elements of a tensor that is looked at; of longer sequences each would take hundreds of megabytes here."""


class RotaryPositions(Pass):
    """Replaces what turns vectors by their positions, ``x * cos + rotated(x) * sin``, by two multiples of the rows of
    the product that x comes of, or of its heads as they are normalised: its channels, and the same ones in another
    order, each times a constant.

    However halves or neighbours are cut out, negated and joined, in heads or before, of some of the rows and channels
    or of all: numbers of the result are sums of two numbers of one row of the product, the same two channels in every
    row, times constants. Rows and their channels are maps that the accelerator has; parts of heads are not. Comes
    before calibration: the values that are calibrated are those of the two multiples.
    ``keep``: names of operators, of source nodes or of results that stay as they are."""

    requires = (PLAIN, UNPLANNED)

    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        kept = kept_ops(module, self.keep, self.name)
        rule = Rule("rotary_positions", node((Add, Sub, Concat)), lambda found: _turned_rows(found, kept))
        return Driver((rule,)).run(module, record)


class _Sum(Immutable):
    """A tensor each of whose elements is a sum of multiples of elements of another one.

    Attributes:
        base: the other one.
        index: int64 [terms, *shape], which elements.
        factor: float32 [terms, *shape].
        ops: between the two.
    """

    base: Value
    index: np.ndarray
    factor: np.ndarray
    ops: tuple[Op, ...] = ()


def _sum_of(value: Value, seen: dict[Value, _Sum | None], levels: int = LEVELS) -> _Sum | None:
    """A value as a sum of multiples of what a product makes; ``None`` for any other, and where there are many."""
    if value not in seen:
        seen[value] = _found_sum(value, seen, levels)
    return seen[value]


def _found_sum(value: Value, seen: dict[Value, _Sum | None], levels: int) -> _Sum | None:
    op, shape = value.producer, value.type.shape
    if op is None or not levels or not 0 < value.type.elements <= _MOST:
        return None
    if (is_op(op, MatMul) and is_anchor(op)) or are_heads(op):
        return _Sum(value, np.arange(value.type.elements).reshape(1, *shape), np.ones((1, *shape), np.float32))
    constants = [each.array for each in op.inputs if isinstance(each, Constant)]
    if not is_op(op, *_MOVING, Neg, Mul, Add, Sub, Concat) or (constants and is_op(op, Add, Sub, Concat)):
        return None  # Known before anything is made of what such an op reads.
    sums: list[_Sum] = []
    for each in (value for value in op.inputs if not isinstance(value, Constant)):
        term = _sum_of(each, seen, levels - 1)
        if term is None:
            return None
        sums.append(term)
    if len({each.base for each in sums}) != 1:
        return None
    ops = (op, *dict.fromkeys(inner for each in sums for inner in each.ops))
    first, index, factor = sums[0], sums[0].index, sums[0].factor
    if is_op(op, *_MOVING):
        place = op.results.index(value)

        def moved(array: np.ndarray) -> np.ndarray:
            made = op.operator.reference(array, *constants)
            return made[place] if isinstance(made, (tuple, list)) else made

        index, factor = (np.stack([moved(term) for term in each]) for each in (index, factor))
    elif is_op(op, Neg):
        factor = -factor
    elif is_op(op, Mul) and constants and first.index.shape[1:] == shape:
        factor = factor * constants[0]
    elif is_op(op, Add, Sub) and all(each.index.shape[1:] == shape for each in sums):
        index = np.concatenate([each.index for each in sums])
        factor = np.concatenate([factor, -sums[1].factor if is_op(op, Sub) else sums[1].factor])
    elif is_op(op, Concat):
        most = max(len(each.index) for each in sums)
        # What has fewer terms adds none of itself.
        indices = [each.index[[*range(len(each.index)), *[0] * (most - len(each.index))]] for each in sums]
        factors = [np.pad(e.factor, [(0, most - len(e.index)), *[(0, 0)] * len(shape)]) for e in sums]
        index, factor = (np.concatenate(each, 1 + op.operator.axis) for each in (indices, factors))
    else:
        return None
    return _Sum(first.base, index, factor, ops) if len(index) <= 2 else None


def _turned_rows(found: Match[Add | Sub | Concat], kept: set[Op]) -> Value | None:
    whole = _sum_of(found.root.result, {})
    if whole is None or len(whole.index) < 2 or not kept.isdisjoint(whole.ops):
        return None
    base, y = whole.base, found.root.result
    *outer, channels = base.type.shape
    count, rest = divmod(y.type.elements, base.type.elements // channels)
    if rest or all(is_op(op, Add, Mul, Gather) for op in whole.ops):
        return None  # Some of the rows, or what has this form.
    index, factor = (each.reshape(2, -1) for each in (whole.index, whole.factor))
    # Of two numbers for each element, the one that comes first in the first row, and that of no element before.
    differ = index[0] != index[1]
    if index[0, at := differ.argmax()] > index[1, at]:
        index, factor = (np.where(differ, each[::-1], each) for each in (index, factor))
    repeated = np.ones(index.shape[1], np.bool_)
    repeated[np.unique(index[0], return_index=True)[1]] = False
    index, factor = (np.where(repeated, each[::-1], each) for each in (index, factor))
    # Where elements of the result are if those of each row follow each other.
    order = np.argsort(index[0])
    index, factor = (each[:, order].reshape(2, -1, count) for each in (index, factor))
    # Whatever channel it is that adds nothing is any.
    rows, picked = np.divmod(index, channels)
    first = np.take_along_axis(picked, (factor != 0).argmax(1)[:, None], 1)
    same = (rows == np.arange(rows.shape[1])[:, None]) & (picked == first)
    is_by_rows = (same | (factor == 0)).all()
    turns = is_by_rows and (factor != factor[:, :1]).any() and (np.diff(first[0, 0]) > 0).all()
    places = _axes(order, y.type.shape) if turns else None
    if places is None:
        return None
    found.ops = whole.ops
    name, terms = y.name, list[Value]()
    for term, (numbers, multiple) in enumerate(zip(first[:, 0], factor, strict=True)):
        x, last = base, len(outer)
        if not np.array_equal(numbers, np.arange(channels)):
            x = found.emit(Gather(last), base, found.add_constant(f"{name}.channels", numbers))
            x.name = f"{name}_of_{term}"
        constant = found.add_constant(f"{name}.factor", multiple.reshape(*outer, count))
        terms.append(found.emit(Mul(), x, constant))
        # The tensor that the source names is the sum.
        terms[-1].name = f"{name}_{term}"
    total = found.emit(Add(), *terms)
    apart = found.emit(Reshape(tuple(y.type.shape[axis] for axis in places)), total)
    return found.emit(Transpose(tuple(map(places.index, range(len(places))))), apart)


def _axes(order: np.ndarray, shape: tuple[int, ...]) -> list[int] | None:
    """The order of dimensions in which elements are visited by ``order``; ``None`` where there is none."""
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    back = back.reshape(shape)
    strides = [int(back.take(1, axis).flat[0]) if extent > 1 else back.size for axis, extent in enumerate(shape)]
    axes = sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
    expected = np.arange(back.size).reshape([shape[axis] for axis in axes])
    return axes if np.array_equal(back.transpose(axes), expected) else None
