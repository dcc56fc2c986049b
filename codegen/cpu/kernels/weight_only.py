"""Products with weights that are kept as integers of 8 or 4 bits.

For many rows a strip of columns at a time becomes numbers in the work memory, where the product of floats reads it.
For a few rows, where reading the weights is all that takes time, integers become numbers in registers; scales are then
multiplied with the sums of their blocks.
"""

import math
from dataclasses import dataclass

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK, HALVES
from ....ir.ops.weight_only import WeightOnlyMatMul
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.row_vectors import first_lanes
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I32, Register, Registers, constant, zero
from .activation import ProductSpec, what_follows
from .products.float_product import FloatProduct
from .products.matrix_product import MatrixShape

FEW_ROWS = 4
"""Up to so many rows integers become numbers in registers."""

_WORD = 32
"""Bits that hold neighbouring rows of a column."""

_WORDS = 4 * CHANNEL_BLOCK
"""Bytes of the words of a panel that lie side by side."""


@dataclass(frozen=True, kw_only=True)
class WeightOnlySpec(ProductSpec):
    """Base of products of x [M, K] with w [K, N] in layout ``i4o16`` or ``i8o16``; the latter has 4 bits.

    Arguments: x, w, scale [K / block, N], zero of the same shape, bias, residual and result as of
    :class:`.FloatProduct`.

    Attributes:
        block: rows that have a scale in common; whole words, or all rows.
        has_zero: there is an argument for it.
    """

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
        words = -(-inner // (4 * self.in_word)) * 4
        return words * _WORDS

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


@dataclass(frozen=True, kw_only=True)
class WeightOnlyProduct(WeightOnlySpec, FloatProduct):
    """For any number of rows."""

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


@dataclass(frozen=True, kw_only=True)
class WeightOnlyRows(WeightOnlySpec):
    """For a few rows; blocks are whole words."""

    rows: int
    columns: int
    inner: int

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("residual", "y"))
        lanes, panels = target.lanes, -(-self.columns // CHANNEL_BLOCK)
        together = CHANNEL_BLOCK * (2 if panels % 2 == 0 and self.rows == 1 else 1)
        # Chains of dependent sums, as many as registers hold.
        chains = 2 if self.rows < 3 else 1
        firsts = range(0, together, lanes)
        type = F32.of(lanes)

        def strip(index: Register) -> None:
            column = b.multiply(index, together)
            masks = [first_lanes(b, b.subtract(b.subtract(self.columns, column), first), lanes) for first in firsts]

            def of_columns(name: str, row: Register | int, vector: int) -> Register:
                offset = b.add(b.add(b.multiply(row, self.columns), column), firsts[vector])
                return b.at(arguments[name], b.multiply(offset, 4))

            w = b.at(arguments["w"], b.multiply(column, self.panel_bytes(self.inner) // CHANNEL_BLOCK))
            sources = [
                b.at(w, first // CHANNEL_BLOCK * self.panel_bytes(self.inner) + first % CHANNEL_BLOCK * 4)
                for first in firsts
            ]

            def loaded(name: str, row: Register | int, vector: int) -> Register:
                return b.load_masked(type, of_columns(name, row, vector), masks[vector])

            def block(number: Register, totals: Registers) -> list[Register]:
                zeros = [loaded("zero", number, v) if self.has_zero else None for v in range(len(firsts))]
                begin = b.multiply(number, self.block // self.in_word)

                def word(step: Register, sums: Registers) -> list[Register]:
                    sums_now, x = list(sums), b.at(arguments["x"], b.multiply(step, 4 * self.in_word))
                    for v, source in enumerate(sources):
                        words = b.load(I32.of(lanes), b.at(source, b.multiply(step, _WORDS)))
                        for k, weights in enumerate(self.numbers(b, words, zeros[v])):
                            for m in range(self.rows):
                                factor = b.splat(b.load(F32, x, 4 * (m * self.inner + k)), lanes)
                                place = (m * len(firsts) + v) * chains + k % chains
                                sums_now[place] = b.fma(factor, weights, sums_now[place])
                    return sums_now

                count = b.add(begin, self.block // self.in_word)
                sums = b.loop(begin, count, word, [zero(type)] * (len(totals) * chains))
                found: list[Register] = []
                for place, total in enumerate(totals):
                    parts = sums[place * chains : (place + 1) * chains]
                    whole = b.binary("fadd", *parts) if chains == 2 else parts[0]
                    found.append(b.fma(whole, loaded("scale", number, place % len(firsts)), total))
                return found

            totals = b.loop(0, self.inner // self.block, block, [zero(type)] * (self.rows * len(firsts)))
            for place, value in enumerate(totals):
                row, v = divmod(place, len(firsts))
                for name, rows in (("bias", 0), ("residual", row)):
                    if name in arguments:
                        value = b.binary("fadd", value, loaded(name, rows, v))
                b.store_masked(self.activation.apply(b, value), of_columns("y", row, v), masks[v])

        return self.each_unit(b, strip, units=-(-panels // (together // CHANNEL_BLOCK)))


@lowers(WeightOnlyMatMul)
def weight_only_product(op: Op[WeightOnlyMatMul], target: TargetDescription) -> Kernel | None:
    """Of weights that lie in panels; ``None`` for others."""
    operands = op.operands
    x, w = operands.x.type, operands.w.type
    if w.layout not in ("i4o16", HALVES) or not w.elements:
        return None
    rows, (inner, columns) = math.prod(x.shape[:-1]), w.shape
    block, bits = op.operator.block, 4 if w.layout == HALVES else 8
    follows = {**what_follows(op), "bits": bits, "block": block, "has_zero": operands.zero is not None}
    in_word = 32 // bits
    if rows <= FEW_ROWS and block % in_word == 0:
        return WeightOnlyRows(rows=rows, columns=columns, inner=inner, **follows).kernel(target)
    if block % in_word and block != inner:
        return None
    return WeightOnlyProduct(rows, columns, inner, **follows).kernel(target)
