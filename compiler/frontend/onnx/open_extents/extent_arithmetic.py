"""Arithmetic of extents that the data decide."""

from collections.abc import Callable, Sequence

import numpy as np

from tilewright.errors import UnsupportedError

from .....ir.core import Constant, Value
from .....ir.op import Operator
from .....ir.ops.comparison import Less, Where
from .....ir.ops.elementwise import Add, Div, Max, Min, Mul, Sub
from .....ir.ops.selection import Bounded
from ...builder import ModuleBuilder
from .intervals import UNKNOWN, Count, Extent, Interval, factors, known_difference, span


def _within(number: int) -> int:
    """A bound of a range, unknown where what it was computed from was: half of it is beyond every extent, too."""
    return number if abs(number) < UNKNOWN // 2 else UNKNOWN if number > 0 else -UNKNOWN


class ExtentArithmetic:
    """Numbers that are computed at run time where they are not known, each once.
    ``builder``: the module that they are computed in."""

    def __init__(self, builder: ModuleBuilder) -> None:
        self.builder = builder
        self._known: dict[object, Count] = {}
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


def _put_together(rest: Count, taken: Count) -> int | None:
    """The sum of what is left of a number, or some times that, and of what was taken, where that is known."""
    (factor, (one, *more)), (times, (other, *others)) = factors([rest]), factors([taken])
    if one.rest is None or more or others or factor != times:
        return None
    difference = known_difference(other, one.rest[1])
    return factor * (one.rest[0] + difference) if difference is not None else None
