"""Elementwise operators, single or fused: floats up to single precision, truth values and bytes; any broadcasting."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ....ir import arithmetic
from ....ir.core import Constant, Op
from ....ir.layout import CHANNEL_BLOCK
from ....ir.op import QuantizationRule
from ....ir.ops.comparison import Where
from ....ir.ops.elementwise import Add, Elementwise, Max, Min, Mul, Pow, Sub
from ....ir.ops.fused import FusedElementwise, Step
from ....ir.ops.shape import BitCast, Cast
from ....ir.quantized import EIGHT_BIT, check_elementwise, parameters
from ....ir.types import DType
from ..element import Element
from ..formulas import POWERS, formula_of
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.byte_dot_product import ACCUMULATOR, LANES, add_word_pairs, interleaved, word_order
from ..llvm.quantized_math import StoredRange, clamped, low_bytes, packs, rounded, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import F64, I16, I32, Register, constant, type_of, vector_constant
from ..llvm.vector_arithmetic import DTYPES, VectorArithmetic
from ..tensors import has_real_meaning, is_plain
from .quantization import table_kernel
from .vector_nest import Expression, nest_kernel


class Formulas(Expression):
    """A straight line of operators on single precision and truth values; the last one makes the result.
    ``exponents``: for each step that of a power, where it is a constant with a formula of its own.
    ``halves``: steps whose results are half floats, which are computed in single precision and rounded."""

    MASKS: ClassVar[bool] = True
    REAL: ClassVar[bool] = True

    steps: tuple[Step, ...]
    exponents: tuple[float | None, ...]
    halves: tuple[int, ...] = ()

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        elements = [Element(VectorArithmetic(b), value) for value in values]
        for index, (step, exponent) in enumerate(zip(self.steps, self.exponents, strict=True)):
            arguments = [elements[position] for position in step.arguments]
            if exponent is not None:
                result = POWERS[exponent](arguments[0])
            else:
                formula = formula_of(step.operator)
                assert formula is not None
                result = formula(*arguments)
            elements.append(result.cast(DType.F16) if index in self.halves else result)
        return elements[-1].value


class Long(Formulas):
    """The same with functions, of which one after the other waits for a chain of instructions, or of truth values
    alone, which are bytes in memory."""

    VECTORS: ClassVar[int] = 4


_HALF, _MOST_SHIFT = 12, 30
"""Bits of the lower half of a multiplier, and those that a sum may lose for its upper half to have no more than 32."""


class Sum(Expression):
    """``arithmetic.add``: in two halves of 32 bits where no two operands make a tie and four registers are
    whole, else in double precision.

    Products and their sum have 34 bits: the lower half of each multiplier makes the lower half of the sum, of which
    what is more than that is carried over. In double precision everything but the one rounding is exact; where the
    shift is so large that the zero point does not fit beside the products, they are so small that the result is the
    zero point, rounded or not.
    ``dtype``: of operands and result.
    ``multipliers``: of the operands, and the shift.
    ``zeros``: of operands and result."""

    VECTORS: ClassVar[int] = 4

    dtype: DType
    multipliers: tuple[int, int, int]
    zeros: tuple[int, int, int]

    @property
    def of_zeros(self) -> int:
        """The products of the zero points of the operands."""
        return sum(factor * zero for factor, zero in zip(self.multipliers[:2], self.zeros[:2], strict=True))

    @property
    def offset(self) -> int:
        """What is added to the products before the shift, one half for rounding included."""
        shift = self.multipliers[2]
        return (self.zeros[2] << shift) - self.of_zeros + (1 << shift >> 1)

    @property
    def has_ties(self) -> bool:
        """Whether some sum lies between two integers, of which the even one would be right."""
        first, second, shift = self.multipliers
        info = np.iinfo(self.dtype.numpy)
        stored = np.arange(info.min, info.max + 1, dtype=np.int64)
        totals = (stored * first)[:, None] + stored * second + self.offset
        return bool((totals & ((1 << shift) - 1) == 0).any())

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        is_whole = values[0].type.lanes == self.VECTORS * b.target.lanes
        if is_whole and _HALF <= self.multipliers[2] <= _MOST_SHIFT and not self.has_ties:
            return self._in_halves(b, values)
        return self._in_doubles(b, values)

    def _in_halves(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        """Products of both operands, which are words, by one instruction for each half of the multipliers."""
        *factors, shift = self.multipliers
        widen, totals = "sext" if self.dtype is DType.I8 else "zext", []
        halves = [divmod(number, 1 << _HALF) for number in (self.offset, *factors)]
        for first in range(0, values[0].type.lanes, LANES):
            parts = (b.shuffle(value, value, range(first, first + LANES)) for value in values)
            words = interleaved(b, *(b.convert(widen, part, I16.of(LANES)) for part in parts))
            upper, lower = (
                add_word_pairs(
                    b, constant(ACCUMULATOR, offset), words, vector_constant(words.type, [*map(str, pair)] * LANES)
                )
                for offset, *pair in zip(*halves, strict=True)
            )
            total = b.binary("add", upper, b.binary("ashr", lower, constant(ACCUMULATOR, _HALF)))
            totals.append(b.binary("ashr", total, constant(ACCUMULATOR, shift - _HALF)))
        info = np.iinfo(self.dtype.numpy)
        if packs(b.target):
            return StoredRange(self.dtype, 0, info.min, info.max).packed(b, totals, word_order(b.target))
        (total,) = totals
        for name, bound in (("smax", info.min), ("smin", info.max)):
            limit = constant(ACCUMULATOR, int(bound))
            total = b.intrinsic(f"llvm.{name}.{ACCUMULATOR.suffix}", ACCUMULATOR, [total, limit])
        return b.convert("trunc", total, type_of(self.dtype, LANES))

    def _in_doubles(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        *factors, shift = self.multipliers
        real = F64.of(values[0].type.lanes)
        total = constant(real, self.zeros[2] - math.ldexp(self.of_zeros, -shift))
        for value, factor in zip(values, factors, strict=True):
            stored = b.convert("sitofp", widened(b, value, self.dtype), real)
            total = b.fma(stored, constant(real, math.ldexp(factor, -shift)), total)
        return _saturated(b, total, self.dtype)


class Multiplication(Expression):
    """``arithmetic.multiply``.
    ``dtype``: of operands and result.
    ``factor``: single precision.
    ``zeros``: of operands and result."""

    dtype: DType
    factor: float
    zeros: tuple[int, int, int]

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        factors = []
        for value, zero in zip(values, self.zeros, strict=False):
            wide = widened(b, value, self.dtype)
            factors.append(b.binary("sub", wide, constant(wide.type, zero)))
        real = single(b, b.binary("mul", *factors))
        real = b.binary("fmul", real, constant(real.type, self.factor))
        return _saturated(b, b.binary("fadd", real, constant(real.type, self.zeros[2])), self.dtype)


def _saturated(b: FunctionBuilder, real: Register, dtype: DType) -> Register:
    """The nearest stored integers."""
    info = np.iinfo(dtype.numpy)
    low, high = (constant(real.type, int(bound)) for bound in (info.min, info.max))
    return b.convert("trunc", rounded(b, clamped(b, real, low, high)), type_of(dtype, real.type.lanes))


class Extreme(Expression):
    """The larger or smaller stored integer of two.
    ``is_signed``: how the integers are read.
    ``takes_larger``: the larger; else the smaller."""

    is_signed: bool
    takes_larger: bool

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        relation = ("s" if self.is_signed else "u") + ("gt" if self.takes_larger else "lt")
        return b.select(b.compare(relation, *values), *values)


class Choice(Expression):
    """The second element where the first is true, else the third."""

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        return b.select(*values)


class Truncation(Expression):
    """The lowest byte of a number whose fraction is dropped: that of the smallest integer where 32 bits are too few."""

    VECTORS: ClassVar[int] = 4

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        (real,) = values
        least, end = (constant(real.type, bound) for bound in (-(2.0**31), 2.0**31))
        fits = b.binary("and", b.compare("oge", real, least), b.compare("olt", real, end))
        held = b.select(fits, real, constant(real.type, 0))
        return low_bytes(b, b.convert("fptosi", held, I32.of(real.type.lanes)))


class Truncated(Formulas):
    """The same, and the lowest byte of what it makes."""

    VECTORS: ClassVar[int] = 4

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        return Truncation().apply(b, [super().apply(b, values)])


def _is_truncated(op: Op[Elementwise]) -> bool:
    """Whether the last of several steps takes bytes of single precision that the one before has made."""
    operator, dtype = op.operator, op.result.type.dtype
    if not isinstance(operator, FusedElementwise) or dtype not in EIGHT_BIT:
        return False
    last, made = operator.steps[-1], operator.step_types(tuple(v.type.plain for v in op.inputs))[-2:]
    is_next = last.arguments == (len(op.inputs) + len(operator.steps) - 2,)
    return isinstance(last.operator, Cast) and is_next and made[0].dtype is DType.F32


def formulas_of(op: Op[Elementwise], less: int = 0) -> Formulas | None:
    """The expression of an op on floats up to single precision and truth values, but for its last steps, ``None`` if a
    part of it has no vector form."""
    operator = op.operator
    steps, halves = (Step(operator, tuple(range(len(op.operands)))),), ()
    if isinstance(operator, FusedElementwise):
        steps = operator.steps[: len(operator.steps) - less]
        dtypes = [type.dtype for type in operator.step_types(tuple(v.type.plain for v in op.inputs))][: len(steps)]
        if any(dtype not in DTYPES and not _is_sum(step, dtype) for step, dtype in zip(steps, dtypes, strict=True)):
            return None
        halves = tuple(index for index, dtype in enumerate(dtypes[:-1]) if dtype is DType.F16)
    if any(formula_of(step.operator) is None for step in steps):
        return None
    # In registers half precision is wider than it is stored, and has no bits of its own.
    has_halves = halves or any(value.type.dtype is DType.F16 for value in (*op.inputs, *op.results))
    if has_halves and any(isinstance(step.operator, BitCast) for step in steps):
        return None
    return Formulas(steps, tuple(_constant_exponent(step, op) for step in steps), halves)


def _constant_exponent(step: Step, op: Op) -> float | None:
    if not isinstance(step.operator, Pow) or step.arguments[1] >= len(op.inputs):
        return None
    exponent = op.inputs[step.arguments[1]]
    if not isinstance(exponent, Constant) or exponent.array.size != 1:
        return None
    value = float(exponent.array.item())
    return value if value in POWERS else None


_NARROW = (DType.I8, DType.U8, DType.I16, DType.U16, DType.I32)
"""Integers that are converted to single precision as vectors."""


def _is_sum(step: Step, dtype: DType) -> bool:
    """Whether a step adds integers of 32 bits, as a bias behind a product of bytes is added."""
    return dtype is DType.I32 and isinstance(step.operator, Add)


def _is_converted(op: Op[Elementwise], operand: int) -> bool:
    """Whether nothing is made of an integer operand, or of what it is added to, but a number of single precision."""
    operator, dtype = op.operator, op.inputs[operand].type.dtype
    count = len(op.inputs)
    steps = operator.steps if isinstance(operator, FusedElementwise) else (Step(operator, tuple(range(count))),)
    integers = {operand}
    for index, step in enumerate(steps, count):
        if integers.isdisjoint(step.arguments):
            continue
        if _is_sum(step, dtype) and index < count + len(steps) - 1:
            integers.add(index)
        elif not isinstance(step.operator, Cast) or step.operator.to is not DType.F32:
            return False
    return dtype in _NARROW


@lowers(Cast, needs=(has_real_meaning,))
def truncation(op: Op[Cast], target: TargetDescription) -> Kernel | None:
    """Single precision to integers of 8 bits."""
    known = op.inputs[0].type.dtype is DType.F32 and op.result.type.dtype in EIGHT_BIT
    return nest_kernel(op, Truncation(), target) if known else None


@lowers(Elementwise)
def elementwise(op: Op[Elementwise], target: TargetDescription) -> Kernel | None:
    """Operators on floats up to single precision and truth values."""
    types, is_truncated = [value.type for value in (*op.inputs, *op.results)], _is_truncated(op)
    known = [type.dtype in DTYPES for type in types[: len(types) - is_truncated]]
    if not all(is_known or (i < len(op.inputs) and _is_converted(op, i)) for i, is_known in enumerate(known)):
        return None
    if any(type.quant for type in types):
        return None
    # In the lanes that fill the last block, results would have to be zero.
    if types[-1].layout == "c16" and types[-1].shape[1] % CHANNEL_BLOCK:
        return None
    formulas = formulas_of(op, int(is_truncated))
    if formulas is None or (not target.converts_half and (formulas.halves or any(t.dtype is DType.F16 for t in types))):
        return None
    has_functions = any(step.operator.QUANTIZATION is QuantizationRule.TABLE for step in formulas.steps)
    is_long = has_functions or all(type.dtype is DType.BOOL for type in types)
    form = Truncated if is_truncated else Long if is_long else Formulas
    return nest_kernel(op, form(**vars(formulas)), target)


@lowers(Add, Sub, Mul, Min, Max)
def quantized_binary(op: Op, target: TargetDescription) -> Kernel | None:
    """Two 8-bit tensors, or the product of two of 16 bits, broadcast against each other."""
    operator, types = op.operator, [value.type for value in (*op.inputs, op.result)]
    dtype = types[-1].dtype
    wide = isinstance(operator, Mul)
    if check_elementwise(types[:2], types[2:], wide=wide) is not None or any(type.dtype is not dtype for type in types):
        return None
    if isinstance(operator, Min | Max):
        return nest_kernel(op, Extreme(dtype is DType.I8, isinstance(operator, Max)), target)
    scales, zeros = zip(*map(parameters, types), strict=True)
    if isinstance(operator, Mul):
        factor = float(arithmetic.multiplier(scales[0], np.asarray(scales[1]), scales[2]))
        return nest_kernel(op, Multiplication(dtype, factor, zeros), target)
    first, second, shift = arithmetic.add_multipliers(*scales)
    return nest_kernel(op, Sum(dtype, (first, -second if isinstance(operator, Sub) else second, shift), zeros), target)


@lowers(Where)
def choice(op: Op[Where], target: TargetDescription) -> Kernel | None:
    """One of two tensors at each point, of 8 bits with equal parameters or of plain integers."""
    types = [value.type for value in (*op.inputs[1:], op.result)]
    is_stored = op.result.type.dtype is not DType.F16 and is_plain(op) and has_real_meaning(op)
    return nest_kernel(op, Choice(), target) if is_stored or check_elementwise(types[:2], types[2:]) is None else None


@lowers(Elementwise)
def quantized_function(op: Op, target: TargetDescription) -> Kernel | None:
    """A function of one 8-bit tensor, of any layout."""
    return table_kernel(op, target) if op.operator.QUANTIZATION is QuantizationRule.TABLE else None
