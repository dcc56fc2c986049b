"""Products with weights that are kept as integers of 8 or 4 bits.

Where a processor has a dot product of bytes, and for a few rows, where reading the weights is all that takes time, rows
become integers; scales are then multiplied with the sums of their blocks. Else a strip of columns at a time becomes
numbers in the work memory, where the product of floats reads it.
"""

import math
from dataclasses import KW_ONLY

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK, HALVES
from ....ir.ops.weight_only import WeightOnlyMatMul
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.byte_dot_product import add_pairs, digit_bits, dot, has_byte_product, multiplies_signed, saturates
from ..llvm.row_vectors import first_lanes
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I32, I64, Register, Registers, constant, zero
from .activation import ProductSpec, what_follows
from .products.float_product import FloatProduct
from .products.matrix_product import MatrixShape

_SEGMENT, _COARSE_SEGMENT = 64, 128
"""The most elements of x with one scale: sums of as many products of bytes fit single precision well enough, and of
integers of two digits, 32 bits."""

_LEAST = 1e-30
"""No scale is made for less than this, so that none is infinite."""

_UNROLLED = 8
"""Up to so many words of a segment are multiplied without a loop."""

_BYTES = 0x01010101
"""One in each byte of a word."""

_WORD = 32
"""Bits that hold neighbouring rows of a column."""

_WORDS = 4 * CHANNEL_BLOCK
"""Bytes of the words of a panel that lie side by side."""


