"""Elementwise operators on quantised tensors: sums, products, extremes, changes of parameters, tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....ir import arithmetic
from ....ir.core import Op
from ....ir.layout import BLOCK, bytes_of, physical_shape
from ....ir.op import QuantizationRule
from ....ir.ops.comparison import Where
from ....ir.ops.elementwise import Add, Elementwise, Max, Min, Mul, Sub
from ....ir.ops.quantization import AssumeQuantized, Dequantize, Quantize, Requantize, StoredIntegers
from ....ir.quantized import check_elementwise, limits, parameters
from ....ir.types import DType, TensorType
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import clamped, rounded, signed_byte, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import F64, I64, Register, constant, type_of
from ..nest import Access, Nest, broadcast, row_major
from ..numba.nest_kernel import copy_kernel
from ..registry import lowers
from .quantized_nest import Expression, QuantizedNest, Table
from .quantized_table import TableLookup

_STORED = (DType.I8, DType.U8, DType.I16, DType.U16)


@dataclass(frozen=True)
class Sum(Expression):
    """``arithmetic.add``: in double precision, in which everything but the one rounding is exact.

    Products and their sum have 34 bits. Where the shift is so large that the zero point does not fit beside them, they
    are so small that the result is the zero point, rounded or not.

    Attributes:
        dtypes: of the operands.
        multipliers: of the operands, and the shift.
        zeros: of operands and result.
        low, high: clamp.
    """

    dtypes: tuple[DType, DType]
    multipliers: tuple[int, int, int]
    zeros: tuple[int, int, int]
    low: int
    high: int

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        *factors, shift = self.multipliers
        offset = sum(factor * zero for factor, zero in zip(factors, self.zeros, strict=False))
        real = F64.of(values[0].type.lanes)
        total = constant(real, self.zeros[2] - math.ldexp(offset, -shift))
        for value, dtype, factor in zip(values, self.dtypes, factors, strict=True):
            stored = b.convert("sitofp", widened(b, value, dtype), real)
            total = b.fma(stored, constant(real, math.ldexp(factor, -shift)), total)
        bounds = (constant(real, bound) for bound in (self.low, self.high))
        return b.convert("trunc", rounded(b, clamped(b, total, *bounds)), values[0].type)


@dataclass(frozen=True)
class Product(Expression):
    """``arithmetic.multiply``.

    Attributes:
        dtypes: of the operands.
        factor: single precision.
        zeros: of operands and result.
        low, high: clamp.
    """

    dtypes: tuple[DType, DType]
    factor: float
    zeros: tuple[int, int, int]
    low: int
    high: int

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        factors = []
        for value, dtype, zero in zip(values, self.dtypes, self.zeros, strict=False):
            wide = widened(b, value, dtype)
            factors.append(b.binary("sub", wide, constant(wide.type, zero)))
        real = single(b, b.binary("mul", *factors))
        real = b.binary("fmul", real, constant(real.type, self.factor))
        real = b.binary("fadd", real, constant(real.type, self.zeros[2]))
        bounds = (constant(real.type, bound) for bound in (self.low, self.high))
        return b.convert("trunc", rounded(b, clamped(b, real, *bounds)), values[0].type)


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
        truth, yes, no = values
        return b.select(b.compare("ne", truth, constant(truth.type, 0)), yes, no)


@dataclass(frozen=True)
class Conversion(Expression):
    """Between numbers and stored integers, or from stored integers to others.

    Elements are the operand, then its scale and zero point if it is quantised, then those of the result if that is;
    zero points as i32.

    Attributes:
        source, target: element types; f32 if not quantised.
    """

    source: DType
    target: DType

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        value, *rest = values
        lanes = value.type.lanes
        if self.source is DType.I32:
            # The difference to the zero point may take 33 bits.
            difference = b.binary(
                "sub", b.convert("sext", value, I64.of(lanes)), b.convert("sext", rest[1], I64.of(lanes))
            )
            real = b.binary("fmul", single(b, difference), rest[0])
        elif self.source is DType.F32:
            real = value
        else:
            real = b.binary("fmul", single(b, b.binary("sub", widened(b, value, self.source), rest[1])), rest[0])
        if self.target is DType.F32:
            return real
        scale, zero = rest[-2:]
        range = np.iinfo(self.target.numpy)
        low, high = (single(b, b.binary("sub", constant(zero.type, int(n)), zero)) for n in (range.min, range.max))
        integers = rounded(b, clamped(b, b.binary("fdiv", real, scale), low, high))
        return b.convert("trunc", b.binary("add", integers, zero), type_of(self.target, lanes))


def access_of(type: TensorType, result: TensorType) -> Access | None:
    """How an operand is visited along the physical shape of a result, ``None`` if not in an even stride."""
    physical = physical_shape(result)
    if type.layout == result.layout:
        if type.layout and type.shape[1] != result.shape[1]:
            return None
        return broadcast(physical_shape(type), physical)
    if type.elements == 1:
        return Access((0,) * len(physical))
    extents = (1,) * (result.rank - type.rank) + type.shape
    if type.layout or extents[1] != result.shape[1] or extents[1] % BLOCK or any(e != 1 for e in extents[2:]):
        return None
    # Without spatial extents, whole blocks lie in row-major order as they do in blocks.
    return broadcast((extents[0], extents[1] // BLOCK, *extents[2:], BLOCK), physical)


def _nest_kernel(op: Op, expression: Expression, target: TargetDescription) -> Kernel | None:
    result = op.result.type
    accesses = [access_of(value.type, result) for value in op.inputs]
    physical = physical_shape(result)
    if any(access is None for access in accesses) or not result.elements:
        return None
    present = [access for access in accesses if access is not None]
    nest = Nest(physical, (*present, Access(row_major(physical)))).collapsed()
    # Truth values are bytes in memory.
    dtypes = tuple(DType.U8 if v.type.dtype is DType.BOOL else v.type.dtype for v in (*op.inputs, op.result))
    return QuantizedNest(nest, dtypes, expression).kernel(target)


@lowers(Add, Sub, Mul, Min, Max)
def quantized_binary(op: Op, target: TargetDescription) -> Kernel | None:
    """Two 8-bit tensors, broadcast against each other, in row-major order or in layout ``c16``."""
    operator, result = op.operator, op.result.type
    types = [value.type for value in op.inputs]
    if check_elementwise(types, [result]) is not None or len({t.dtype for t in (*types, result)}) != 1:
        return None
    dtypes = types[0].dtype, types[1].dtype
    if isinstance(operator, Min | Max):
        return _nest_kernel(op, Extreme(dtypes[0] is DType.I8, isinstance(operator, Max)), target)
    scales, zeros = zip(*(parameters(type) for type in (*types, result)), strict=True)
    low, high = limits(result)
    if isinstance(operator, Mul):
        factor = float(arithmetic.multiplier(scales[0], np.asarray(scales[1]), scales[2]))
        return _nest_kernel(op, Product(dtypes, factor, zeros, low, high), target)
    first, second, shift = arithmetic.add_multipliers(*scales)
    multipliers = (first, -second if isinstance(operator, Sub) else second, shift)
    return _nest_kernel(op, Sum(dtypes, multipliers, zeros, low, high), target)


@lowers(Where)
def quantized_choice(op: Op, target: TargetDescription) -> Kernel | None:
    """One of two 8-bit tensors of equal parameters at each place."""
    types = [value.type for value in op.inputs[1:]]
    if check_elementwise(types, [op.result.type]) is not None:
        return None
    return _nest_kernel(op, Choice(), target)


@lowers(Elementwise, Requantize)
def quantized_table(op: Op, target: TargetDescription) -> Kernel | None:
    """A function of one 8-bit tensor, of any layout, as a table made by the reference."""
    x, y = op.inputs[0].type, op.results[0].type
    if op.operator.QUANTIZATION is not QuantizationRule.TABLE and not isinstance(op.operator, Requantize):
        return None
    if len(op.inputs) != 1 or check_elementwise([x], [y]) is not None or x.layout != y.layout:
        return None
    low, high = limits(x)
    stored = np.arange(low, high + 1).astype(x.dtype.numpy)
    every = (x.plain.with_shape((256,)),), (y.plain.with_shape((256,)),)
    (entries,) = op.operator.evaluate([stored], *every)
    # By the byte that stands for an integer.
    table = np.zeros(256, np.uint8)
    table[stored.view(np.uint8)] = entries.view(np.uint8)
    return TableLookup(bytes_of(x), tuple(signed_byte(int(entry)) for entry in table)).kernel(target)


@lowers(Quantize, Dequantize, Requantize)
def quantized_conversion(op: Op, target: TargetDescription) -> Kernel | None:
    """Between numbers and stored integers, as a whole or per channel; any layout of tensors quantised as a whole."""
    x, y = op.inputs[0].type, op.result.type
    if x.layout != y.layout or not y.elements:
        return None
    if y.dtype not in (DType.F32, *_STORED) or x.dtype not in (DType.F32, DType.I32, *_STORED):
        return None
    physical = physical_shape(y)
    tables: list[Table] = []
    accesses: list[Access] = []
    for quant in (x.quant, y.quant):
        if quant is None:
            continue
        if quant.axis is not None and y.layout:
            return None
        shape = [1] * len(physical)
        if quant.axis is not None:
            shape[quant.axis] = len(quant.scale)
        tables += [Table(DType.F32, quant.scale), Table(DType.I32, quant.zero_point)]
        accesses += [broadcast(shape, physical)] * 2
    whole = Access(row_major(physical))
    nest = Nest(physical, (whole, *accesses, whole)).collapsed()
    expression = Conversion(x.dtype, y.dtype)
    return QuantizedNest(nest, (x.dtype, y.dtype), expression, tuple(tables)).kernel(target)


@lowers(AssumeQuantized, StoredIntegers)
def reinterpretation(op: Op, target: TargetDescription) -> Kernel | None:
    """The bits stay as they are."""
    x, y = op.inputs[0].type, op.result.type
    if x.layout != y.layout:
        return None
    bytes = bytes_of(x)
    return copy_kernel(op.name, DType.U8, Nest((bytes,), (Access((1,)), Access((1,)))), target)
