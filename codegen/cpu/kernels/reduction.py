"""Sums and extremes on vectors: single and double precision, row-major, along any dimensions."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from ....ir.core import Op
from ....ir.ops.pooling import GlobalAveragePool, GlobalMaxPool, GlobalPool, MaxPool, Pool
from ....ir.ops.reduction import Reduce, ReduceMax, ReduceMean, ReduceMin, ReduceSum
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import F32, F64, I32, Register, Registers, Type, constant, partial_mask, type_of, zero
from ..nest import kept_and_reduced
from ..spec import KernelSpec
from ..tensors import has_elements, is_plain

_LONG = 8
"""Vectors of a row for which a chain of accumulators is worth while."""

Dimensions = tuple[tuple[int, int], ...]
"""Extent and stride in x, in elements, of each."""


def lowest_number(type: Type) -> Register:
    """What is below all elements that are compared as floats, or as integers."""
    return constant(type, -math.inf if type.is_float else -(2**31))


class Reduction(KernelSpec):
    """Base: one element of the result for each point of some dimensions, from all along the others.
    ``kept``, ``reduced``: the dimensions; the last of one or the other is contiguous. ``element``: of x."""

    IS_EXTREME: ClassVar[bool] = False
    """Whether the lowest of all counts for nothing, and not 0."""
    CHAINS: ClassVar[int] = 4
    """Vectors of a row whose accumulators do not wait for each other."""
    SHORT: ClassVar[int] = 10
    """The longest rows of which each lane of a register has one of its own."""

    kept: Dimensions
    reduced: Dimensions
    element: Type = F32

    @property
    def strip(self) -> int:
        """Vectors of columns that are reduced side by side, at most."""
        return 4

    @property
    def is_row(self) -> bool:
        """Whether neighbours in memory are reduced, and not columns or short rows side by side."""
        return self.reduced[-1][1] == 1 and not self.are_short_rows

    @property
    def are_short_rows(self) -> bool:
        """Whether rows follow each other of which each lane has one."""
        (length, stride), (_, distance) = self.reduced[-1], self.kept[-1]
        return len(self.kept) == len(self.reduced) == stride == 1 and length == distance <= self.SHORT

    def seen(self, b: FunctionBuilder, value: Register) -> Register:
        """An element as it is accumulated."""
        return value

    @abstractmethod
    def start(self, b: FunctionBuilder) -> list[Register]:
        """The state of a vector of accumulators before the first element."""

    @abstractmethod
    def step(self, b: FunctionBuilder, value: Register, state: Registers) -> list[Register]:
        """The state after a vector of elements."""

    @abstractmethod
    def join(self, b: FunctionBuilder, one: Registers, other: Registers) -> list[Register]:
        """Two states as one."""

    @abstractmethod
    def of_lanes(self, b: FunctionBuilder, state: Registers) -> Register:
        """The result of all lanes of a row."""

    @abstractmethod
    def of_columns(self, b: FunctionBuilder, state: Registers) -> Register:
        """The results of columns."""

    def generate(self, target: TargetDescription) -> Kernel:
        b, _ = self.entry(target, writes=self.arguments[1:])
        lanes, (inner, _) = target.lanes, self.kept[-1]
        # Strips of equal width: the last begins where it ends with the columns, over some of the one before.
        most, outer = -(-inner // lanes), math.prod(extent for extent, _ in self.kept[:-1])
        strips = -(-most // self.strip)
        vectors = -(-most // strips)
        if self.is_row:
            return self.each_unit(b, partial(self._row, b), units=outer * inner)
        if self.are_short_rows:
            return self.each_unit(b, partial(self._short_rows, b), units=most)
        return self.each_unit(b, partial(self._columns, b, vectors, strips), units=outer * strips)

    def _row(self, b: FunctionBuilder, unit: Register) -> None:
        """One element of the result."""
        (length, _), pointers = self.reduced[-1], self.bind(b)
        # Rows that are short do not wait for each other, while chains have to be joined.
        vectors = max(1, min(self.CHAINS, length // (_LONG * b.target.lanes)))
        block = vectors * b.target.lanes

        def along(x: Register, states: Registers) -> Registers:
            def several(index: Register, now: Registers) -> Registers:
                return self._vectors(b, b.at(x, b.multiply(index, self.element.bytes)), now, [None] * vectors)

            states = b.loop(0, length // block * block, several, states, step=block)
            for index in range(length // block * block, length, b.target.lanes):
                mask = partial_mask(b.target.lanes, length - index)
                at = b.at(x, self.element.bytes * index)
                states = (*self._vectors(b, at, states[:width], [mask]), *states[width:])
            return states

        state = tuple(self.start(b))
        width = len(state)
        x = self._moved(b, pointers["x"], unit, self.kept)
        states = self._over(b, x, state * vectors, self.reduced[:-1], along)
        while len(states) > width:
            joined = self.join(b, states[:width], states[width : 2 * width])
            states = (*joined, *states[2 * width :])
        self.keep_row(b, states, x, unit)

    def keep_row(self, b: FunctionBuilder, state: Registers, x: Register, unit: Register) -> None:
        """Write the result of a row of ``x``."""
        result = self.of_lanes(b, state)
        b.store(result, b.at(self.bind(b)["y"], b.multiply(unit, result.type.bytes)))

    def _short_rows(self, b: FunctionBuilder, unit: Register) -> None:
        """As many elements of the result as a vector has lanes."""
        (inner, length), lanes, pointers = self.kept[-1], b.target.lanes, self.bind(b)
        first = b.multiply(unit, lanes)
        x = b.at(pointers["x"], b.multiply(first, self.element.bytes * length))

        def some(count: int) -> None:
            rows = b.load_masked(self.element.of(lanes * length), x, partial_mask(lanes * length, count * length))
            state: Registers = tuple(self.start(b))
            for place in range(length):
                column = b.shuffle(rows, rows, range(place, lanes * length, length))
                state = tuple(self.step(b, self.seen(b, column), state))
            self.keep_columns(b, state, x, b.integer(0), first, partial_mask(lanes, count))

        b.of_part(unit, inner, lanes, some)

    def _columns(self, b: FunctionBuilder, vectors: int, strips: int, unit: Register) -> None:
        """Neighbouring elements of the result."""
        (inner, _), lanes, pointers = self.kept[-1], b.target.lanes, self.bind(b)
        outer, first = b.divide(unit, strips), b.multiply(b.remainder(unit, strips), vectors * lanes)
        first = b.minimum(first, max(0, inner - vectors * lanes))
        x = b.at(self._moved(b, pointers["x"], outer, self.kept[:-1]), b.multiply(first, self.element.bytes))
        masks = [partial_mask(lanes, inner - i * lanes) for i in range(vectors)]

        def here(x: Register, states: Registers) -> Registers:
            return self._vectors(b, x, states, masks)

        state = tuple(self.start(b))
        states = self._over(b, x, state * vectors, self.reduced, here)
        for number, mask in enumerate(masks):
            own, column = states[number * len(state) : (number + 1) * len(state)], b.add(first, number * lanes)
            self.keep_columns(b, own, b.at(x, self.element.bytes * number * lanes), outer, column, mask)

    def keep_columns(
        self, b: FunctionBuilder, state: Registers, x: Register, outer: Register, first: Register, mask: Register | None
    ) -> None:
        """Write the results of a vector of columns from ``x`` on, ``first`` of those of an outer point."""
        result = self.of_columns(b, state)
        place = b.add(b.multiply(outer, self.kept[-1][0]), first)
        b.store_masked(result, b.at(self.bind(b)["y"], b.multiply(place, result.type.element.bytes)), mask)

    def _over(
        self,
        b: FunctionBuilder,
        x: Register,
        states: Registers,
        dimensions: Dimensions,
        body: Callable[[Register, Registers], Registers],
    ) -> Registers:
        """The states after ``body`` at every point of some dimensions."""
        if not dimensions:
            return body(x, states)
        (extent, stride), *inner = dimensions

        def point(index: Register, now: Registers) -> Registers:
            return self._over(b, b.at(x, b.multiply(index, self.element.bytes * stride)), now, tuple(inner), body)

        return b.loop(0, extent, point, states)

    def _vectors(
        self, b: FunctionBuilder, x: Register, states: Registers, masks: Sequence[Register | None]
    ) -> Registers:
        """The states of neighbouring vectors after one of each."""
        vector, width = self.element.of(b.target.lanes), len(states) // len(masks)
        found: list[Register] = []
        for number, mask in enumerate(masks):
            value = self.seen(b, b.load_masked(vector, b.at(x, number * vector.bytes), mask))
            if mask is not None and self.IS_EXTREME:
                value = b.select(mask, value, lowest_number(value.type))
            found += self.step(b, value, states[number * width : (number + 1) * width])
        return tuple(found)

    def _moved(self, b: FunctionBuilder, x: Register, index: Register, dimensions: Dimensions) -> Register:
        """The element of a point, which is given by its number."""
        for extent, stride in reversed(dimensions):
            step = self.element.bytes * stride
            x, index = b.at(x, b.multiply(b.remainder(index, extent), step)), b.divide(index, extent)
        return x


class Sum(Reduction):
    """The sum, added up in double precision, and divided by a number."""

    divisor: int = 1

    def start(self, b: FunctionBuilder) -> list[Register]:
        return [zero(F64.of(b.target.lanes))]

    def step(self, b: FunctionBuilder, value: Register, state: Registers) -> list[Register]:
        return [
            b.binary(
                "fadd", state[0], value if value.type == state[0].type else b.convert("fpext", value, state[0].type)
            )
        ]

    def join(self, b: FunctionBuilder, one: Registers, other: Registers) -> list[Register]:
        return [b.binary("fadd", one[0], other[0])]

    def generate(self, target: TargetDescription) -> Kernel:
        (count, _), (length, _), rows = self.kept[-1], self.reduced[-1], target.lanes // 2
        is_short = len(self.kept) == len(self.reduced) == 1 and length < 2 * _LONG * target.lanes
        if not (self.is_row and is_short and count >= rows and self.element == F32):
            return super().generate(target)
        b, _ = self.entry(target, writes=self.arguments[1:])
        return self.each_unit(b, partial(self._rows, b, rows), units=-(-count // rows))

    def _rows(self, b: FunctionBuilder, rows: int, unit: Register) -> None:
        """Neighbouring elements of the result, whose lanes are added up together: of short rows that takes as long as
        the rest. The last of them begin where they end with the rows."""
        ((count, distance),), ((length, _),), pointers, lanes = self.kept, self.reduced, self.bind(b), b.target.lanes
        first, size = b.minimum(b.multiply(unit, rows), count - rows), self.element.bytes
        x = b.at(pointers["x"], b.multiply(first, size * distance))

        def along(index: Register, states: Registers, mask: Register | None = None) -> Registers:
            starts = (b.at(x, size * row * distance, b.multiply(index, size)) for row in range(rows))
            each = (self._vectors(b, start, (state,), [mask]) for start, state in zip(starts, states, strict=True))
            return tuple(state for (state,) in each)

        whole = length // lanes * lanes
        sums = b.loop(0, whole, along, self.start(b) * rows, step=lanes)
        if whole < length:
            sums = along(b.integer(whole), tuple(sums), partial_mask(lanes, length - whole))

        def halves(one: Register, other: Register, *parts: range) -> Register:
            return b.binary("fadd", *(b.shuffle(one, other, part) for part in parts))

        sums = [halves(each, each, range(rows), range(rows, lanes)) for each in sums]
        while len(sums) > 1:
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [halves(*pair, range(0, lanes, 2), range(1, lanes, 2)) for pair in pairs]
        result = self.of_columns(b, tuple(sums))
        b.store(result, b.at(pointers["y"], b.multiply(first, result.type.element.bytes)))

    def of_lanes(self, b: FunctionBuilder, state: Registers) -> Register:
        return self.of_columns(b, (b.sum_of_lanes(state[0]),))

    def of_columns(self, b: FunctionBuilder, state: Registers) -> Register:
        (total,) = state
        if self.divisor != 1:
            total = b.binary("fdiv", total, constant(total.type, self.divisor))
        return total if self.element == F64 else b.convert("fptrunc", total, F32.of(total.type.lanes))


class Extreme(Reduction):
    """The largest element, or the smallest, which is taken as that of the negated ones; NaN, if there is one."""

    IS_EXTREME: ClassVar[bool] = True

    is_smallest: bool = False

    def start(self, b: FunctionBuilder) -> list[Register]:
        lanes = b.target.lanes
        return [lowest_number(self.element.of(lanes)), zero(I32.of(lanes))]

    def seen(self, b: FunctionBuilder, value: Register) -> Register:
        return b.negate(value) if self.is_smallest else value

    def step(self, b: FunctionBuilder, value: Register, state: Registers) -> list[Register]:
        best, missing = state
        is_missing = b.convert("sext", b.compare("uno", value, value), missing.type)
        return [b.larger(value, best), b.binary("or", missing, is_missing)]

    def join(self, b: FunctionBuilder, one: Registers, other: Registers) -> list[Register]:
        return [b.larger(one[0], other[0]), b.binary("or", one[1], other[1])]

    def of_lanes(self, b: FunctionBuilder, state: Registers) -> Register:
        best, missing = state
        some = b.intrinsic(f"llvm.vector.reduce.or.{missing.type.suffix}", I32, [missing])
        return self.of_columns(b, (b.largest_of_lanes(best), some))

    def of_columns(self, b: FunctionBuilder, state: Registers) -> Register:
        best, missing = state
        is_number = b.compare("eq", missing, zero(missing.type))
        return b.select(is_number, self.seen(b, best), constant(best.type, math.nan))


def dimensions_of(shape: Sequence[int], axes: Sequence[int]) -> tuple[Dimensions, Dimensions]:
    kept, reduced = kept_and_reduced(shape, axes)
    return tuple(zip(*kept, strict=True)), tuple(zip(*reduced, strict=True))


@lowers(
    *(ReduceSum, ReduceMean, ReduceMax, ReduceMin, GlobalAveragePool, GlobalMaxPool), needs=(is_plain, has_elements)
)
def reduction(op: Op[Reduce | GlobalPool], target: TargetDescription) -> Kernel | None:
    """Sums, means and extremes."""
    operator, rank = op.operator, op.inputs[0].type.rank
    if any(value.type.dtype not in (DType.F32, DType.F64) for value in (*op.inputs, op.result)):
        return None
    return along(op, operator.axes if isinstance(operator, Reduce) else tuple(range(2, rank)), target)


def along(op: Op[Reduce | GlobalPool | Pool], axes: Sequence[int], target: TargetDescription) -> Kernel:
    """The sum, mean or extreme of each row of all elements along ``axes``, as a pool's windows may be."""
    operator, shape, element = op.operator, op.inputs[0].type.shape, type_of(op.result.type.dtype)
    dimensions = dimensions_of(shape, axes)
    if isinstance(operator, ReduceMax | ReduceMin | GlobalMaxPool | MaxPool):
        return Extreme(*dimensions, element, isinstance(operator, ReduceMin)).kernel(target)
    count = 1 if isinstance(operator, ReduceSum) else math.prod(shape[axis] for axis in axes)
    return Sum(*dimensions, element, count).kernel(target)