class WeightOnlySpec(ProductSpec):
    """Base of products of x [M, K] with w [K, N] in layout ``i4o16`` or ``i8o16``; the latter has 4 bits.

    Arguments: x, w, scale [K / block, N], zero of the same shape, bias, residual and result as of
    :class:`.FloatProduct`.
    ``block``: rows that have a scale in common; whole words, or all rows.
    ``has_zero``: there is an argument for it."""

    _: KW_ONLY
    bits: int
    block: int
    has_zero: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        x, w, *others = super().arguments
        return (x, w, "scale", *["zero"] * self.has_zero, *others)

    @property
    def in_word(self) -> int:
        """Rows that a word holds."""
        return _WORD // self.bits

    def panel_bytes(self, inner: int) -> int:
        """From panel to panel of w."""
        return -(-inner // (4 * self.in_word)) * 4 * _WORDS

    def numbers(self, b: FunctionBuilder, words: Register, zeros: Register | None) -> list[Register]:
        """The integers of neighbouring rows as floats, less their zero points."""
        type = words.type
        found: list[Register] = []
        for index in range(self.in_word):
            shift = _WORD - (index + 1) * self.bits
            upper = b.binary("shl", words, constant(type, shift)) if shift else words
            number = b.convert("sitofp", b.binary("ashr", upper, constant(type, _WORD - self.bits)), F32.of(type.lanes))
            found.append(b.binary("fsub", number, zeros) if zeros is not None else number)
        return found


class WeightOnlyProduct(WeightOnlySpec, FloatProduct):
    """For any number of rows."""

    _: KW_ONLY
    panels: bool = True

    @property
    def makes_strips(self) -> bool:
        return True

    @property
    def column_bytes(self) -> int:
        return self.panel_bytes(self.inner) // CHANNEL_BLOCK

    def shape(self, target: TargetDescription) -> MatrixShape:
        shape = super().shape(target)
        # Whole words are unpacked.
        return MatrixShape(**{**vars(shape), "scratch": shape.w_step * (self.inner + self.in_word - 1)})

    def made_strip(
        self, b: FunctionBuilder, shape: MatrixShape, w: Register, column: Register, columns: int
    ) -> Register:
        pointers, lanes = self.bind(b), shape.lanes
        strip, type = pointers["scratch"], F32.of(lanes)
        for first in range(0, columns, lanes):
            panel, within = divmod(first, CHANNEL_BLOCK)
            source = b.at(w, panel * self.panel_bytes(self.inner) + 4 * within)
            mask = first_lanes(b, b.integer(columns - first), lanes) if columns - first < lanes else None

            def block(
                index: Register, source: Register = source, first: int = first, mask: Register | None = mask
            ) -> None:
                offset = b.multiply(b.add(b.add(b.multiply(index, self.columns), column), first), 4)
                scale = b.load_masked(type, b.at(pointers["scale"], offset), mask)
                zeros = b.load_masked(type, b.at(pointers["zero"], offset), mask) if self.has_zero else None
                begin = b.multiply(index, self.block // self.in_word)

                def word(step: Register) -> None:
                    words = b.load(I32.of(lanes), b.at(source, b.multiply(step, _WORDS)))
                    target = b.at(strip, b.multiply(step, self.in_word * shape.w_step), 4 * first)
                    for row, number in enumerate(self.numbers(b, words, zeros)):
                        b.store(b.binary("fmul", number, scale), b.at(target, row * shape.w_step))

                b.each(begin, b.add(begin, -(-self.block // self.in_word)), word)

            b.each(0, self.inner // self.block, block)
        return strip


class WeightOnlyRows(WeightOnlySpec):
    """For a few rows at a time; blocks are whole words.

    Integers are multiplied as integers. Each segment of a row of x becomes integers with a scale in common, which are
    written as digits of 8 bits: three, which lose of the largest what single precision does, or fewer. Where products
    of two bytes might saturate, digits have 7.

    Attributes:
        rows: of a group.
        groups: of rows.
        absent: rows that the last group has less.
        digits: one to three.
        experts: matrices below each other in w, of which a group meets one, by the argument ``which``; 0 for one matrix
            and no such argument.
    """

    _: KW_ONLY
    rows: int
    columns: int
    inner: int
    groups: int = 1
    absent: int = 0
    digits: int = 3
    experts: int = 0

    @property
    def arguments(self) -> tuple[str, ...]:
        *others, y = super().arguments
        return (*others, *["which"] * (self.experts > 0), y)

    @property
    def segment(self) -> int:
        """Rows of w that meet integers of one scale."""
        most = _SEGMENT if self.digits > 2 else _COARSE_SEGMENT
        return max(size for size in range(self.in_word, most + 1, self.in_word) if self.block % size == 0)

    @property
    def row_bytes(self) -> int:
        """Of the digits of a row of x, and of scale and sum of each segment, which follow. A digit of the elements that
        meet a word has a byte for each, those of the upper halves of bytes behind the others."""
        return self.inner * self.digits + self.inner // self.segment * 8

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("residual", "y"))
        lanes, panels = target.lanes, -(-self.columns // CHANNEL_BLOCK)
        together = CHANNEL_BLOCK * (2 if panels % 2 == 0 and self.rows == 1 else 1)
        strips = -(-self.columns // together)
        firsts = range(0, together, lanes)
        type = F32.of(lanes)
        begin, end, scratch = arguments["begin"], arguments["end"], arguments["scratch"]
        panel = self.panel_bytes(self.inner * max(1, self.experts))

        def group(index: Register, rows: int) -> None:
            row, expert = b.multiply(index, self.rows), b.integer(0)
            x = b.at(arguments["x"], b.multiply(row, 4 * self.inner))
            b.each(0, rows, lambda m: self._prepare(b, x, scratch, m))
            if self.experts:
                which = b.load(I64, b.at(arguments["which"], b.multiply(index, 8)))
                which = b.select(b.compare("slt", which, 0), b.add(which, self.experts), which)
                b.return_if(b.compare("uge", which, self.experts), constant(I32, 1))
                expert = which
            units = b.multiply(index, strips)
            first, last = b.maximum(b.subtract(begin, units), 0), b.minimum(b.subtract(end, units), strips)
            b.each(first, last, lambda place: strip(b.multiply(place, together), row, rows, expert))

        def strip(column: Register, row: Register, rows: int, expert: Register) -> None:
            # As many vectors at once as registers hold sums of.
            at_once = max(1, (target.registers - 4) // (self.digits * rows + 2))
            masks = [first_lanes(b, b.subtract(b.subtract(self.columns, column), first), lanes) for first in firsts]

            def loaded(name: str, row: Register | int, vector: int) -> Register:
                offset = b.add(b.add(b.multiply(row, self.columns), column), firsts[vector])
                return b.load_masked(type, b.at(arguments[name], b.multiply(offset, 4)), masks[vector])

            of_expert = b.multiply(expert, self.inner // self.in_word * _WORDS)
            w = b.at(arguments["w"], b.multiply(column, panel // CHANNEL_BLOCK), of_expert)
            sources = [b.at(w, first // CHANNEL_BLOCK * panel + first % CHANNEL_BLOCK * 4) for first in firsts]

            def block(number: Register, totals: Registers) -> list[Register]:
                of_w = b.add(b.multiply(expert, self.inner // self.block), number)
                offsets = [constant(type, -self._offset(target))] * len(firsts)
                if self.has_zero:
                    offsets = [b.binary("fsub", offset, loaded("zero", of_w, v)) for v, offset in enumerate(offsets)]
                count = self.block // self.segment

                def segment(step: Register, parts: Registers) -> list[Register]:
                    place = b.add(b.multiply(number, count), step)
                    found = list(parts)
                    for first in range(0, len(firsts), at_once):
                        vectors = range(first, min(first + at_once, len(firsts)))
                        sums = self._sums(b, [sources[v] for v in vectors], scratch, place, rows)
                        for m in range(rows):
                            about = b.at(scratch, self.inner * self.digits + m * self.row_bytes, b.multiply(place, 8))
                            scale, sum = (b.splat(b.load(F32, about, at), lanes) for at in (0, 4))
                            for v in vectors:
                                whole = b.fma(offsets[v], sum, self._whole(b, sums[(v - first) * rows + m]))
                                found[m * len(firsts) + v] = b.fma(whole, scale, found[m * len(firsts) + v])
                    return found

                parts = b.loop(0, count, segment, [zero(type)] * len(totals))
                scales = [loaded("scale", of_w, v) for v in range(len(firsts))]
                return [b.fma(part, scales[i % len(firsts)], totals[i]) for i, part in enumerate(parts)]

            totals = b.loop(0, self.inner // self.block, block, [zero(type)] * (rows * len(firsts)))
            for number, value in enumerate(totals):
                m, v = divmod(number, len(firsts))
                for name, place in (("bias", 0), ("residual", b.add(row, m))):
                    if name in arguments:
                        value = b.binary("fadd", value, loaded(name, place, v))
                offset = b.add(b.add(b.multiply(b.add(row, m), self.columns), column), firsts[v])
                y = b.at(arguments["y"], b.multiply(offset, 4))
                b.store_masked(self.activation.apply(b, value), y, masks[v])

        def visit(index: Register) -> None:
            present = self.groups * self.rows - self.absent
            b.of_part(index, present, self.rows, lambda rows: group(index, rows))

        b.each(b.divide(begin, strips), b.divide(b.add(end, strips - 1), strips), visit)
        scratch_bytes = self.rows * self.row_bytes
        return self.finish(b, units=self.groups * strips, scratch_bytes=scratch_bytes, common=strips)

    def _offset(self, target: TargetDescription) -> int:
        """What is added to integers of w where they are multiplied."""
        return 0 if self.bits == 8 and multiplies_signed(target, True) else 1 << (self.bits - 1)

    def _prepare(self, b: FunctionBuilder, x: Register, scratch: Register, row: Register) -> None:
        """Write the digits of a row, scales and sums."""
        lanes, base_bits = self.in_word, digit_bits(self.bits, b.target)
        # The first digit is a byte, whatever is carried to it.
        most = ((1 << base_bits - 1) - 1) << base_bits * (self.digits - 1)
        type, words = F32.of(lanes), self.segment // lanes
        x = b.at(x, b.multiply(row, 4 * self.inner))
        digits = b.at(scratch, b.multiply(row, self.row_bytes))

        def loaded(word: Register) -> Register:
            return b.load(type, b.at(x, b.multiply(word, 4 * lanes)))

        def segment(index: Register) -> None:
            begin = b.multiply(index, words)
            end = b.add(begin, words)

            def seen(word: Register, found: Registers) -> list[Register]:
                value = loaded(word)
                # What is no number makes the scale none, and all that comes of it.
                is_number = b.fma(value, zero(type), found[1])
                return [b.larger(b.unary_intrinsic("fabs", value), found[0]), is_number]

            largest, is_number = b.loop(begin, end, seen, [constant(type, _LEAST), zero(type)])
            largest = b.largest_of_lanes(largest)
            factor = b.splat(b.binary("fdiv", constant(F32, most), largest), lanes)

            def written(word: Register, sums: Registers) -> list[Register]:
                value = b.unary_intrinsic("rint", b.binary("fmul", loaded(word), factor))
                value = b.smaller(b.larger(value, constant(type, -most)), constant(type, most))
                rest = b.convert("fptosi", value, I32.of(lanes))
                target = b.at(digits, b.multiply(word, self.digits * self.in_word))
                for place in reversed(range(self.digits)):
                    digit, rest = (rest, rest) if not place else self._last_digit(b, rest, base_bits)
                    if self.bits == 4:
                        digit = b.shuffle(digit, digit, [*range(0, lanes, 2), *range(1, lanes, 2)])
                    b.store(b.convert("trunc", digit, I8.of(lanes)), target, place * self.in_word)
                return [b.binary("fadd", sums[0], value)]

            (sums,) = b.loop(begin, end, written, [zero(type)])
            scale = b.binary("fmul", largest, constant(F32, 1 / most))
            about = b.at(digits, self.inner * self.digits, b.multiply(index, 8))
            b.store(b.binary("fadd", scale, b.sum_of_lanes(is_number)), about)
            b.store(b.sum_of_lanes(sums), about, 4)

        b.each(0, self.inner // self.segment, segment)

    def _last_digit(self, b: FunctionBuilder, number: Register, bits: int) -> tuple[Register, Register]:
        """The last digit of an integer, of so many bits with its sign, and what is before it."""
        half, digit = constant(number.type, 1 << bits - 1), constant(number.type, (1 << bits) - 1)
        last = b.binary("sub", b.binary("and", b.binary("add", number, half), digit), half)
        return last, b.binary("ashr", b.binary("sub", number, last), constant(number.type, bits))

    def _sums(
        self, b: FunctionBuilder, sources: list[Register], numbers: Register, segment: Register, rows: int
    ) -> list[list[Register]]:
        """Of each vector of columns and each row the sums of the products with each digit, of one segment."""
        words, type = self.segment // self.in_word, I32.of(b.target.lanes)
        begin = b.multiply(segment, words)

        def word(step: Register, sums: Registers) -> list[Register]:
            found, at = list(sums), b.add(begin, step)
            digits = b.at(numbers, b.multiply(at, self.digits * self.in_word))
            for v, source in enumerate(sources):
                parts = self._bytes(b, b.load(type, b.at(source, b.multiply(at, _WORDS))))
                for m in range(rows):
                    for place in range(self.digits):
                        first = m * self.row_bytes + place * self.in_word
                        factors = [
                            b.splat(b.load(I32, digits, first + 4 * half), b.target.lanes) for half in range(len(parts))
                        ]
                        index = (v * rows + m) * self.digits + place
                        found[index] = self._added(b, found[index], parts, factors)
            return found

        start = [zero(type)] * (len(sources) * rows * self.digits)
        if words <= _UNROLLED:
            sums: Registers = tuple(start)
            for step in range(words):
                sums = tuple(word(b.integer(step), sums))
        else:
            sums = b.loop(0, words, word, start)
        return [list(sums[first : first + self.digits]) for first in range(0, len(sums), self.digits)]

    def _bytes(self, b: FunctionBuilder, words: Register) -> list[Register]:
        """The integers of words as bytes: of lower halves of bytes and of upper ones where there are halves."""
        if self.bits == 8:
            return [words if not self._offset(b.target) else b.binary("xor", words, constant(words.type, _BYTES * 128))]
        positive = b.binary("xor", words, constant(words.type, _BYTES * 0x88))
        halves = (positive, b.binary("lshr", positive, constant(words.type, 4)))
        return [b.binary("and", half, constant(words.type, _BYTES * 15)) for half in halves]

    def _added(self, b: FunctionBuilder, total: Register, w: list[Register], x: list[Register]) -> Register:
        if saturates(b.target):
            bytes = I8.of(4 * b.target.lanes)
            return add_pairs(b, total, [b.convert("bitcast", each, bytes) for each in w], x)
        for of_w, of_x in zip(w, x, strict=True):
            total = dot(b, total, of_w, of_x, is_signed=multiplies_signed(b.target, True))
        return total

    def _whole(self, b: FunctionBuilder, sums: list[Register]) -> Register:
        """What sums of all digits stand for."""
        type, base_bits = F32.of(b.target.lanes), digit_bits(self.bits, b.target)
        upper, *rest = sums
        for lower in rest[:1]:
            upper = b.binary("add", b.binary("shl", upper, constant(upper.type, base_bits)), lower)
        whole = b.convert("sitofp", upper, type)
        for lower in rest[1:]:
            whole = b.fma(whole, constant(type, 1 << base_bits), b.convert("sitofp", lower, type))
        return whole


@lowers(WeightOnlyMatMul)
def weight_only_product(op: Op[WeightOnlyMatMul], target: TargetDescription) -> Kernel | None:
    """Of weights that lie in panels; ``None`` for others."""
    operands = op.operands
    x, w = operands.x.type, operands.w.type
    if w.layout not in ("i4o16", HALVES) or not w.elements:
        return None
    rows, inner, columns = math.prod(x.shape[:-1]), x.shape[-1], w.shape[1]
    block, bits, experts = op.operator.block, 4 if w.layout == HALVES else 8, 0
    follows = {**what_follows(op), "bits": bits, "block": block, "has_zero": operands.zero is not None}
    in_word, has_product = 32 // bits, has_byte_product(target)
    digits = min(3, -(-op.operator.x_bits // digit_bits(bits, target)))
    at_once = 3 * target.registers // (digits * (4 if has_product else 8))
    is_faster = has_product or (saturates(target) and (digits < 3 or rows <= 2 * at_once))
    if operands.which is not None:
        groups, experts = math.prod(x.shape[:-2]), w.shape[0] // inner
    else:
        # Few groups of many rows read the weights less often.
        groups = -(-rows // at_once)
    if block % in_word == 0 and (experts or is_faster):
        together = -(-rows // max(1, groups))
        shape = {"rows": together, "groups": groups, "absent": together * groups - rows, "digits": digits}
        return WeightOnlyRows(**shape, experts=experts, columns=columns, inner=inner, **follows).kernel(target)
    if experts or (block % in_word and block != inner):
        return None
    return WeightOnlyProduct(rows, columns, inner, **follows).kernel(target)
