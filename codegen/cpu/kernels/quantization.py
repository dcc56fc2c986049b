"""Between numbers and stored integers, and from stored integers to others, by tables where they have 8 bits."""

from collections.abc import Sequence
from functools import partial, reduce
from itertools import product
from typing import ClassVar

import numpy as np

from ....ir.core import Op
from ....ir.layout import bytes_of, physical_shape, row_major
from ....ir.ops.quantization import Dequantize, DynamicQuantizeLinear, Quantize, Requantize, StorageCast
from ....ir.quantized import EIGHT_BIT, check_elementwise, limits
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.byte_dot_product import in_order
from ..llvm.quantized_math import StoredRange, clamped, low_bytes, rounded, signed_byte, single, widened
from ..llvm.row_vectors import RowVector, over_row
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I32, I64, Register, Registers, constant, type_of, vector_constant, zero
from ..nest import Access, Nest, broadcast
from ..numba.generation.nest_kernel import copy_kernel
from ..spec import ConstantTable, KernelSpec
from ..tensors import is_plain
from .vector_nest import Expression, VectorNest

CHUNK = 16384
"""Bytes of a work item."""

_VECTOR = I8.of(64)

_TOGETHER = 8
"""Bytes that are looked up one by one before the first of them is written."""

_MOST_SCALES = 64
"""For which inverses are looked for: at each a look at 65,536 integers, about a millisecond."""


