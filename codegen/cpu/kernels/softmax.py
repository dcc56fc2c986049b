"""Softmax, its logarithm and that of its divisor on vectors, along dimensions of row-major tensors of floats."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import ClassVar

from ....ir.core import Op
from ....ir.ops.reduction import Reduce, ReduceLogSumExp
from ....ir.ops.softmax import LogSoftmax, Softmax
from ..kernel import Kernel, lowers
from ..llvm import vector_math as vm
from ..llvm.builder import FunctionBuilder
from ..llvm.row_vectors import RowStep, RowVector, over_row
from ..llvm.target import TargetDescription
from ..llvm.types import F32, Register, Registers, Type, constant, mask_constant, partial_mask, zero
from ..spec import KernelSpec
from ..tensors import has_elements, is_float, is_plain
from .reduction import Reduction, dimensions_of

LEAST_LANES = 8
"""Of vectors that are half a register: as many columns take half the time in them."""

_LARGEST = 3.4028234663852886e38
"""Of all numbers."""

_TOGETHER = 4
"""Registers of a long row that are computed side by side: one after the other they would wait for each other."""

SHORT_ROW = 20
"""Of rows with fewer elements, unless these are whole vectors, several are computed at once."""


class VectorSoftmax(KernelSpec):
    """Softmax along the middle dimension of x [outer, length, inner]; arguments x and result, perhaps in one place."""

    outer: int
    length: int
    inner: int
    is_log: bool

    def generate(self, target: TargetDescription) -> Kernel:
        if 1 < self.inner <= target.lanes // 2 >= LEAST_LANES:
            target = replace(target, vector_bits=target.vector_bits // 2)
        (b, _), lanes = self.entry(target, writes=("x", "y")), target.lanes
        strips = -(-self.inner // lanes)

        registers = _TOGETHER if self.length >= 8 * _TOGETHER * lanes else 1

        def rows(index: Register) -> None:
            over = partial(over_row, b, self.length, registers=registers)
            self._softmax(b, b.multiply(index, 4 * self.length), F32.of(registers * lanes), over)

        def columns(index: Register) -> None:
            """As many columns as a vector has lanes, of which those of the last strip are masked."""
            matrix, strip = b.divide(index, strips), b.multiply(b.remainder(index, strips), lanes)
            offset = b.multiply(b.add(b.multiply(matrix, self.length * self.inner), strip), 4)

            def some(mask: Register | None) -> None:
                def over_columns(step: RowStep, carried: Sequence[Register] = ()) -> Registers:
                    def body(row: Register, inside: Registers) -> Sequence[Register]:
                        return step(RowVector(b, b.multiply(row, 4 * self.inner), mask, lanes), inside) or ()

                    return b.loop(0, self.length, body, carried)

                self._softmax(b, offset, F32.of(lanes), over_columns)

            rest = partial_mask(lanes, self.inner % lanes or lanes)
            if strips == 1 or rest is None:
                some(rest)
            else:
                b.if_(b.compare("sle", strip, self.inner - lanes), lambda: some(None), lambda: some(rest))

        if self.inner == 1 and self.length < SHORT_ROW and self.length % lanes:
            return self.each_unit(b, partial(self._short_rows, b), units=-(-self.outer // lanes))
        return self.each_unit(b, rows if self.inner == 1 else columns, units=self.outer * strips)

    def _short_rows(self, b: FunctionBuilder, index: Register) -> None:
        """Softmax of as many neighbouring rows as a vector has lanes."""
        pointers, lanes, length = self.bind(b), b.target.lanes, self.length
        elements = lanes * length
        x, y = (b.at(pointers[name], b.multiply(index, 4 * elements)) for name in ("x", "y"))

        def over_columns(combine: Callable[[Register, Register], Register], rows: Register) -> Register:
            """One number for each row."""
            return reduce(combine, [b.shuffle(rows, rows, range(first, elements, length)) for first in range(length)])

        def along_rows(numbers: Register) -> Register:
            return b.shuffle(numbers, numbers, [lane // length for lane in range(elements)])

        def group(count: int) -> None:
            mask = mask_constant(elements, count * length) if count < lanes else None
            rows = b.load_masked(F32.of(elements), x, mask)
            rows = b.binary("fsub", rows, along_rows(over_columns(b.larger, rows)))
            e = vm.exp_below_zero(b, rows)
            total = over_columns(partial(b.binary, "fadd"), e)
            if self.is_log:
                result = b.binary("fsub", rows, along_rows(vm.log(b, total)))
            else:
                result = b.binary("fmul", e, along_rows(b.binary("fdiv", constant(total.type, 1), total)))
            b.store_masked(result, y, mask)

        b.of_part(index, self.outer, lanes, group)

    def _softmax(self, b: FunctionBuilder, offset: Register, vector: Type, over: Callable[..., Registers]) -> None:
        """Softmax of a row, or of columns side by side; ``over`` goes along it as :func:`over_row` does, by vectors."""
        pointers, is_row = self.bind(b), self.inner == 1
        x, y = b.at(pointers["x"], offset), b.at(pointers["y"], offset)

        def kept(part: RowVector, value: Register, otherwise: Register) -> list[Register]:
            return [part.only(value, otherwise) if is_row else value]

        def largest(part: RowVector, carried: Registers) -> list[Register]:
            return kept(part, b.larger(carried[0], part.load(x)), carried[0])

        (top,) = over(largest, [constant(vector, -math.inf)])
        top = b.splat(b.largest_of_lanes(top), vector.lanes) if is_row else top

        rests: list[Register] = []

        def exponential(part: RowVector, carried: Registers) -> list[Register]:
            e = vm.exp_below_zero(b, b.binary("fsub", part.load(x), top))
            if is_row and part.mask is not None:
                # AVX2 waits long for what was just stored under a mask.
                rests.append(e)
            elif not self.is_log:
                part.store(e, y)
            return kept(part, b.binary("fadd", carried[0], e), carried[0])

        (total,) = over(exponential, [zero(vector)])
        total = b.splat(b.sum_of_lanes(total), vector.lanes) if is_row else total
        if self.is_log:
            operation, values, shift = "fsub", x, vm.log(b, total)
        else:
            operation, values, shift = "fmul", y, b.binary("fdiv", constant(vector, 1), total)

        def shifted(part: RowVector, _: Registers) -> None:
            value = rests[0] if rests and part.mask is not None and not self.is_log else part.load(values)
            # Subtracted first, lest the logarithm be lost in the rounding of a large element.
            value = b.binary("fsub", value, top) if self.is_log else value
            part.store(b.binary(operation, value, shift), y)

        over(shifted)


@lowers(Softmax, LogSoftmax, needs=(is_float, is_plain))
def softmax(op: Op[Softmax | LogSoftmax], target: TargetDescription) -> Kernel | None:
    """Softmax along rows that are contiguous, or along columns side by side."""
    operator, shape = op.operator, op.result.type.shape
    length, inner = shape[operator.axis], math.prod(shape[operator.axis + 1 :])
    outer = math.prod(shape[: operator.axis])
    return VectorSoftmax(outer, length, inner, isinstance(operator, LogSoftmax)).kernel(target)


class LogSumExp(Reduction):
    """The logarithm of the sum of exponentials, which are told as multiples of that of the largest so far."""

    IS_EXTREME: ClassVar[bool] = True
    SHORT: ClassVar[int] = 16

    def start(self, b: FunctionBuilder) -> list[Register]:
        return [constant(F32.of(b.target.lanes), -math.inf), zero(F32.of(b.target.lanes))]

    def step(self, b: FunctionBuilder, value: Register, state: Registers) -> list[Register]:
        return self.join(b, state, (value, constant(value.type, 1)))

    def join(self, b: FunctionBuilder, one: Registers, other: Registers) -> list[Register]:
        top = b.larger(other[0], one[0])
        multiples = (b.binary("fmul", total, self._multiple(b, best, top)) for best, total in (one, other))
        return [top, b.binary("fadd", *multiples)]

    def _multiple(self, b: FunctionBuilder, x: Register, top: Register) -> Register:
        """e^x of e^top; infinity is as far from itself as a number is."""
        x, top = (vm.maximum(b, vm.minimum(b, each, _LARGEST), -_LARGEST) for each in (x, top))
        return vm.exp_below_zero(b, b.binary("fsub", x, top))

    def of_lanes(self, b: FunctionBuilder, state: Registers) -> Register:
        top = b.largest_of_lanes(state[0])
        multiple = self._multiple(b, state[0], b.splat(top, state[0].type.lanes))
        return self.of_columns(b, (top, b.sum_of_lanes(b.binary("fmul", state[1], multiple))))

    def of_columns(self, b: FunctionBuilder, state: Registers) -> Register:
        return b.binary("fadd", state[0], vm.log(b, state[1]))


@lowers(ReduceLogSumExp, needs=(is_float, is_plain, has_elements))
def log_sum_exp(op: Op[Reduce], target: TargetDescription) -> Kernel:
    return LogSumExp(*dimensions_of(op.inputs[0].type.shape, op.operator.axes)).kernel(target)
