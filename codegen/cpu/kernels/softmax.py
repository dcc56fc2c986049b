"""Softmax and its logarithm on vectors, along any dimension of row-major tensors of single precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ....ir.core import Op
from ....ir.ops.softmax import LogSoftmax, Softmax
from ..kernel import Kernel
from ..llvm import vector_math as vm
from ..llvm.builder import FunctionBuilder
from ..llvm.row_vectors import RowVector, over_row
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I64, Register, Registers, constant, vector_constant, zero
from ..registry import lowers
from ..spec import KernelSpec
from ..tensors import is_float, layouts


@dataclass(frozen=True)
class RowSoftmax(KernelSpec):
    """Softmax of each row of x [rows, length]; arguments x and result, which may lie in the same place.

    Attributes:
        is_log: the logarithm of it.
    """

    rows: int
    length: int
    is_log: bool

    def generate(self, target: TargetDescription) -> Kernel:
        b = self.entry(target, writes=("x", "y"))
        arguments = self.bind(b)

        def row(index: Register, _: Registers) -> Registers:
            place = b.multiply(index, 4 * self.length)
            self._row(b, b.at(arguments["x"], place), b.at(arguments["y"], place))
            return ()

        b.loop(arguments["begin"], arguments["end"], row)
        return self.finish(b, units=self.rows)

    def _row(self, b: FunctionBuilder, x: Register, y: Register) -> None:
        lanes = b.target.lanes
        vector = F32.of(lanes)

        def largest(place: RowVector, carried: Registers) -> list[Register]:
            return [place.only(b.larger(carried[0], place.load(x)), carried[0])]

        (tops,) = over_row(b, self.length, largest, [constant(vector, -math.inf)])
        top = b.splat(b.largest_of_lanes(tops), lanes)

        def exponential(place: RowVector, carried: Registers) -> list[Register]:
            e = vm.exp(b, b.binary("fsub", place.load(x), top))
            if not self.is_log:
                place.store(e, y)
            return [place.only(b.binary("fadd", carried[0], e), carried[0])]

        (sums,) = over_row(b, self.length, exponential, [zero(vector)])
        total = b.splat(b.sum_of_lanes(sums), lanes)
        if self.is_log:
            shift = b.binary("fadd", top, vm.log(b, total))
        else:
            shift = b.binary("fdiv", constant(vector, 1), total)

        def finish(place: RowVector, _: Registers) -> Registers:
            if self.is_log:
                place.store(b.binary("fsub", place.load(x), shift), y)
            else:
                place.store(b.binary("fmul", place.load(y), shift), y)
            return ()

        over_row(b, self.length, finish)


@dataclass(frozen=True)
class ColumnSoftmax(KernelSpec):
    """Softmax along the middle dimension of x [outer, length, inner]; arguments x and result.

    Attributes:
        is_log: the logarithm of it.
    """

    outer: int
    length: int
    inner: int
    is_log: bool

    def generate(self, target: TargetDescription) -> Kernel:
        b = self.entry(target, writes=("x", "y"))
        arguments = self.bind(b)
        strips = -(-self.inner // target.lanes)

        def unit(index: Register, _: Registers) -> Registers:
            matrix, strip = b.divide(index, strips), b.multiply(b.remainder(index, strips), target.lanes)
            place = b.multiply(b.add(b.multiply(matrix, self.length * self.inner), strip), 4)
            left = b.subtract(self.inner, strip)
            numbers = vector_constant(I64.of(target.lanes), [str(lane) for lane in range(target.lanes)])
            mask = b.compare("slt", numbers, b.splat(left, target.lanes))
            self._columns(b, b.at(arguments["x"], place), b.at(arguments["y"], place), mask, target.lanes)
            return ()

        b.loop(arguments["begin"], arguments["end"], unit)
        return self.finish(b, units=self.outer * strips)

    def _columns(self, b: FunctionBuilder, x: Register, y: Register, mask: Register, lanes: int) -> None:
        """As many columns as a vector has lanes."""
        vector = F32.of(lanes)
        step = 4 * self.inner

        def read(pointer: Register, index: Register) -> Register:
            return b.load_masked(vector, b.at(pointer, b.multiply(index, step)), mask)

        def write(value: Register, index: Register) -> None:
            b.store_masked(value, b.at(y, b.multiply(index, step)), mask)

        lowest = constant(vector, -math.inf)
        (top,) = b.loop(0, self.length, lambda k, c: [b.larger(c[0], read(x, k))], [lowest])

        def exponential(index: Register, carried: Registers) -> list[Register]:
            e = vm.exp(b, b.binary("fsub", read(x, index), top))
            if not self.is_log:
                write(e, index)
            return [b.binary("fadd", carried[0], e)]

        (total,) = b.loop(0, self.length, exponential, [zero(vector)])
        shift = b.binary("fadd", top, vm.log(b, total)) if self.is_log else total

        def finish(index: Register, _: Registers) -> Registers:
            if self.is_log:
                write(b.binary("fsub", read(x, index), shift), index)
            else:
                write(b.binary("fdiv", read(y, index), shift), index)
            return ()

        b.loop(0, self.length, finish)


SHORT_ROW = 8
"""Rows of fewer elements are left to loops over single elements."""


@lowers(Softmax, LogSoftmax)
def softmax(op: Op, target: TargetDescription) -> Kernel | None:
    """Softmax along rows that are contiguous, or along columns side by side."""
    operator = op.operator
    assert isinstance(operator, (Softmax, LogSoftmax))
    shape = op.result.type.shape
    if not is_float(op) or any(layouts(op)) or not math.prod(shape):
        return None
    outer, length, inner = (
        math.prod(shape[: operator.axis]),
        shape[operator.axis],
        math.prod(shape[operator.axis + 1 :]),
    )
    is_log = isinstance(operator, LogSoftmax)
    if inner == 1 and length < SHORT_ROW:
        return None
    if inner == 1:
        return RowSoftmax(outer, length, is_log).kernel(target)
    return ColumnSoftmax(outer, length, inner, is_log).kernel(target)
