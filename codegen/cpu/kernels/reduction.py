"""Sums, extremes and positions of extremes on vectors: single precision, row-major, along any dimensions."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from ....ir.core import Op
from ....ir.ops.pooling import GlobalAveragePool, GlobalMaxPool, GlobalPool, MaxPool, Pool
from ....ir.ops.reduction import ArgExtreme, ArgMax, Reduce, ReduceMax, ReduceMean, ReduceMin, ReduceSum
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.row_vectors import first_lanes
from ..llvm.target import TargetDescription
from ..llvm.types import F32, F64, I1, I32, I64, Register, Registers, constant, partial_mask, vector_constant, zero
from ..nest import kept_and_reduced
from ..spec import KernelSpec
from ..tensors import has_real_meaning, is_float, is_plain

Dimensions = tuple[tuple[int, int], ...]
"""Extent and stride in x, in elements, of each."""

_STRIP = 4
"""Vectors of columns that are reduced side by side."""


@dataclass(frozen=True)
class Reduction(KernelSpec):
    """Base: one element of the result for each point of some dimensions, from all along the others.

    Attributes:
        kept, reduced: the dimensions; the last of one or the other is contiguous.
    """

    OUTSIDE: ClassVar[float] = 0
    """What counts for nothing."""
    CHAINS: ClassVar[int] = 4
    """Vectors of a row whose accumulators do not wait for each other."""

    kept: Dimensions
    reduced: Dimensions

    @property
    def is_row(self) -> bool:
        """Whether neighbours in memory are reduced, and not columns side by side."""
        return self.reduced[-1][1] == 1

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
        b, _ = self.entry(target, writes=("y",))
        lanes, (inner, _) = target.lanes, self.kept[-1]
        vectors = min(_STRIP, -(-inner // lanes))
        strips, outer = -(-inner // (vectors * lanes)), math.prod(extent for extent, _ in self.kept[:-1])
        if self.is_row:
            return self.each_unit(b, partial(self._row, b), units=outer * inner)
        return self.each_unit(b, partial(self._columns, b, vectors, strips), units=outer * strips)

    def _row(self, b: FunctionBuilder, unit: Register) -> None:
        """One element of the result."""
        (length, _), pointers = self.reduced[-1], self.bind(b)
        vectors = max(1, min(self.CHAINS, length // b.target.lanes))
        block = vectors * b.target.lanes

        def along(x: Register, states: Registers) -> Registers:
            def several(index: Register, now: Registers) -> Registers:
                return self._vectors(b, b.at(x, b.multiply(index, 4)), now, [None] * vectors)

            states = b.loop(0, length // block * block, several, states, step=block)
            for index in range(length // block * block, length, b.target.lanes):
                mask = partial_mask(b.target.lanes, length - index)
                states = (*self._vectors(b, b.at(x, 4 * index), states[:width], [mask]), *states[width:])
            return states

        state = tuple(self.start(b))
        width = len(state)
        x = _moved(b, pointers["x"], unit, self.kept)
        states = self._over(b, x, state * vectors, self.reduced[:-1], along)
        while len(states) > width:
            joined = self.join(b, states[:width], states[width : 2 * width])
            states = (*joined, *states[2 * width :])
        result = self.of_lanes(b, states)
        b.store(result, b.at(pointers["y"], b.multiply(unit, result.type.bytes)))

    def _columns(self, b: FunctionBuilder, vectors: int, strips: int, unit: Register) -> None:
        """Neighbouring elements of the result."""
        (inner, _), lanes, pointers = self.kept[-1], b.target.lanes, self.bind(b)
        outer, first = b.divide(unit, strips), b.multiply(b.remainder(unit, strips), vectors * lanes)
        x = b.at(_moved(b, pointers["x"], outer, self.kept[:-1]), b.multiply(first, 4))
        masks: list[Register | None] = [None] * vectors
        if inner % (vectors * lanes):
            masks = [first_lanes(b, b.subtract(inner - i * lanes, first), lanes) for i in range(vectors)]

        def here(x: Register, states: Registers) -> Registers:
            return self._vectors(b, x, states, masks)

        state, place = tuple(self.start(b)), b.add(b.multiply(outer, inner), first)
        states = self._over(b, x, state * vectors, self.reduced, here)
        for number, mask in enumerate(masks):
            result = self.of_columns(b, states[number * len(state) : (number + 1) * len(state)])
            address = b.at(pointers["y"], b.multiply(place, result.type.element.bytes), number * result.type.bytes)
            b.store_masked(result, address, mask)

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
            return self._over(b, b.at(x, b.multiply(index, 4 * stride)), now, tuple(inner), body)

        return b.loop(0, extent, point, states)

    def _vectors(
        self, b: FunctionBuilder, x: Register, states: Registers, masks: Sequence[Register | None]
    ) -> Registers:
        """The states of neighbouring vectors after one of each."""
        vector, width = F32.of(b.target.lanes), len(states) // len(masks)
        found: list[Register] = []
        for number, mask in enumerate(masks):
            value = self.seen(b, b.load_masked(vector, b.at(x, number * vector.bytes), mask))
            if mask is not None and self.OUTSIDE:
                value = b.select(mask, value, constant(vector, self.OUTSIDE))
            found += self.step(b, value, states[number * width : (number + 1) * width])
        return tuple(found)


def _moved(b: FunctionBuilder, x: Register, index: Register, dimensions: Dimensions) -> Register:
    """The element of a point, which is given by its number."""
    for extent, stride in reversed(dimensions):
        x, index = b.at(x, b.multiply(b.remainder(index, extent), 4 * stride)), b.divide(index, extent)
    return x


@dataclass(frozen=True)
class Sum(Reduction):
    """The sum, added up in double precision, and divided by a number."""

    divisor: int = 1

    def start(self, b: FunctionBuilder) -> list[Register]:
        return [zero(F64.of(b.target.lanes))]

    def step(self, b: FunctionBuilder, value: Register, state: Registers) -> list[Register]:
        return [b.binary("fadd", state[0], b.convert("fpext", value, state[0].type))]

    def join(self, b: FunctionBuilder, one: Registers, other: Registers) -> list[Register]:
        return [b.binary("fadd", one[0], other[0])]

    def of_lanes(self, b: FunctionBuilder, state: Registers) -> Register:
        return self.of_columns(b, (b.sum_of_lanes(state[0]),))

    def of_columns(self, b: FunctionBuilder, state: Registers) -> Register:
        (total,) = state
        if self.divisor != 1:
            total = b.binary("fdiv", total, constant(total.type, self.divisor))
        return b.convert("fptrunc", total, F32.of(total.type.lanes))


@dataclass(frozen=True)
class Extreme(Reduction):
    """The largest element, or the smallest, which is taken as that of the negated ones; NaN, if there is one."""

    OUTSIDE: ClassVar[float] = -math.inf

    is_smallest: bool = False

    def start(self, b: FunctionBuilder) -> list[Register]:
        lanes = b.target.lanes
        return [constant(F32.of(lanes), -math.inf), zero(I32.of(lanes))]

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


@dataclass(frozen=True)
class Position(Extreme):
    """Where the first extreme is along the one reduced dimension, i64; NaN is the best of all."""

    CHAINS: ClassVar[int] = 1

    def start(self, b: FunctionBuilder) -> list[Register]:
        lanes = b.target.lanes
        first = vector_constant(I32.of(lanes), [str(lane if self.is_row else 0) for lane in range(lanes)])
        return [constant(F32.of(lanes), -math.inf), first, first]

    def step(self, b: FunctionBuilder, value: Register, state: Registers) -> list[Register]:
        best, found, index = state
        # Greater, or not a number where the best so far is one.
        is_better = b.binary("and", b.compare("ugt", value, best), b.compare("ord", best, best))
        following = b.binary("add", index, constant(index.type, value.type.lanes if self.is_row else 1))
        return [b.select(is_better, value, best), b.select(is_better, index, found), following]

    def of_lanes(self, b: FunctionBuilder, state: Registers) -> Register:
        best, found, _ = state
        lanes, missing = best.type.lanes, b.compare("uno", best, best)
        some = b.intrinsic(f"llvm.vector.reduce.or.{missing.type.suffix}", I1, [missing])
        is_top = b.compare("oeq", best, b.splat(b.largest_of_lanes(best), lanes))
        is_best = b.select(b.splat(some, lanes), missing, is_top)
        places = b.select(is_best, found, constant(found.type, 2**31 - 1))
        first = b.intrinsic(f"llvm.vector.reduce.smin.{places.type.suffix}", I32, [places])
        return b.convert("zext", first, I64)

    def of_columns(self, b: FunctionBuilder, state: Registers) -> Register:
        return b.convert("zext", state[1], I64.of(b.target.lanes))


def _dimensions(shape: Sequence[int], axes: Sequence[int]) -> tuple[Dimensions, Dimensions]:
    kept, reduced = kept_and_reduced(shape, axes)
    return tuple(zip(*kept, strict=True)), tuple(zip(*reduced, strict=True))


@lowers(*(ReduceSum, ReduceMean, ReduceMax, ReduceMin, GlobalAveragePool, GlobalMaxPool), needs=(is_plain, is_float))
def reduction(op: Op[Reduce | GlobalPool], target: TargetDescription) -> Kernel:
    """Sums, means and extremes."""
    operator, rank = op.operator, op.inputs[0].type.rank
    return along(op, operator.axes if isinstance(operator, Reduce) else tuple(range(2, rank)), target)


def along(op: Op[Reduce | GlobalPool | Pool], axes: Sequence[int], target: TargetDescription) -> Kernel:
    """The sum, mean or extreme of each row of all elements along ``axes``, as a pool's windows may be."""
    operator, shape = op.operator, op.inputs[0].type.shape
    dimensions = _dimensions(shape, axes)
    if isinstance(operator, ReduceMax | ReduceMin | GlobalMaxPool | MaxPool):
        return Extreme(*dimensions, isinstance(operator, ReduceMin)).kernel(target)
    count = 1 if isinstance(operator, ReduceSum) else math.prod(shape[axis] for axis in axes)
    return Sum(*dimensions, count).kernel(target)


@lowers(ArgExtreme, needs=(is_plain, has_real_meaning))
def position(op: Op[ArgExtreme], target: TargetDescription) -> Kernel | None:
    """Positions of the first extremes of single precision numbers."""
    operator, type = op.operator, op.inputs[0].type
    if type.dtype is not DType.F32 or operator.select_last_index or type.shape[operator.axis] >= 2**31:
        return None
    dimensions = _dimensions(type.shape, (operator.axis,))
    return Position(*dimensions, not isinstance(operator, ArgMax)).kernel(target)
