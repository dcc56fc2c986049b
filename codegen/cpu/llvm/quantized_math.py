"""Arithmetic of quantised tensors on vector registers; its meaning stands in :mod:`tilewright.ir.arithmetic`.

Every floating point operation here rounds once and is written as the instruction it is, so that results are those of
the definition bit for bit. Rounding to integers is the addition of a number so large that nothing is left of the
fraction: to nearest, ties to even, on every processor.
"""

from collections.abc import Sequence

from tilewright.immutable import Immutable

from ....ir.quantized import clamp_bounds, limits, parameters, slope_of
from ....ir.types import DType, TensorType
from .builder import FunctionBuilder
from .target import TargetDescription
from .types import F32, I8, I16, I32, I64, Register, constant, type_of, zero

_ROUNDING = {"float": 1.5 * 2.0**23, "double": 1.5 * 2.0**52}
"""Added to a number of less than 2^22 (2^51) in magnitude, they leave the nearest integer in the low bits."""

_PACKING = {
    128: ("llvm.x86.sse2.cvtps2dq", "llvm.x86.sse2.pack{}.128"),
    256: ("llvm.x86.avx.cvt.ps2dq.256", "llvm.x86.avx2.pack{}"),
    512: ("llvm.x86.avx512.mask.cvtps2dq.512", "llvm.x86.avx512.pack{}.512"),
}
"""By bits of a register: rounding to integers, and packing into half of the width."""

NATURAL: Sequence[int] = range(16)
"""Places of a vector of 16 numbers in their order."""

_SIGNED = frozenset({DType.I8, DType.I16, DType.I32, DType.I64})


def widened(b: FunctionBuilder, value: Register, dtype: DType) -> Register:
    """Stored integers of up to 32 bits as i32."""
    if value.type.bits == 32:
        return value
    return b.convert("sext" if dtype in _SIGNED else "zext", value, I32.of(value.type.lanes))


def single(b: FunctionBuilder, value: Register) -> Register:
    """Integers, or such in double precision, as single precision, rounded to nearest."""
    return b.convert("fptrunc" if value.type.is_float else "sitofp", value, F32.of(value.type.lanes))


def rounded(b: FunctionBuilder, value: Register) -> Register:
    """The nearest integers of clamped floats: i32 of single, i64 of double precision."""
    shifted = b.binary("fadd", value, constant(value.type, _ROUNDING[value.type.scalar]))
    return b.convert("bitcast", shifted, (I32 if value.type.scalar == "float" else I64).of(value.type.lanes))


def clamped(b: FunctionBuilder, value: Register, low: Register, high: Register) -> Register:
    """Floats between two bounds; what is not a number becomes the lower one."""
    return b.smaller(b.larger(value, low), high)


