"""Arithmetic of quantised tensors on vector registers; its meaning stands in :mod:`tilewright.ir.arithmetic`.

Every floating point operation here rounds once and is written as the instruction it is, so that results are those of
the definition bit for bit. Rounding to integers is the addition of a number so large that nothing is left of the
fraction: to nearest, ties to even, on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.quantized import limits, parameters
from ...ir.types import DType, TensorType
from .llvm_builder import FunctionBuilder
from .llvm_types import F32, I8, I32, I64, Value, constant

_ROUNDING = {"float": 1.5 * 2.0**23, "double": 1.5 * 2.0**52}
"""Added to a number of less than 2^22 (2^51) in magnitude, they leave the nearest integer in the low bits."""

_SIGNED = frozenset({DType.I8, DType.I16, DType.I32, DType.I64})


def widened(b: FunctionBuilder, value: Value, dtype: DType) -> Value:
    """Stored integers of up to 32 bits as i32."""
    if value.type.bits == 32:
        return value
    return b.convert("sext" if dtype in _SIGNED else "zext", value, I32.of(value.type.lanes))


def single(b: FunctionBuilder, value: Value) -> Value:
    """Integers as single precision, rounded to nearest."""
    return b.convert("sitofp", value, F32.of(value.type.lanes))


def rounded(b: FunctionBuilder, value: Value) -> Value:
    """The nearest integers of clamped floats: i32 of single, i64 of double precision."""
    shifted = b.binary("fadd", value, constant(value.type, _ROUNDING[value.type.scalar]))
    return b.convert("bitcast", shifted, (I32 if value.type.scalar == "float" else I64).of(value.type.lanes))


def clamped(b: FunctionBuilder, value: Value, low: Value, high: Value) -> Value:
    """Floats between two bounds; what is not a number becomes the lower one."""
    return b.smaller(b.larger(value, low), high)


@dataclass(frozen=True)
class Target:
    """What stored integers a result takes.

    Attributes:
        zero_point: added after rounding.
        low, high: smallest and largest stored integer, activation included.
    """

    zero_point: int
    low: int
    high: int

    @staticmethod
    def of(type: TensorType) -> Target:
        """The whole range of an 8-bit type that is quantised as a whole."""
        return Target(parameters(type)[1], *limits(type))

    def store_form(self, b: FunctionBuilder, value: Value) -> Value:
        """Single precision numbers at the scale of the result as bytes: clamp, round, add the zero point."""
        low, high = (constant(value.type, bound - self.zero_point) for bound in (self.low, self.high))
        integers = rounded(b, clamped(b, value, low, high))
        # Modulo 256 an addition may follow the narrowing.
        narrow = b.convert("trunc", integers, I8.of(value.type.lanes))
        if self.zero_point == 0:
            return narrow
        return b.binary("add", narrow, constant(narrow.type, signed_byte(self.zero_point)))


def signed_byte(value: int) -> int:
    """The number from -128 to 127 that is stored as the same byte."""
    return (value + 128) % 256 - 128
