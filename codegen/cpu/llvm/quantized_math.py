"""Arithmetic of quantised tensors on vector registers; its meaning stands in :mod:`tilewright.ir.arithmetic`.

Every floating point operation here rounds once and is written as the instruction it is, so that results are those of
the definition bit for bit. Rounding to integers is the addition of a number so large that nothing is left of the
fraction: to nearest, ties to even, on every processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....ir.quantized import limits, parameters
from ....ir.types import DType, TensorType
from .builder import FunctionBuilder
from .types import F32, I8, I16, I32, I64, Register, constant, zero

_ROUNDING = {"float": 1.5 * 2.0**23, "double": 1.5 * 2.0**52}
"""Added to a number of less than 2^22 (2^51) in magnitude, they leave the nearest integer in the low bits."""

_SIGNED = frozenset({DType.I8, DType.I16, DType.I32, DType.I64})


def widened(b: FunctionBuilder, value: Register, dtype: DType) -> Register:
    """Stored integers of up to 32 bits as i32."""
    if value.type.bits == 32:
        return value
    return b.convert("sext" if dtype in _SIGNED else "zext", value, I32.of(value.type.lanes))


def single(b: FunctionBuilder, value: Register) -> Register:
    """Integers as single precision, rounded to nearest."""
    return b.convert("sitofp", value, F32.of(value.type.lanes))


def rounded(b: FunctionBuilder, value: Register) -> Register:
    """The nearest integers of clamped floats: i32 of single, i64 of double precision."""
    shifted = b.binary("fadd", value, constant(value.type, _ROUNDING[value.type.scalar]))
    return b.convert("bitcast", shifted, (I32 if value.type.scalar == "float" else I64).of(value.type.lanes))


def clamped(b: FunctionBuilder, value: Register, low: Register, high: Register) -> Register:
    """Floats between two bounds; what is not a number becomes the lower one."""
    return b.smaller(b.larger(value, low), high)


@dataclass(frozen=True)
class StoredRange:
    """What stored integers a result takes.

    Attributes:
        dtype: i8 or u8.
        zero_point: added after rounding.
        low, high: smallest and largest stored integer, activation included.
    """

    dtype: DType
    zero_point: int
    low: int
    high: int

    @staticmethod
    def of(type: TensorType) -> StoredRange:
        """The whole range of an 8-bit type that is quantised per tensor."""
        return StoredRange(type.dtype, parameters(type)[1], *limits(type))

    def store_form(self, b: FunctionBuilder, value: Register) -> Register:
        """Single precision numbers at the scale of the result as bytes: clamp, round, add the zero point."""
        low, high = (constant(value.type, bound - self.zero_point) for bound in (self.low, self.high))
        integers = rounded(b, clamped(b, value, low, high))
        # Modulo 256 an addition may follow the narrowing.
        narrow = b.convert("trunc", integers, I8.of(value.type.lanes))
        if self.zero_point == 0:
            return narrow
        return b.binary("add", narrow, constant(narrow.type, signed_byte(self.zero_point)))

    def store_forms(self, b: FunctionBuilder, values: Sequence[Register], *, are_small: bool) -> list[Register]:
        """Vectors of 16 numbers as :meth:`store_form` makes them, one after the other in registers of 16 to 64 bytes.

        Args:
            are_small: no magnitude is above 2^30, so that a conversion to integers cannot overflow.
        """
        if not are_small or b.target.vector_bits < 512 or not b.target.is_x86_64:
            return [self.store_form(b, value) for value in values]
        results = []
        for first in range(0, len(values), 4):
            some = list(values[first : first + 4])
            packed = self._pack_four(b, [*some, *some[-1:] * (4 - len(some))])
            if len(some) == 4:
                results.append(packed)
                continue
            if len(some) >= 2:
                results.append(b.shuffle(packed, packed, range(32)))
            if len(some) % 2:
                begin = 16 * (len(some) - 1)
                results.append(b.shuffle(packed, packed, range(begin, begin + 16)))
        return results

    def _pack_four(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        """Four vectors of 16 numbers as 64 bytes, by instructions that saturate, which takes half as many of them."""
        words, bytes = I16.of(32), I8.of(64)
        convert = "llvm.x86.avx512.mask.cvtps2dq.512"
        all_lanes, current_rounding = constant(I16, -1), constant(I32, 4)
        whole = [b.intrinsic(convert, I32.of(16), [v, zero(I32.of(16)), all_lanes, current_rounding]) for v in values]
        pairs = []
        for i in (0, 2):
            pair = b.intrinsic("llvm.x86.avx512.packssdw.512", words, whole[i : i + 2])
            if self.zero_point:
                pair = b.intrinsic("llvm.sadd.sat.v32i16", words, [pair, constant(words, self.zero_point)])
            pairs.append(pair)
        is_signed = self.dtype is DType.I8
        packed = b.intrinsic(f"llvm.x86.avx512.pack{'s' if is_signed else 'u'}swb.512", bytes, pairs)
        lowest, highest = (-128, 127) if is_signed else (0, 255)
        sign = "s" if is_signed else "u"
        if self.low > lowest:
            packed = b.intrinsic(f"llvm.{sign}max.v64i8", bytes, [packed, constant(bytes, signed_byte(self.low))])
        if self.high < highest:
            packed = b.intrinsic(f"llvm.{sign}min.v64i8", bytes, [packed, constant(bytes, signed_byte(self.high))])
        # The instructions pack each quarter of a register for itself.
        quads = b.convert("bitcast", packed, I32.of(16))
        order = [4 * quarter + vector for vector in range(4) for quarter in range(4)]
        return b.convert("bitcast", b.shuffle(quads, quads, order), bytes)


def signed_byte(value: int) -> int:
    """The number from -128 to 127 that is stored as the same byte."""
    return (value + 128) % 256 - 128
