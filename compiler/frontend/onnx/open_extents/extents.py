"""Arithmetic of extents that the data decide, and what is known of the elements of small tensors.

Models compute with extents: they read shapes, pick extents, and join and compare them. The elements of such small
tensors are followed from operator to operator, so that a Reshape, say, knows which extent is which.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tilewright.errors import UnsupportedError

from .....ir.core import Constant, Value
from .....ir.op import Operator
from .....ir.ops.comparison import Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Where
from .....ir.ops.elementwise import Add, Div, Max, Min, Mul, Sub
from .....ir.ops.indexing import Gather
from .....ir.ops.movement import Concat, Slice, Split, Transpose
from .....ir.ops.reduction import ReduceMax, ReduceMin, ReduceProd, ReduceSum
from .....ir.ops.selection import Bounded
from .....ir.ops.shape import Cast, Expand, Reshape
from .....ir.ops.unary import Ceil, Floor, Round
from .....ir.types import DType
from ...builder import ModuleBuilder
from ...shape import cast, reshape
from .intervals import UNKNOWN, Count, Extent, Interval, factors, interval, known_difference, span

FOLLOWED = 64
"""Elements of the largest tensors whose elements are followed."""


def _within(number: int) -> int:
    """A bound of a range, unknown where what it was computed from was: half of it is beyond every extent, too."""
    return number if abs(number) < UNKNOWN // 2 else UNKNOWN if number > 0 else -UNKNOWN


class Extents:
    """Arithmetic of extents, and what is known of the elements of small tensors.
    ``builder``: the module that it is computed in."""

    def __init__(self, builder: ModuleBuilder) -> None:
        self.builder = builder
        self._known: dict[object, Count] = {}
        self._elements: dict[Value, np.ndarray] = {}
        self._intervals: dict[Value, Interval] = {}

    def value(self, extent: Extent) -> Value:
        """An extent as a value, i64[]."""
        return extent.value if isinstance(extent, Count) else self.builder.constant(np.asarray(extent), "extent")

    def count(self, value: Value, least: int, most: int) -> Extent:
        """An extent from a value, i64[], in a range."""
        if isinstance(value, Constant):
            return int(value.array)
        self._intervals.setdefault(value, (least, most))
        return least if least == most else self._remembered(value, lambda: Count(value, _within(least), _within(most)))

    def _remembered(self, key: object, make: Callable[[], Count]) -> Count:
        """The number of a key, made once in each function; what was erased meanwhile is made anew."""
        key = (self.builder.function, key)
        known = self._known.get(key)
        if known is None or (known.value.producer is not None and known.value.producer.function is None):
            known = self._known[key] = make()
        return known

    def _emitted(self, operator: Operator, *operands: Value) -> Value:
        """The result of an operator that nobody follows: who follows it would ask for this number again."""
        return ModuleBuilder.emit(self.builder, operator, *operands, name="extent")[0]

    def _made(self, operator: Operator, a: Extent, b: Extent, least: int, most: int) -> Extent:
        if least == most:
            return least

        def make() -> Count:
            return Count(self._emitted(operator, self.value(a), self.value(b)), _within(least), _within(most))

        return self._remembered((operator, a, b), make)

    def add(self, a: Extent, b: Extent) -> Extent:
        (low, high), (least, most) = span(a), span(b)
        if isinstance(a, Count) and isinstance(b, Count):
            found = [_put_together(a, b), _put_together(b, a), self._made(Add(), a, b, low + least, high + most)]
            return next(each for each in found if each is not None)
        count, number = (a, b) if isinstance(a, Count) else (b, a)
        if not isinstance(count, Count) or not isinstance(number, int):
            return low + least
        if number == 0:
            return count
        base, offset = count.base or count, count.offset + number
        made = self._made(Add(), base, offset, low + least, high + most) if offset else base
        if isinstance(made, Count) and offset:
            made.base, made.offset = base, offset
        return made

    def subtract(self, a: Extent, b: Extent) -> Extent:
        difference = known_difference(a, b)
        if difference is not None:
            return difference
        if isinstance(b, int):
            return self.add(a, -b)
        (low, high), (least, most) = span(a), span(b)
        made = self._made(Sub(), a, b, low - most, high - least)
        if isinstance(made, Count) and isinstance(a, int):
            made.rest = a, b
        return made

    def smaller(self, a: Extent, b: Extent) -> Extent:
        (low, high), (least, most) = span(a), span(b)
        difference = known_difference(a, b)
        if difference is not None or high <= least or most <= low:
            return a if (high <= least if difference is None else difference <= 0) else b
        return self._made(Min(), a, b, min(low, least), min(high, most))

    def larger(self, a: Extent, b: Extent) -> Extent:
        (low, high), (least, most) = span(a), span(b)
        difference = known_difference(a, b)
        if difference is not None or low >= most or least >= high:
            return a if (low >= most if difference is None else difference >= 0) else b
        return self._made(Max(), a, b, max(low, least), max(high, most))

    def product(self, extents: Sequence[Extent]) -> Extent:
        factor, parts = factors(extents)
        return self._scaled(factor, parts)

    def _scaled(self, factor: int, parts: tuple[Count, ...]) -> Extent:
        if factor == 0 or not parts:
            return factor
        if factor == 1 and len(parts) == 1:
            return parts[0]

        def make() -> Count:
            value = parts[0].value
            for other in (*(part.value for part in parts[1:]), *([self.value(factor)] if factor != 1 else [])):
                value = self._emitted(Mul(), value, other)
            corners = [factor]
            for part in parts:
                corners = [each * end for each in corners for end in span(part)]
            return Count(value, _within(min(corners)), _within(max(corners)), factor, parts)

        return self._remembered((factor, *parts), make)

    def divide(self, a: Extent, b: Extent) -> Extent | None:
        """The quotient cut toward zero; ``None`` where the range of either is of no use."""
        (factor, parts), (divisor, others) = factors([a]), factors([b])
        if divisor and factor % divisor == 0:
            rest = list(parts)
            if all(other in rest and not rest.remove(other) for other in others):
                return self._scaled(factor // divisor, tuple(rest))
        (low, high), (least, most) = span(a), span(b)
        if low < 0 or least < 1:
            return None
        return self._made(Div(), a, b, low // most, high if high >= UNKNOWN else high // least)

    def same(self, a: Extent, b: Extent) -> Extent:
        """Two extents that must be equal, a count unless it is known that they are: the run ends where they are not.
        Raises UnsupportedError: they cannot be equal, or one is at most 1, to which nothing is cut."""
        if a is b or (isinstance(a, int) and a == b):
            return a
        first, second = (a, b) if isinstance(a, Count) else (b, a)
        (low, high), (least, most) = span(first), span(second)
        if max(low, least) > min(high, most) or (isinstance(second, int) and second < 2):
            raise UnsupportedError("two extents have to be equal", stage="import", found=f"{a} and {b}")
        checked = self._bounded(first, second, max(low, least, 0), min(high, most))
        return self._bounded(second, checked, max(low, least, 0), min(high, most))

    def at_most(self, a: Extent, limit: Extent) -> Extent:
        """``a``, which must be from 0 to ``limit``; the run ends where it is not."""
        (low, high), (least, most) = span(a), span(limit)
        return a if low >= 0 and high <= least else self._bounded(a, limit, max(low, 0), min(high, most))

    def _bounded(self, a: Extent, limit: Extent, least: int, most: int) -> Extent:
        def make() -> Count:
            return Count(self._emitted(Bounded(), self.value(a), self.value(limit)), least, max(least, most))

        return self._remembered((Bounded, a, limit), make)

    def limited(self, value: Value, most: int) -> Value:
        """A tensor of integers, none below 0 or above ``most``: the run ends where one is."""
        builder, axes = self.builder, tuple(range(value.type.rank))
        x = cast(builder, value, DType.I64)
        for reduction, combine in ((ReduceMax, Min), (ReduceMin, Max)):
            extreme = builder.emit_one(reduction(axes, keepdims=False), x) if axes else x
            x = builder.emit_one(combine(), x, self._emitted(Bounded(), extreme, self.value(most)), name=value.name)
        x = cast(builder, x, value.type.dtype)
        # Shapes that they become a part of have elements of their own, too.
        self.elements(x)
        return x

    def source(self, extent: Extent) -> str | None:
        """The name of the integer, or else of the tensor of integers, that makes a number one without a bound."""
        value, name = self.value(extent), None
        while True:
            name = value.origin or name
            operands = value.producer.inputs if value.producer is not None else ()
            causes = (each for each in operands if each.type.dtype.is_integer and not isinstance(each, Constant))
            cause = next((each for each in causes if interval(each, self._intervals)[1] >= UNKNOWN), None)
            # Of what is split, the other parts have no bound either.
            is_part = value.producer is not None and isinstance(value.producer.operator, Split)
            if cause is None or (value.origin and value.type.elements == 1 and not is_part):
                return name
            value = cause

    def clipped_index(self, index: Extent, extent: Extent) -> Extent:
        """The start or the end of a slice, which may count from the back, as a number from 0 to ``extent``."""
        least, most = span(index)
        if most < 0:
            index = self.add(index, extent)
        elif least < 0:
            given = index

            def make() -> Count:
                value = self.value(given)
                is_negative = self._emitted(Less(), value, self.value(0))
                moved = self._emitted(Add(), value, self.value(extent))
                found = self._emitted(Where(), is_negative, moved, value)
                return Count(found, -UNKNOWN, UNKNOWN)

            index = self._remembered(("clipped", index, extent), make)
        return self.larger(self.smaller(index, extent), 0)

    def elements(self, value: Value) -> list[Extent] | None:
        """The elements of a small tensor of integers; in the range that follows from its operators where they are not
        known one by one.

        ``None`` where it is not small, or of no integers.
        """
        if isinstance(value, Constant):
            return [int(each) for each in value.array.reshape(-1)] if value.type.elements <= FOLLOWED else None
        if value in self._elements:
            return list(self._elements[value].reshape(-1))
        if value.type.elements > FOLLOWED or not value.type.dtype.is_integer:
            return None
        builder = self.builder
        line = cast(builder, reshape(builder, value, (value.type.elements,)), DType.I64)
        picked = (
            builder.emit_one(Gather(0), line, builder.constant(np.asarray(index), "index"), name="extent")
            for index in range(value.type.elements)
        )
        least, most = (int(end) for end in interval(value, self._intervals))
        found = [self.count(each, least, most) for each in picked]
        self.know(value, _array_of(found, value.type.shape))
        return found

    def know(self, value: Value, elements: np.ndarray) -> None:
        """Say which extents the elements of a tensor are."""
        self._elements[value] = elements
        spans = [span(each) for each in elements.reshape(-1) if isinstance(each, (int, Count))]
        if len(spans) == elements.size > 0:
            self._intervals[value] = min(low for low, _ in spans), max(high for _, high in spans)

    def follow_number(self, value: Value, least: int, most: int) -> None:
        """Say in which range a value, i64[], is that the data decide."""
        self.know(value, _array_of([self.count(value, least, max(least, most))], ()))

    def number(self, extent: Extent, name: str) -> Value:
        """An extent as a tensor that a model reads, i64[]."""
        if isinstance(extent, int):
            return self.builder.constant(np.asarray(extent, np.int64), name)
        self.know(extent.value, _array_of([extent], ()))
        return extent.value

    def vector(self, extents: Sequence[Extent], name: str = "shape") -> Value:
        """Extents as a tensor, i64[n]."""
        builder = self.builder
        if all(isinstance(extent, int) for extent in extents):
            return builder.constant(np.asarray(extents, np.int64), name)
        parts = [builder.emit_one(Reshape((1,)), self.value(extent)) for extent in extents]
        whole = builder.emit_one(Concat(0), *parts) if len(parts) > 1 else parts[0]
        self.know(whole, _array_of(extents, (len(extents),)))
        return whole

    def is_known(self, value: Value | None) -> bool:
        """Whether elements of a value that is no constant are followed."""
        return value in self._elements

    def follow(
        self, operator: Operator, operands: Sequence[Value | None], results: Sequence[Value]
    ) -> tuple[Value, ...]:
        """The results of an operator, as constants where their elements are known after all."""
        if any(value.type.elements > FOLLOWED for value in results):
            return tuple(results)
        arrays = [self._array(value) for value in operands]
        found = self._computed(operator, arrays, operands, results)
        return tuple(
            self._settled(value, each) for value, each in zip(results, found or [None] * len(results), strict=True)
        )

    def _array(self, value: Value | None) -> np.ndarray | None:
        """The elements of an operand: whole numbers, truth values and counts; ``None`` where they are not known."""
        if isinstance(value, Constant) and value.type.elements <= FOLLOWED:
            array = value.array
            if array.dtype.kind in "iub" or (np.isfinite(array).all() and (array == np.trunc(array)).all()):
                flat = [bool(e) if array.dtype.kind == "b" else int(e) for e in array.reshape(-1)]
                return _array_of(flat, array.shape)
        return self._elements.get(value) if value is not None else None

    def _settled(self, value: Value, elements: np.ndarray | None) -> Value:
        # What leaves the range of 64 bits is another number when it is computed.
        if elements is None or any(
            each is None or (isinstance(each, int) and abs(each) > UNKNOWN) for each in elements.reshape(-1)
        ):
            return value
        if any(isinstance(each, Count) for each in elements.reshape(-1)):
            self.know(value, elements)
            return value
        return self.builder.constant(elements.astype(value.type.dtype.numpy), value.name)

    def _computed(
        self,
        operator: Operator,
        arrays: Sequence[np.ndarray | None],
        operands: Sequence[Value | None],
        results: Sequence[Value],
    ) -> list[np.ndarray] | None:
        """The elements of the results, ``None`` for those that are not known."""
        if isinstance(operator, _MOVES):
            moved = len(operands) if isinstance(operator, Concat) else 1
            return self._moved(operator, arrays[:moved], operands[moved:])
        if any(array is None for array in arrays):
            return None
        known = [array for array in arrays if array is not None]
        if isinstance(operator, (Cast, Floor, Ceil, Round)):
            return known if results[0].type.dtype not in (DType.BOOL, DType.F16) else None
        if isinstance(operator, Where):
            pick: Callable[..., Extent | None] = lambda c, a, b: (a if c else b) if isinstance(c, bool) else None  # noqa: E731
            return [_each(pick, known)]
        if isinstance(operator, tuple(_COMPARISONS)):
            return [_each(_COMPARISONS[type(operator)], known)]
        if isinstance(operator, tuple(_REDUCTIONS)):
            return self._reduced(operator, known[0], results[0])
        function = self._functions.get(type(operator))
        # Quotients of floats are no whole numbers.
        if function is None or (isinstance(operator, Div) and results[0].type.dtype.is_float):
            return None
        return [_each(function, known)]

    @property
    def _functions(self) -> dict[type[Operator], Callable[..., Extent | None]]:
        return {
            Add: self.add,
            Sub: self.subtract,
            Mul: lambda a, b: self.product([a, b]) if abs(factors([a, b])[0]) < UNKNOWN else None,
            Div: self.divide,
            Min: self.smaller,
            Max: self.larger,
        }

    def _moved(
        self, operator: Operator, arrays: Sequence[np.ndarray | None], others: Sequence[Value | None]
    ) -> list[np.ndarray] | None:
        """What an operator that moves elements does to them, by what it does to their numbers in a list."""
        table: list[Extent] = []
        labels: list[np.ndarray | None] = []
        for array in arrays:
            if array is None:
                return None
            labels.append(np.arange(len(table), len(table) + array.size, dtype=np.int64).reshape(array.shape))
            table += array.reshape(-1).tolist()
        for value in others:
            if not isinstance(value, Constant):
                return None
            labels.append(value.array)
        results = operator.reference(*labels)
        found = results if isinstance(results, tuple) else (results,)
        return [_array_of([table[label] for label in a.reshape(-1)], a.shape) for a in found]

    def _reduced(self, operator: Operator, array: np.ndarray, result: Value) -> list[np.ndarray] | None:
        """A reduction of all elements."""
        if result.type.elements != 1 or not array.size:
            return None
        combine = self._functions[_REDUCTIONS[type(operator)]]
        total: Extent | None = array.reshape(-1)[0]
        for each in array.reshape(-1)[1:]:
            total = combine(total, each) if total is not None else None
        return [_array_of([total], result.type.shape)]


def _array_of(elements: Sequence[object], shape: Sequence[int]) -> np.ndarray:
    return np.array(elements, object).reshape(shape)


def _each(function: Callable[..., object], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """A function of each element of arrays that broadcast."""
    arrays = np.broadcast_arrays(*arrays)
    found = [function(*elements) for elements in zip(*(array.reshape(-1) for array in arrays), strict=True)]
    return _array_of(found, arrays[0].shape)


def _put_together(rest: Count, taken: Count) -> int | None:
    """The sum of what is left of a number, or some times that, and of what was taken, where that is known."""
    (factor, (one, *more)), (times, (other, *others)) = factors([rest]), factors([taken])
    if one.rest is None or more or others or factor != times:
        return None
    difference = known_difference(other, one.rest[1])
    return factor * (one.rest[0] + difference) if difference is not None else None


def _less(a: Extent, b: Extent) -> bool | None:
    (low, high), (least, most) = span(a), span(b)
    return True if high < least else False if low >= most else None


def _equal(a: Extent, b: Extent) -> bool | None:
    (low, high), (least, most) = span(a), span(b)
    return True if a is b or low == high == least == most else False if high < least or most < low else None


def _not(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


_MOVES = (Reshape, Gather, Slice, Concat, Split, Transpose, Expand)
_COMPARISONS: dict[type[Operator], Callable[..., bool | None]] = {
    Equal: _equal,
    Less: _less,
    Greater: lambda a, b: _less(b, a),
    LessOrEqual: lambda a, b: _not(_less(b, a)),
    GreaterOrEqual: lambda a, b: _not(_less(a, b)),
}
_REDUCTIONS: dict[type[Operator], type[Operator]] = {ReduceMin: Min, ReduceMax: Max, ReduceSum: Add, ReduceProd: Mul}
