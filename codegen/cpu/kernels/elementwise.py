"""Elementwise operators, single or fused: single precision and truth values, and 8-bit tensors; any broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....ir import arithmetic
from ....ir.core import Constant, Op
from ....ir.layout import BLOCK
from ....ir.op import Operator, QuantizationRule
from ....ir.ops.comparison import Where
from ....ir.ops.elementwise import Add, Elementwise, Max, Min, Mul, Pow, Sub
from ....ir.ops.fused import FusedElementwise
from ....ir.quantized import check_elementwise, parameters
from ....ir.types import DType
from ..element import Element
from ..formulas import POWERS, formula_of
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import clamped, rounded, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import F64, Register, constant, type_of
from ..llvm.vector_arithmetic import DTYPES, VectorArithmetic
from ..registry import lowers
from .table_lookup import table_kernel
from .vector_nest import Expression, nest_kernel


@dataclass(frozen=True)
class Statement:
    """One operator of an expression.

    Attributes:
        arguments: positions in the list of all operands, then the results of all statements before.
        exponent: of a power, where it is a constant with code of its own.
    """

    operator: Operator
    arguments: tuple[int, ...]
    exponent: float | None = None


@dataclass(frozen=True)
class Statements(Expression):
    """A straight line of operators on single precision and truth values; the last one makes the result."""

    MASKS: ClassVar[bool] = True

    statements: tuple[Statement, ...]

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        elements = [Element(VectorArithmetic(b), value) for value in values]
        for statement in self.statements:
            arguments = [elements[position] for position in statement.arguments]
            if statement.exponent is not None:
                elements.append(POWERS[statement.exponent](arguments[0]))
                continue
            formula = formula_of(statement.operator)
            assert formula is not None
            elements.append(formula(*arguments))
        return elements[-1].value


@dataclass(frozen=True)
class Sum(Expression):
    """``arithmetic.add``: in double precision, in which everything but the one rounding is exact.

    Products and their sum have 34 bits. Where the shift is so large that the zero point does not fit beside them, they
    are so small that the result is the zero point, rounded or not.

    Attributes:
        dtype: of operands and result.
        multipliers: of the operands, and the shift.
        zeros: of operands and result.
    """

    dtype: DType
    multipliers: tuple[int, int, int]
    zeros: tuple[int, int, int]

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        *factors, shift = self.multipliers
        offset = sum(factor * zero for factor, zero in zip(factors, self.zeros, strict=False))
        real = F64.of(values[0].type.lanes)
        total = constant(real, self.zeros[2] - math.ldexp(offset, -shift))
        for value, factor in zip(values, factors, strict=True):
            stored = b.convert("sitofp", widened(b, value, self.dtype), real)
            total = b.fma(stored, constant(real, math.ldexp(factor, -shift)), total)
        return _saturated(b, total, self.dtype)


@dataclass(frozen=True)
class Product(Expression):
    """``arithmetic.multiply``.

    Attributes:
        dtype: of operands and result.
        factor: single precision.
        zeros: of operands and result.
    """

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
    """The nearest bytes."""
    info = np.iinfo(dtype.numpy)
    low, high = (constant(real.type, int(bound)) for bound in (info.min, info.max))
    return b.convert("trunc", rounded(b, clamped(b, real, low, high)), type_of(dtype, real.type.lanes))


@dataclass(frozen=True)
class Extreme(Expression):
    """The larger or smaller stored integer of two.

    Attributes:
        is_signed: how the integers are read.
        takes_larger: the larger; else the smaller.
    """

    is_signed: bool
    takes_larger: bool

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        relation = ("s" if self.is_signed else "u") + ("gt" if self.takes_larger else "lt")
        return b.select(b.compare(relation, *values), *values)


@dataclass(frozen=True)
class Choice(Expression):
    """The second element where the first is true, else the third."""

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        return b.select(*values)


def statements_of(op: Op) -> Statements | None:
    """The expression of an op on single precision and truth values, ``None`` if a part of it has no vector form."""
    operator = op.operator
    parts = [(operator, tuple(range(len(op.operands))))]
    if isinstance(operator, FusedElementwise):
        parts = [(step.operator, step.arguments) for step in operator.steps]
        types = operator.step_types(tuple(value.type.plain for value in op.inputs))
        if any(type.dtype not in DTYPES for type in types):
            return None
    if any(formula_of(part) is None for part, _ in parts):
        return None
    return Statements(tuple(Statement(*part, _constant_exponent(*part, op)) for part in parts))


def _constant_exponent(operator: Operator, arguments: tuple[int, ...], op: Op) -> float | None:
    if not isinstance(operator, Pow) or arguments[1] >= len(op.inputs):
        return None
    exponent = op.inputs[arguments[1]]
    if not isinstance(exponent, Constant) or exponent.array.size != 1:
        return None
    value = float(exponent.array.item())
    return value if value in POWERS else None


@lowers(Elementwise)
def elementwise(op: Op, target: TargetDescription) -> Kernel | None:
    """Operators on single precision and truth values."""
    types = [value.type for value in (*op.inputs, *op.results)]
    if any(type.dtype not in DTYPES or type.quant for type in types):
        return None
    # In the lanes that fill the last block, results would have to be zero.
    if types[-1].layout == "c16" and types[-1].shape[1] % BLOCK:
        return None
    statements = statements_of(op)
    return nest_kernel(op, statements, target) if statements is not None else None


@lowers(Add, Sub, Mul, Min, Max)
def quantized_binary(op: Op, target: TargetDescription) -> Kernel | None:
    """Two 8-bit tensors, broadcast against each other."""
    operator, types = op.operator, [value.type for value in (*op.inputs, op.result)]
    dtype = types[-1].dtype
    if check_elementwise(types[:2], types[2:]) is not None or any(type.dtype is not dtype for type in types):
        return None
    if isinstance(operator, Min | Max):
        return nest_kernel(op, Extreme(dtype is DType.I8, isinstance(operator, Max)), target)
    scales, zeros = zip(*map(parameters, types), strict=True)
    if isinstance(operator, Mul):
        factor = float(arithmetic.multiplier(scales[0], np.asarray(scales[1]), scales[2]))
        return nest_kernel(op, Product(dtype, factor, zeros), target)
    first, second, shift = arithmetic.add_multipliers(*scales)
    return nest_kernel(op, Sum(dtype, (first, -second if isinstance(operator, Sub) else second, shift), zeros), target)


@lowers(Where)
def quantized_choice(op: Op, target: TargetDescription) -> Kernel | None:
    """One of two 8-bit tensors of equal parameters at each point."""
    types = [value.type for value in op.inputs[1:]]
    return nest_kernel(op, Choice(), target) if check_elementwise(types, [op.result.type]) is None else None


@lowers(Elementwise)
def quantized_function(op: Op, target: TargetDescription) -> Kernel | None:
    """A function of one 8-bit tensor, of any layout."""
    return table_kernel(op, target) if op.operator.QUANTIZATION is QuantizationRule.TABLE else None
