"""Sums of products of bytes, four a lane: the one instruction that integer networks live on, and what stands in for it.

Lane i of the accumulator, 32 bits, gets the sum of the products of bytes 4i to 4i + 3 of two vectors, the first of
unsigned bytes, or of signed ones where `multiplies_signed`, the second of signed bytes. No form saturates; sums wrap
around at 32 bits. Where values take more than eight bits, a lane gets the sum of two products of 16-bit integers.
"""

from collections.abc import Sequence
from functools import partial, reduce

from .builder import FunctionBuilder
from .target import TargetDescription
from .types import I8, I16, I32, Register, constant

LANES = 16
ACCUMULATOR = I32.of(LANES)
BYTES = I8.of(4 * LANES)

QUADS_OF_ROWS: Sequence[int] = [LANES * row + lane for lane in range(LANES) for row in range(4)]
"""The order that takes four rows of 16 bytes to 16 lanes of four."""

FLIP = -128
"""Added to bytes (the highest bit flipped), it takes signed numbers to unsigned ones 128 larger, and back."""


def flipped(b: FunctionBuilder, value: Register) -> Register:
    """Bytes with the highest bit flipped."""
    as_bytes = b.convert("bitcast", value, BYTES)
    return b.binary("xor", as_bytes, constant(BYTES, FLIP))


def multiplies_signed(target: TargetDescription, is_signed: bool) -> bool:
    """Whether the bytes of the first vector are to be signed: as they are stored where a processor has both products.
    ``is_signed``: stored ones are."""
    return target.is_aarch64 and (is_signed or "i8mm" not in target.features)


def _dot_intrinsic(
    target: TargetDescription, lanes: int, instruction: str = "vpdpbusd", *, is_signed: bool = False
) -> str | None:
    features = set(target.features)
    if target.is_aarch64 and lanes == 4 and instruction == "vpdpbusd" and "dotprod" in features:
        return f"llvm.aarch64.neon.{'sdot' if is_signed else 'usdot'}.v4i32.v16i8"
    if lanes == 16 and "avx512vnni" in features:
        return f"llvm.x86.avx512.{instruction}.512"
    if lanes < 16 and ("avxvnni" in features or {"avx512vnni", "avx512vl"} <= features):
        return f"llvm.x86.avx512.{instruction}.{32 * lanes}"
    return None


def _pair_intrinsic(target: TargetDescription, lanes: int) -> str | None:
    """Sums of two products of 16-bit integers a lane, for vectors of so many lanes of 32 bits."""
    if not target.is_x86_64:
        return None
    names = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
    return names.get(lanes)


_SATURATING = {
    4: ("llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.ssse3.pshuf.b.128"),
    8: ("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pshuf.b"),
    16: ("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pshuf.b.512"),
}
"""By lanes of 32 bits: the product of bytes whose sums of two saturate at 16 bits, and the shuffle of bytes."""


def has_byte_product(target: TargetDescription) -> bool:
    """Whether a processor adds products of bytes up without saturation."""
    return _dot_intrinsic(target, target.lanes, is_signed=target.is_aarch64) is not None


def adds_pairs(target: TargetDescription) -> bool:
    """Whether a processor adds products up in pairs, of bytes or of what they are widened to."""
    return target.is_x86_64 or target.is_aarch64


def widens(target: TargetDescription) -> bool:
    """Whether products of signed bytes take two instructions, and their factors registers beside what is loaded."""
    return target.is_aarch64 and not has_byte_product(target)


def saturates(target: TargetDescription) -> bool:
    """Whether the product of bytes that a processor has saturates, so that weights had better be put in pairs."""
    return "ssse3" in target.features and not has_byte_product(target)


def digit_bits(bits: int, target: TargetDescription) -> int:
    """Of signed digits whose products with unsigned integers of so many bits are added up without saturation."""
    return 7 if bits == 8 and saturates(target) else 8


def in_order(b: FunctionBuilder, value: Register, order: Register) -> Register:
    """The bytes of each 16 of a register whose numbers ``order`` holds."""
    bytes = I8.of(4 * b.target.lanes)
    operands = [b.convert("bitcast", each, bytes) for each in (value, order)]
    return b.intrinsic(_SATURATING[b.target.lanes][1], bytes, operands)