class StoredRange(Immutable):
    """What stored integers a result takes.

    Attributes:
        dtype: i8, u8 or i16.
        zero_point: added after rounding.
        low, high: smallest and largest stored integer, activation included.
        slope: of a leaky ReLU, what negative numbers are multiplied with before they are rounded.
    """

    dtype: DType
    zero_point: int
    low: int
    high: int
    slope: float = 1.0

    @staticmethod
    def of(type: TensorType) -> "StoredRange":
        """The whole range of an 8-bit type that is quantised per tensor."""
        return StoredRange(type.dtype, parameters(type)[1], *limits(type))

    @staticmethod
    def of_product(type: TensorType, act: str, act_args: tuple[float, ...]) -> "StoredRange":
        """What a convolution or matrix product with a fused activation makes."""
        return StoredRange(type.dtype, parameters(type)[1], *clamp_bounds(type, act, act_args), slope_of(act, act_args))

    def _activated(self, b: FunctionBuilder, value: Register) -> Register:
        """Single precision numbers after a leaky ReLU: of them and their products the larger ones."""
        if self.slope == 1:
            return value
        return b.larger(b.binary("fmul", value, constant(value.type, self.slope)), value)

    def store_form(self, b: FunctionBuilder, value: Register) -> Register:
        """Single precision numbers at the scale of the result as integers: clamp, round, add the zero point."""
        low, high = (constant(value.type, bound - self.zero_point) for bound in (self.low, self.high))
        integers = rounded(b, clamped(b, self._activated(b, value), low, high))
        # Modulo 2^8, or 2^16, an addition may follow the narrowing.
        narrow = b.convert("trunc", integers, type_of(self.dtype, value.type.lanes))
        if self.zero_point == 0:
            return narrow
        zero_point = self.zero_point if self.dtype is DType.I16 else signed_byte(self.zero_point)
        return b.binary("add", narrow, constant(narrow.type, zero_point))

    def store_forms(
        self, b: FunctionBuilder, values: Sequence[Register], order: Sequence[int] = NATURAL, *, are_small: bool
    ) -> list[Register]:
        """Vectors of 16 numbers as :meth:`store_form` makes them, one after the other in vectors of 16 to 64 bytes.
        ``order``: the places of a result that the numbers of a vector belong to, four neighbours side by side.
        ``are_small``: no magnitude is above 2^30, so that a conversion to integers cannot overflow."""
        if self.dtype is DType.I16 or not packs(b.target):
            places = [order.index(place) for place in NATURAL]
            values = values if order == NATURAL else [b.shuffle(value, value, places) for value in values]
            return [self.store_form(b, value) for value in values]
        values = [self._activated(b, value) for value in values]
        if not are_small:
            # What is too small, or not a number, becomes the smallest integer.
            high = constant(values[0].type, self.high - self.zero_point)
            values = [b.smaller(high, value) for value in values]
        results, most = [], b.target.vector_bits // 128
        for first in range(0, len(values), most):
            some = list(values[first : first + most])
            packed = self.packed(b, [*some, *some[-1:] * (most - len(some))], order)
            if len(some) == most:
                results.append(packed)
                continue
            if len(some) >= 2:
                results.append(b.shuffle(packed, packed, range(32)))
            if len(some) % 2:
                begin = 16 * (len(some) - 1)
                results.append(b.shuffle(packed, packed, range(begin, begin + 16)))
        return results

    def packed(self, b: FunctionBuilder, values: Sequence[Register], order: Sequence[int]) -> Register:
        """Vectors of 16 numbers or integers of 32 bits, as many as fill four registers, as the bytes of one, by
        instructions that saturate, which takes half as many of them; only where the target `packs`."""
        lanes, zero_point = b.target.lanes, self.zero_point
        words, bytes = I16.of(2 * lanes), I8.of(4 * lanes)
        convert, name = _PACKING[b.target.vector_bits]
        registers = [
            b.shuffle(value, value, range(first, first + lanes)) if lanes < 16 else value
            for value in values
            for first in range(0, 16, lanes)
        ]
        # The form of 512 bits also takes what becomes of masked lanes, the mask, and how to round.
        others = [zero(I32.of(lanes)), constant(I16, -1), constant(I32, 4)] if lanes == 16 else []
        if values[0].type.is_float:
            registers = [b.intrinsic(convert, I32.of(lanes), [value, *others]) for value in registers]
        pairs = [b.intrinsic(name.format("ssdw"), words, registers[i : i + 2]) for i in (0, 2)]
        is_signed = self.dtype is DType.I8
        # A zero point in the middle between the types is added to bytes of the other one, as their highest bit.
        flips = zero_point == (-128 if is_signed else 128)
        if zero_point and not flips:
            zeros = constant(words, zero_point)
            pairs = [b.intrinsic(f"llvm.sadd.sat.{words.suffix}", words, [pair, zeros]) for pair in pairs]
        packed = b.intrinsic(name.format("sswb" if is_signed != flips else "uswb"), bytes, pairs)
        packed = b.binary("xor", packed, constant(bytes, -128)) if flips else packed
        lowest, highest = (-128, 127) if is_signed else (0, 255)
        sign = "s" if is_signed else "u"
        for bound, extreme, kind in ((self.low, lowest, "max"), (self.high, highest, "min")):
            if bound != extreme:
                limit = constant(bytes, signed_byte(bound))
                packed = b.intrinsic(f"llvm.{sign}{kind}.{bytes.suffix}", bytes, [packed, limit])
        # The instructions pack each 128 bits of a register for themselves: of four bytes of each.
        quads = b.convert("bitcast", packed, I32.of(lanes))
        held = [
            16 * (lanes * register // 16) + order[lanes * register % 16 + 4 * part]
            for part in range(lanes // 4)
            for register in range(4)
        ]
        return b.convert("bitcast", b.shuffle(quads, quads, [held.index(4 * quad) for quad in range(lanes)]), bytes)


def low_bytes(b: FunctionBuilder, integers: Register) -> Register:
    """The lowest byte of each of some integers of 32 bits."""
    lanes = integers.type.lanes
    if not packs(b.target) or lanes != 4 * b.target.lanes:
        return b.convert("trunc", integers, I8.of(lanes))
    low = b.binary("and", integers, constant(integers.type, 255))
    parts = [b.shuffle(low, low, range(first, first + 16)) for first in range(0, lanes, 16)]
    return StoredRange(DType.U8, 0, 0, 255).packed(b, parts, NATURAL)


def packs(target: TargetDescription) -> bool:
    """Whether a processor packs registers by instructions that saturate."""
    return target.is_x86_64 and target.vector_bits in _PACKING


def signed_byte(value: int) -> int:
    """The number from -128 to 127 that is stored as the same byte."""
    return (value + 128) % 256 - 128