class TableLookup(KernelSpec):
    """Bytes of x replaced by the entries of a table; the result may lie where x lies.
    ``entries``: by byte of x as an unsigned number; from -128 to 127, whatever they mean."""

    bytes: int
    entries: tuple[int, ...]

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("x", "y"))
        table = ConstantTable(DType.I8, self.entries).define(b, f"{self.name}_table")

        def chunk(index: Register) -> None:
            start = b.multiply(index, CHUNK)
            x, y = b.at(arguments["x"], start), b.at(arguments["y"], start)
            length = b.minimum(b.subtract(self.bytes, start), CHUNK)
            permutes = "avx512vbmi" in target.features and target.vector_bits == 512
            chooses = "ssse3" in target.features
            register = _VECTOR if permutes else I8.of(4 * target.lanes)
            together = _VECTOR.lanes if chooses else _TOGETHER

            def several(offset: Register, count: int = together) -> None:
                if chooses and count > 1:
                    found = self._permuted if permutes else self._chosen
                    for first in range(0, count, register.lanes):
                        b.store(found(b, b.load(register, b.at(x, offset, first))), b.at(y, offset, first))
                    return
                numbers = [b.convert("zext", b.load(I8, b.at(x, offset, i)), I64) for i in range(count)]
                for i, entry in enumerate([b.load(I8, b.at(table, number)) for number in numbers]):
                    b.store(entry, b.at(y, offset, i))

            whole = b.multiply(b.divide(length, together), together)
            b.each(0, whole, several, step=together)
            b.each(whole, length, partial(several, count=1))

        return self.each_unit(b, chunk, units=-(-self.bytes // CHUNK))

    def _permuted(self, b: FunctionBuilder, x: Register) -> Register:
        """64 entries at once: the low seven bits choose from half a table in two registers, the sign bit the half."""
        quarters = [vector_constant(_VECTOR, [str(e) for e in self.entries[q : q + 64]]) for q in range(0, 256, 64)]
        halves = [
            b.intrinsic("llvm.x86.avx512.vpermi2var.qi.512", _VECTOR, [quarters[q], x, quarters[q + 1]]) for q in (0, 2)
        ]
        return b.select(b.compare("slt", x, constant(_VECTOR, 0)), halves[1], halves[0])

    def _chosen(self, b: FunctionBuilder, x: Register) -> Register:
        """The same by an instruction that chooses from 16 bytes, and makes zeros of negative numbers.

        Each step adds, without carry, what entries differ from those 16 places before, so that the last one which a
        number reaches leaves its entry; the numbers of the other half of the table are negative from the first."""
        found: list[Register] = []
        for half in (0, 128):
            number, before = b.binary("xor", x, constant(x.type, -half)), [0] * 16
            for row in range(half, half + 128, 16):
                entries = self.entries[row : row + 16]
                steps = [str(new ^ old) for new, old in zip(entries, before, strict=True)]
                found.append(in_order(b, vector_constant(x.type, steps * (x.type.lanes // 16)), number))
                number = b.intrinsic(f"llvm.ssub.sat.{x.type.suffix}", x.type, [number, constant(x.type, 16)])
                before = entries
        return reduce(partial(b.binary, "xor"), found)


def table_kernel(op: Op, target: TargetDescription) -> Kernel | None:
    """A function of one 8-bit tensor, of any layout, as a table made by the reference; ``None`` for other ops."""
    if len(op.inputs) != 1:
        return None
    x, y = op.inputs[0].type, op.result.type
    if check_elementwise([x], [y]) is not None or x.layout != y.layout:
        return None
    low, high = limits(x)
    stored = np.arange(low, high + 1).astype(x.dtype.numpy)
    (entries,) = op.evaluate([stored])
    # By the byte that stands for an integer.
    table = np.zeros(256, np.uint8)
    table[stored.view(np.uint8)] = entries.view(np.uint8)
    return TableLookup(bytes_of(x), tuple(signed_byte(int(entry)) for entry in table)).kernel(target)


# Asked before conversion, which takes many times as long.
lowers(Requantize)(table_kernel)

_CONVERTED = (DType.F32, DType.I8, DType.U8, DType.I16, DType.U16)


class Conversion(Expression):
    """Between numbers and stored integers, or from stored integers to others.

    Elements are the operand, then its scale and zero point if it is quantised, then those of the result if that is;
    zero points as i32. In place of the latter's scale there may be :func:`inverses` of it.
    ``source``, ``target``: element types; f32 if not quantised.
    ``result``: of 8 bits, if it has one zero point.
    ``multiplies``: there are such inverses."""

    VECTORS: ClassVar[int] = 4

    source: DType
    target: DType
    result: StoredRange | None
    multiplies: bool = False

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
        if self.multiplies:
            real = b.fma(real, rest[-3], b.binary("fmul", real, scale))
        else:
            real = b.binary("fdiv", real, scale)
        if self.result is not None and lanes == self.VECTORS * b.target.lanes:
            parts = [b.shuffle(real, real, range(first, first + 16)) for first in range(0, lanes, 16)]
            (packed,) = self.result.store_forms(b, parts, are_small=False)
            return packed
        bounds = np.iinfo(self.target.numpy)
        low, high = (single(b, b.binary("sub", constant(zero.type, int(n)), zero)) for n in (bounds.min, bounds.max))
        integers = rounded(b, clamped(b, real, low, high))
        return b.convert("trunc", b.binary("add", integers, zero), type_of(self.target, lanes))


@lowers(Quantize, Dequantize, Requantize)
def conversion(op: Op, target: TargetDescription) -> Kernel | None:
    """Per tensor or per channel; any layout of what is quantised per tensor."""
    x, y = op.inputs[0].type, op.result.type
    if x.layout != y.layout or y.dtype not in _CONVERTED or x.dtype not in (*_CONVERTED, DType.I32):
        return None
    physical = physical_shape(y)
    tables: list[ConstantTable] = []
    accesses: list[Access] = []
    multiplies = False
    for quant, is_result in ((x.quant, False), (y.quant, True)):
        if quant is None:
            continue
        if quant.axis is not None and y.layout:
            return None
        shape = [1] * len(physical)
        if quant.axis is not None:
            shape[quant.axis] = len(quant.scale)
        found = inverses(quant.scale, y.dtype) if is_result and target.has_fma else None
        multiplies = found is not None
        scales = found or (quant.scale,)
        tables += [*(ConstantTable(DType.F32, each) for each in scales), ConstantTable(DType.I32, quant.zero_point)]
        accesses += [broadcast(shape, physical)] * (1 + len(scales))
    whole = Access(row_major(physical))
    nest = Nest(physical, (whole, *accesses, whole)).collapsed()
    result = StoredRange.of(y) if y.dtype in EIGHT_BIT and y.has_one_scale else None
    expression = Conversion(x.dtype, y.dtype, result, multiplies)
    return VectorNest(nest, (x.dtype, y.dtype), expression, tuple(tables)).kernel(target)


def inverses(scales: Sequence[float], dtype: DType) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """For each scale two numbers with which a multiplication and a multiply-add, faster than a division, give the
    same integers: the largest below 1 / scale in single precision, and the rest of it. ``None`` where one may not, or
    there are many scales.

    They are off by less than 2^-45 of the quotient. An integer is another only if that takes the quotient past the
    middle between some n + 1/2 and one of its neighbours in single precision; near enough to all these lies no number.
    """
    scale = np.asarray(scales, np.float64)
    if len(scale) > _MOST_SCALES or not ((scale > 2.0**-60) & (scale < 2.0**60)).all():
        return None
    halves = (np.arange(2.0 ** (8 * dtype.bytes)) + 0.5).astype(np.float32)
    for each, bound in product(scale, (0, np.inf)):
        middles = (np.nextafter(halves, np.float32(bound)).astype(np.float64) + halves) / 2 * each
        if (abs(middles.astype(np.float32) - middles) < 2.0**-44 * middles).any():
            return None
    first = np.nextafter((1 / scale).astype(np.float32), np.float32(0))
    return tuple(first.flat), tuple((1 / scale - first).astype(np.float32).flat)


class DynamicQuantization(KernelSpec):
    """`DynamicQuantizeLinear` of so many elements: x; stored integers, their scale and zero point."""

    elements: int

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("x", "y", "scale", "zero")

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y", "scale", "zero"))
        x, y, registers = arguments["x"], arguments["y"], Conversion.VECTORS
        lanes, one = registers * target.lanes, constant(F32, 1)

        def extremes(part: RowVector, found: Registers) -> list[Register]:
            # The larger of both signs; 0, which stands for what the row has not, is part of the range.
            value = part.load(x)
            return [b.larger(each, most) for each, most in zip((value, b.negate(value)), found, strict=True)]

        def all_of_them(_: Register) -> None:
            # One work item: every element needs the range of all.
            start = [zero(F32.of(lanes))] * 2
            found = over_row(b, self.elements, extremes, start, registers=registers)
            above, below = (b.largest_of_lanes(each) for each in found)
            span, most = b.binary("fadd", above, below), constant(F32, 255)
            scale = b.select(b.compare("ogt", span, constant(F32, 0)), b.binary("fdiv", span, most), one)
            zero_point = b.convert("trunc", rounded(b, b.smaller(b.binary("fdiv", below, scale), most)), I8)
            b.store(scale, arguments["scale"])
            b.store(zero_point, arguments["zero"])
            zero_point = b.convert("zext", zero_point, I32)
            bounds = [single(b, b.binary("sub", constant(I32, bound), zero_point)) for bound in (0, 255)]

            def some(index: Register, count: int) -> None:
                divisor, low, high, moved = (b.splat(each, count) for each in (scale, *bounds, zero_point))
                real = b.binary("fdiv", b.load(F32.of(count), b.at(x, b.multiply(index, F32.bytes))), divisor)
                b.store(low_bytes(b, b.binary("add", rounded(b, clamped(b, real, low, high)), moved)), b.at(y, index))

            whole = self.elements // lanes * lanes
            b.each(0, whole, partial(some, count=lanes), step=lanes)
            b.each(whole, self.elements, partial(some, count=1))

        return self.each_unit(b, all_of_them, units=1)


@lowers(DynamicQuantizeLinear, needs=(is_plain,))
def dynamic_quantization(op: Op[DynamicQuantizeLinear], target: TargetDescription) -> Kernel:
    return DynamicQuantization(op.inputs[0].type.elements).kernel(target)


@lowers(StorageCast)
def storage_cast(op: Op, target: TargetDescription) -> Kernel | None:
    """The bits stay as they are."""
    x, y = op.inputs[0].type, op.result.type
    if x.layout != y.layout:
        return None
    bytes = bytes_of(x)
    return copy_kernel(op.name, DType.U8, Nest((bytes,), (Access((1,)), Access((1,)))), target)