def add_pairs(
    b: FunctionBuilder, total: Register, x: Sequence[Register], w: Sequence[Register], *, are_words: bool = False
) -> Register:
    """``total``, of whole registers, with the products of unsigned bytes ``x`` and signed bytes ``w`` added.
    ``x``: registers of the target, the same for each part of the lanes.
    ``w``: for each of them as many bytes as ``total``. No weights of one sign sum to more than 128: those of two
    neighbours, in the same place of all of these.
    ``are_words``: there is one, and both are signed words instead, of which sums of two products fit 32 bits."""
    lanes = x[0].type.bytes // 4
    words, bytes, ones = I16.of(2 * lanes), I8.of(4 * lanes), constant(I16.of(2 * lanes), 1)
    pair = _pair_intrinsic(b.target, lanes)
    assert pair is not None
    parts = []
    for part, *factors in zip(*(_parts(b, each, lanes) for each in (total, *w)), strict=True):
        if are_words:
            sums = [b.convert("bitcast", each, words) for each in (x[0], factors[0])]
        else:
            products = [
                b.intrinsic(_SATURATING[lanes][0], words, [value, b.convert("bitcast", factor, bytes)])
                for value, factor in zip(x, factors, strict=True)
            ]
            sums = [reduce(partial(b.binary, "add"), products), ones]
        parts.append(b.binary("add", part, b.intrinsic(pair, part.type, sums)))
    return joined(b, parts)


def dot(b: FunctionBuilder, total: Register, x: Register, w: Register, *, is_signed: bool = False) -> Register:
    """``total`` with the products of bytes ``x`` and signed bytes ``w`` added; 16 lanes and 64 bytes, or a register of
    four lanes where no processor `widens` them.
    ``is_signed``: bytes of ``x`` are; only where `multiplies_signed`."""
    lanes = min(b.target.lanes, total.type.lanes)
    if is_signed and widens(b.target):
        parts = zip(*(_parts(b, v, 2 * lanes) for v in (total, x, w)), strict=True)
        return joined(b, [_widened_dot(b, *part) for part in parts])
    parts = zip(*(_parts(b, v, lanes) for v in (total, x, w)), strict=True)
    return joined(b, [_part_dot(b, *part, is_signed=is_signed) for part in parts])


