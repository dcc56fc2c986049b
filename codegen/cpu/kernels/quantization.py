"""Between numbers and stored integers, and from stored integers to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....ir.core import Op
from ....ir.layout import bytes_of, physical_shape
from ....ir.ops.quantization import Dequantize, Quantize, Requantize, StorageCast
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import clamped, rounded, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import I64, Register, constant, type_of
from ..nest import Access, Nest, broadcast, row_major
from ..numba.nest_kernel import copy_kernel
from ..spec import ConstantTable
from .table_lookup import table_kernel
from .vector_nest import Expression, VectorNest

_CONVERTED = (DType.F32, DType.I8, DType.U8, DType.I16, DType.U16)


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
        real, *rest = values
        lanes = real.type.lanes
        if self.source is not DType.F32:
            scale, zero = rest[:2]
            value = widened(b, real, self.source)
            if self.source is DType.I32:
                # The difference to the zero point may take 33 bits.
                value, zero = (b.convert("sext", v, I64.of(lanes)) for v in (value, zero))
            real = b.binary("fmul", single(b, b.binary("sub", value, zero)), scale)
        if self.target is DType.F32:
            return real
        scale, zero = rest[-2:]
        range = np.iinfo(self.target.numpy)
        low, high = (single(b, b.binary("sub", constant(zero.type, int(n)), zero)) for n in (range.min, range.max))
        integers = rounded(b, clamped(b, b.binary("fdiv", real, scale), low, high))
        return b.convert("trunc", b.binary("add", integers, zero), type_of(self.target, lanes))


@lowers(Requantize)
def requantization(op: Op, target: TargetDescription) -> Kernel | None:
    """A table where it has 256 entries."""
    return table_kernel(op, target)


@lowers(Quantize, Dequantize, Requantize)
def conversion(op: Op, target: TargetDescription) -> Kernel | None:
    """Per tensor or per channel; any layout of what is quantised per tensor."""
    x, y = op.inputs[0].type, op.result.type
    if x.layout != y.layout or not y.elements or y.dtype not in _CONVERTED or x.dtype not in (*_CONVERTED, DType.I32):
        return None
    physical = physical_shape(y)
    tables: list[ConstantTable] = []
    accesses: list[Access] = []
    for quant in (x.quant, y.quant):
        if quant is None:
            continue
        if quant.axis is not None and y.layout:
            return None
        shape = [1] * len(physical)
        if quant.axis is not None:
            shape[quant.axis] = len(quant.scale)
        tables += [ConstantTable(DType.F32, quant.scale), ConstantTable(DType.I32, quant.zero_point)]
        accesses += [broadcast(shape, physical)] * 2
    whole = Access(row_major(physical))
    nest = Nest(physical, (whole, *accesses, whole)).collapsed()
    return VectorNest(nest, (x.dtype, y.dtype), Conversion(x.dtype, y.dtype), tuple(tables)).kernel(target)


@lowers(StorageCast)
def storage_cast(op: Op, target: TargetDescription) -> Kernel | None:
    """The bits stay as they are."""
    x, y = op.inputs[0].type, op.result.type
    if x.layout != y.layout:
        return None
    bytes = bytes_of(x)
    return copy_kernel(op.name, DType.U8, Nest((bytes,), (Access((1,)), Access((1,)))), target)
