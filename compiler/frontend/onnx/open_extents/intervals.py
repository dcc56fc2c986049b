"""Extents that the data decide, and between which numbers the elements of a tensor lie, by what computes them.

Such an extent is a :class:`Count`: a value of the network, and the range that it is in. A tensor that has it lies in
memory for the most there can be, its *room*; what is behind the true extent is filler, of which nothing is known but
that it can be computed with. What operators make of such tensors stands in :mod:`.open_shapes`.

An interval is of all elements of a tensor. It is what is left where nobody knows which element is which count, and
enough for a bound: of Min(n, 10) that it is at most 10, of a remainder that it is below its divisor. It holds for
filler as well.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.op import Operator
from .....ir.ops.activation import Clip, Relu
from .....ir.ops.comparison import Where
from .....ir.ops.elementwise import Add, Div, Max, Min, Mod, Mul, Sub
from .....ir.ops.indexing import Gather, GatherElements, GatherND
from .....ir.ops.movement import Concat, Slice, Split, Tile, Transpose
from .....ir.ops.reduction import ArgExtreme, ReduceMax, ReduceMin, ReduceSum
from .....ir.ops.selection import Bounded
from .....ir.ops.shape import Cast, Expand, Reshape
from .....ir.ops.unary import Abs, Ceil, Floor, Neg, Round, Sign
from .....ir.types import DType

UNKNOWN = 1 << 62
"""Of a number in no range that is known, the most and, negative, the least."""

Interval = tuple[float, float]
"""The least and the most, whole numbers or not; those of a float are no NaN where both are known."""

ANY: Interval = (-UNKNOWN, UNKNOWN)

_DEPTH = 64
"""Operators in a row that are followed backwards."""


def interval(value: Value, known: dict[Value, Interval], depth: int = _DEPTH) -> Interval:
    """The interval of the elements of a value. ``known``: intervals of some values; those that are found are added."""
    if value not in known:
        known[value] = _found(value, known, depth)
    return known[value]


def _found(value: Value, known: dict[Value, Interval], depth: int) -> Interval:
    dtype, op = value.type.dtype, value.producer
    least, most = _range(dtype)
    # Of larger types it bounds nothing that has room in memory.
    widest = (least, most) if dtype.bytes <= 2 and not dtype.is_float else ANY
    if isinstance(value, Constant):
        array = value.array
        if not array.size or (dtype.is_float and not np.isfinite(array).all()):
            return ANY
        return array.min().item(), array.max().item()
    rule = next((_RULES[cls] for cls in type(op.operator).__mro__ if cls in _RULES), None) if op is not None else None
    if op is None or rule is None or not depth:
        return widest
    operands = [interval(each, known, depth - 1) for each in op.inputs]
    if dtype.is_float and not all(map(_is_known, operands)):
        return ANY
    low, high = rule(op, operands)
    if _is_known((low, high)) and not least <= low <= high <= most:
        # What leaves the range of its type is another number when it is computed.
        return widest
    if dtype.is_float:
        low, high = (dtype.numpy.type(each).item() for each in (low, high))
    return max(low, widest[0]), min(high, widest[1])


def _range(dtype: DType) -> Interval:
    """The least and the most of an element type; of floats, between which they hold whole numbers."""
    if dtype is DType.BOOL:
        return 0, 1
    most = 2 ** np.finfo(dtype.numpy).nmant if dtype.is_float else int(np.iinfo(dtype.numpy).max)
    return (-most, most) if dtype.is_float else (int(np.iinfo(dtype.numpy).min), most)


def _is_known(each: Interval) -> bool:
    return each[0] > -UNKNOWN and each[1] < UNKNOWN


def _corners(function: Callable[..., float]) -> Callable[[Op, list[Interval]], Interval]:
    """The rule of what is monotone in each operand, be it up or down."""

    def rule(op: Op, operands: list[Interval]) -> Interval:
        if not all(map(_is_known, operands)):
            return ANY
        found = [function(*corner) for corner in product(*operands)]
        return min(found), max(found)

    return rule


def _monotone(function: Callable[..., float]) -> Callable[[Op, list[Interval]], Interval]:
    """The rule of what only grows with its operands, and makes no number that is none of them but for its fraction."""

    def rule(op: Op, operands: list[Interval]) -> Interval:
        low, high = (function(*ends) for ends in zip(*operands, strict=True))
        return low, high

    return rule


def _hull(*operands: Interval) -> Interval:
    return min(low for low, _ in operands), max(high for _, high in operands)


def _cast(op: Op, operands: list[Interval]) -> Interval:
    (x,), source, target = operands, op.inputs[0].type.dtype, op.results[0].type.dtype
    if not _is_known(x) and (source.is_float or target.bytes < source.bytes):
        return ANY
    return (math.trunc(x[0]), math.trunc(x[1])) if source.is_float and not target.is_float else x


def _quotient(op: Op, operands: list[Interval]) -> Interval:
    if operands[1][0] <= 0:
        return ANY
    is_float = op.results[0].type.dtype.is_float
    return _corners(lambda a, b: a / b if is_float else (abs(a) // b) * (1 if a >= 0 else -1))(op, operands)


def _remainder(op: Op[Mod], operands: list[Interval]) -> Interval:
    (low, high), (least, most) = operands
    if least <= 0 or op.results[0].type.dtype.is_float:
        return ANY
    if low >= 0 and high < least:
        return low, high
    return (1 - most if op.operator.fmod and low < 0 else 0), most - 1


def _clipped(op: Op[Clip], operands: list[Interval]) -> Interval:
    low, high = (min(max(each, op.operator.min), op.operator.max) for each in operands[0])
    return low, high


def _extreme(op: Op, operands: list[Interval]) -> Interval:
    """Of nothing there is an extreme that is none of its elements."""
    return operands[0] if op.inputs[0].type.elements else ANY


def _sum(op: Op, operands: list[Interval]) -> Interval:
    x, count = operands[0], op.inputs[0].type.elements // max(1, op.results[0].type.elements)
    return (x[0] * count, x[1] * count) if _is_known(x) else ANY


_RULES: dict[type[Operator], Callable[[Op[Any], list[Interval]], Interval]] = {
    **{
        cls: _corners(function)
        for cls, function in (
            (Add, lambda a, b: a + b),
            (Sub, lambda a, b: a - b),
            (Mul, lambda a, b: a * b),
            (Neg, lambda a: -a),
        )
    },
    **{
        cls: _monotone(function)
        for cls, function in (
            (Min, min),
            (Max, max),
            (Relu, lambda a: max(a, 0)),
            (Floor, math.floor),
            (Ceil, math.ceil),
            (Round, round),
        )
    },
    Abs: lambda op, x: (max(x[0][0], -x[0][1], 0), max(-x[0][0], x[0][1])),
    Sign: lambda op, x: (-1, 1),
    Div: _quotient,
    Mod: _remainder,
    Clip: _clipped,
    Where: lambda op, x: _hull(*x[1:]),
    Cast: _cast,
    Bounded: lambda op, x: (0, max(0, x[1][1])),
    ReduceMax: _extreme,
    ReduceMin: _extreme,
    ReduceSum: _sum,
    ArgExtreme: lambda op, x: (0, max(0, op.inputs[0].type.shape[op.operator.axis] - 1)),
    **dict.fromkeys((Concat,), lambda op, x: _hull(*x)),
    **dict.fromkeys(
        (Reshape, Transpose, Slice, Split, Expand, Tile, Gather, GatherElements, GatherND), lambda op, x: x[0]
    ),
}
"""Intervals of results from those of operands, by class of operator; derived classes have those of their bases."""


@dataclass(eq=False)
class Count:
    """A whole number that the data decide.

    Attributes:
        value: it, i64[].
        least, most: the range.
        factor, parts: the number is ``factor`` times those in ``parts``; itself where there are none.
        base, offset: the number is ``offset`` more than that, where there is one.
        rest: a number and what is taken from it to make this one, where it is known to be made so.
    """

    value: Value
    least: int
    most: int
    factor: int = 1
    parts: "tuple[Count, ...]" = ()
    base: "Count | None" = None
    offset: int = 0
    rest: "tuple[int, Count] | None" = None

    @property
    def is_bounded(self) -> bool:
        return self.most < UNKNOWN

    def __str__(self) -> str:
        return f"≤{self.most}" if self.is_bounded else "?"


Extent = int | Count
Shape = tuple[Extent, ...]


def room(extent: Extent) -> int:
    """What a dimension takes in memory; 2 at least for a count, since dimensions of extent 1 can be stretched."""
    return max(extent.most, 2) if isinstance(extent, Count) else extent


def span(extent: Extent) -> tuple[int, int]:
    """The least and the most."""
    return (extent.least, extent.most) if isinstance(extent, Count) else (extent, extent)


def known_difference(a: Extent, b: Extent) -> int | None:
    """How much ``a`` is more than ``b``, ``None`` where the data decide that."""
    (base, offset), (other, its) = ((x.base or x, x.offset) if isinstance(x, Count) else (None, x) for x in (a, b))
    return offset - its if base is other else None


def text_of(shape: Sequence[Extent]) -> str:
    """A shape as messages show it: ``[≤100, 4]``."""
    return f"[{', '.join(map(str, shape))}]"


def factors(extents: Sequence[Extent]) -> tuple[int, tuple[Count, ...]]:
    """A product as a number and counts that are no products themselves, in an order of their own."""
    factor, parts = 1, list[Count]()
    for extent in extents:
        if isinstance(extent, int):
            factor *= extent
        else:
            factor *= extent.factor
            parts += extent.parts or (extent,)
    return factor, tuple(sorted(parts, key=id))