def _parts(b: FunctionBuilder, value: Register, lanes: int) -> list[Register]:
    """Registers of ``lanes`` lanes of 32 bits."""
    value = b.convert("bitcast", value, I32.of(value.type.bytes // I32.bytes))
    if lanes == value.type.lanes:
        return [value]
    return [b.shuffle(value, value, range(first, first + lanes)) for first in range(0, value.type.lanes, lanes)]


def joined(b: FunctionBuilder, parts: Sequence[Register]) -> Register:
    """Registers, as many as a power of two, as one vector."""
    while len(parts) > 1:
        lanes = 2 * parts[0].type.lanes
        parts = [b.shuffle(parts[i], parts[i + 1], range(lanes)) for i in range(0, len(parts), 2)]
    return parts[0]


def _part_dot(b: FunctionBuilder, total: Register, x: Register, w: Register, *, is_signed: bool) -> Register:
    lanes = total.type.lanes
    name = _dot_intrinsic(b.target, lanes, is_signed=is_signed)
    if name is not None:
        as_bytes = I8.of(4 * lanes)
        operands = [total, b.convert("bitcast", x, as_bytes), b.convert("bitcast", w, as_bytes)]
        return b.intrinsic(name, total.type, operands)
    name = _pair_intrinsic(b.target, lanes)
    if name is None:
        return _lane_dot(b, total, x, w)
    words = I16.of(2 * lanes)
    eight = constant(words, 8)
    x, w = b.convert("bitcast", x, words), b.convert("bitcast", w, words)
    # Bytes 0 and 2 of each lane, then bytes 1 and 3, each as 16 bits.
    even = b.binary("and", x, constant(words, 255)), b.binary("ashr", b.binary("shl", w, eight), eight)
    odd = b.binary("lshr", x, eight), b.binary("ashr", w, eight)
    for pair in (even, odd):
        total = b.binary("add", total, b.intrinsic(name, total.type, list(pair)))
    return total


def _widened_dot(b: FunctionBuilder, total: Register, x: Register, w: Register) -> Register:
    """Of signed bytes on AArch64, 8 lanes: products of 16 bits, of which each two of a lane are added to it."""
    words, lanes = I16.of(2 * total.type.lanes), total.type.lanes
    x, w = b.convert("bitcast", x, words), b.convert("bitcast", w, words)
    totals = [b.shuffle(total, total, half) for half in (range(lanes // 2), range(lanes // 2, lanes))]
    for first in (0, 1):
        pairs = (b.shuffle(each, each, range(first, 2 * lanes, 2)) for each in (x, w))
        bytes = (b.convert("bitcast", each, I8.of(2 * lanes)) for each in pairs)
        products = b.binary("mul", *(b.convert("sext", each, words) for each in bytes))
        for index, half in enumerate((range(lanes), range(lanes, 2 * lanes))):
            part = b.shuffle(products, products, half)
            sums = b.intrinsic("llvm.aarch64.neon.saddlp.v4i32.v8i16", totals[index].type, [part])
            totals[index] = b.binary("add", totals[index], sums)
    return b.shuffle(totals[0], totals[1], range(lanes))


def _lane_dot(b: FunctionBuilder, total: Register, x: Register, w: Register) -> Register:
    """Byte by byte, on processors of which nothing more is known."""
    type = total.type
    for byte in range(4):
        element = b.binary("and", b.binary("lshr", x, constant(type, 8 * byte)), constant(type, 255))
        weight = b.binary("ashr", b.binary("shl", w, constant(type, 24 - 8 * byte)), constant(type, 24))
        total = b.binary("add", total, b.binary("mul", element, weight))
    return total


def word_order(target: TargetDescription) -> Sequence[int]:
    """Of 16 lanes, that in which one instruction for each register interleaves two vectors of words."""
    return [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15] if target.lanes == 8 else range(LANES)


def interleaved(b: FunctionBuilder, first: Register, second: Register) -> Register:
    """The words of two vectors of 16 as pairs, in the order of `word_order`."""
    lanes = [lane for place in word_order(b.target) for lane in (place, LANES + place)]
    return b.shuffle(first, second, lanes)


def add_words(b: FunctionBuilder, total: Register, x: Register, w: Register) -> Register:
    """``total``, 16 lanes, with products of 16-bit integers added, of which a lane has one in each half of x and w."""
    for half in (range(LANES), range(LANES, 2 * LANES)):
        factors = (b.convert("sext", b.shuffle(each, each, half), ACCUMULATOR) for each in (x, w))
        total = b.binary("add", total, b.binary("mul", *factors))
    return total


def dot_of_pairs(b: FunctionBuilder, total: Register, x: Register, w: Register) -> Register:
    """``total`` with the products of two signed 16-bit integers a lane added, for a register of the target.

    No factor may be -32768."""
    type = total.type
    fused, name = _dot_intrinsic(b.target, type.lanes, "vpdpwssd"), _pair_intrinsic(b.target, type.lanes)
    words = [b.convert("bitcast", value, I16.of(2 * type.lanes)) for value in (x, w)]
    if fused is None and name is None:
        for half in (0, 1):
            of_lanes = range(half, 2 * type.lanes, 2)
            factors = [b.convert("sext", b.shuffle(each, each, of_lanes), type) for each in words]
            total = b.binary("add", total, b.binary("mul", *factors))
        return total
    if fused is not None:
        return b.intrinsic(fused, type, [total, *words])
    assert name is not None
    return b.binary("add", total, b.intrinsic(name, type, words))


def add_word_pairs(b: FunctionBuilder, total: Register, x: Register, w: Register) -> Register:
    """The same for 16 lanes, whatever registers the target has."""
    lanes = min(b.target.lanes, LANES)
    parts = zip(*(_parts(b, value, lanes) for value in (total, x, w)), strict=True)
    totals = [dot_of_pairs(b, *part) for part in parts]
    return joined(b, [b.pinned(total) for total in totals] if b.target.is_x86_64 else totals)
