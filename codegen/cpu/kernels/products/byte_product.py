"""Products of 8-bit matrices with a known right factor, by dot products of four bytes.

With the names of `output_channels`, a product of plain integers whose left zero point is data is

    sum((x - zx) * (w - zw)) = sum(x' * w') - zw' * sum(x') - zx' * sum(w' - zw')

where the sums over w' - zw' are constants of a column.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .....ir.layout import CHANNEL_BLOCK
from .....ir.types import DType
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import ACCUMULATOR, add_word_pairs
from ...llvm.types import I8, I32, PTR, Register, Registers, Type, constant, type_of, zero
from ...spec import ConstantTable
from ..channel_tiles import WorkItem
from ..output_channels import QuantizedProductSpec, Row
from .matrix_product import MatrixShape, MatrixTile, TileArguments
from .quad_product import LISTS, QuadProduct


class ByteProduct(QuantizedProductSpec, QuadProduct):
    """Product of a matrix of activations and one of weights, bias, activation and requantisation.

    Arguments: x [M, K], row-major; w in layout ``o16i4`` or ``i4o16``; bias, which is not read; result [M, N],
    row-major."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "start", "factors", "zeros", "row_sums", LISTS)
    WRITTEN: ClassVar[tuple[str, ...]] = ("y",)

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.listed(super().arguments)

    @property
    def element(self) -> Type:
        """Of the result."""
        return type_of(self.constants.result.dtype)

    @property
    def flips(self) -> tuple[bool, bool]:
        return self.constants.flips_x, self.constants.flips_w

    @property
    def is_signed(self) -> bool:
        return self.constants.is_signed

    @property
    def has_zeros(self) -> bool:
        return bool(self.constants.zeros)

    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        pointers = self.bind(b)
        w = b.at(pointers["w"], b.multiply(item.block, self.vector_bytes))
        y = b.at(pointers["y"], b.multiply(item.block, self.element.bytes * CHANNEL_BLOCK))
        offset = b.multiply(item.block, 4 * CHANNEL_BLOCK)
        numbers = [b.at(pointers.get(name, pointers["start"]), offset) for name in ("start", "factors", "zeros")]
        lists, sums = self.strip_lists(b, item.block), self.row_sums(b, item)

        def arguments(row: Register) -> Sequence[Register]:
            x = b.at(pointers["x"], b.multiply(row, self.inner))
            return x, w, b.at(y, b.multiply(row, self.element.bytes * self.columns)), *numbers, sums(row), lists

        return arguments

    def start(self, tile: MatrixTile) -> list[Register]:
        address = tile.b.arguments[3]
        row = [
            tile.b.load(ACCUMULATOR, tile.b.at(address, 4 * CHANNEL_BLOCK * vector)) for vector in range(tile.vectors)
        ]
        return (row + [zero(ACCUMULATOR)] * self.has_zeros) * tile.rows

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width = tile.b, len(totals) // tile.rows
        _, _, y, _, factors, zeros, *_ = b.arguments
        for vector in range(tile.vectors):
            offset, windows = 4 * CHANNEL_BLOCK * vector, totals[tile.vectors :: width]
            w_zeros = b.at(zeros, offset) if self.constants.zeros else None
            reals = self.constants.reals(b, totals[vector::width], windows, b.at(factors, offset), w_zeros)
            address = b.at(y, vector * self.element.bytes * CHANNEL_BLOCK)
            self.store(b, reals, address, tile.mask(vector))

    def store(self, b: FunctionBuilder, reals: Sequence[Register], address: Register, mask: Register | None) -> None:
        """Store results at their scale, vectors of neighbouring rows."""
        for packed in self.constants.result.store_forms(b, reals, are_small=self.constants.are_small):
            lanes = packed.type.lanes
            for first in range(0, lanes, CHANNEL_BLOCK):
                block = range(first, first + CHANNEL_BLOCK)
                part = b.shuffle(packed, packed, block) if lanes > CHANNEL_BLOCK else packed
                b.store_masked(part, address, mask)
                address = b.at(address, self.element.bytes * self.columns)


class WordProduct(ByteProduct):
    """The same of x and a result of 16 bits, two words instead of four bytes a step; the sums fit 32 bits.

    Weights are read as ``w``, words, zero points taken off: the data of :meth:`words`.
    ``inner``: bytes of a row of x."""

    OWN_WEIGHTS: ClassVar[bool] = True

    def words(self, weights: np.ndarray) -> bytes:
        """Weights [K, N], zero points taken off, as [N/16, K/2, 16 (N), 2 (K)], filled up to whole vectors."""
        inner, columns = weights.shape
        filled = np.pad(weights, ((0, self.vector_bytes // (2 * CHANNEL_BLOCK) - inner), (0, -columns % CHANNEL_BLOCK)))
        cut = filled.reshape(-1, 2, filled.shape[1] // CHANNEL_BLOCK, CHANNEL_BLOCK)
        return cut.transpose(2, 0, 3, 1).astype("<i2").tobytes()

    def products(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        value = b.splat(x, CHANNEL_BLOCK)
        return [add_word_pairs(b, total, value, vector) for vector, total in zip(weights, totals, strict=False)]


class IntegerProduct(QuadProduct):
    """Product of a matrix of plain integers, whose zero point is data, and a known one.

    Arguments: x [M, K]; w; the zero point of x, if there is one; those of w, if any, which are not read; result [M, N],
    32-bit integers, row-major.

    Attributes:
        stored_signed, signed: whether integers of x are signed as they are stored, and as they are multiplied.
        flips_w: see `flips`.
        sums: over w' - zw' by column, in whole blocks.
        zeros: zw' by column, in whole blocks; empty if there are none but 0.
        x_zero: element type of the zero point of x; ``None`` without it.
        has_w_zero: there is an argument for those of w.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "sums", "zeros", "x_zero", "row_sums", LISTS)
    WRITTEN: ClassVar[tuple[str, ...]] = ("y",)

    stored_signed: bool
    signed: bool
    flips_w: bool
    sums: Row
    zeros: Row
    x_zero: DType | None
    has_w_zero: bool

    @property
    def flips(self) -> tuple[bool, bool]:
        return self.stored_signed != self.signed, self.flips_w

    @property
    def is_signed(self) -> bool:
        return self.signed

    @property
    def has_zeros(self) -> bool:
        return bool(self.zeros)

    @property
    def arguments(self) -> tuple[str, ...]:
        zeros = *["x_zero"] * (self.x_zero is not None), *["w_zero"] * self.has_w_zero
        return self.listed(("x", "w", *zeros, "y"))

    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        pointers, offset = self.bind(b), b.multiply(item.block, 4 * CHANNEL_BLOCK)
        w, y = b.at(pointers["w"], b.multiply(item.block, self.vector_bytes)), b.at(pointers["y"], offset)
        named = [(name, numbers) for name in ("sums", "zeros") if (numbers := getattr(self, name))]
        tables = {n: b.at(ConstantTable(DType.I32, row).define(b, f"{b.name}_{n}"), offset) for n, row in named}
        of_columns = [tables.get(name, zero(PTR)) for name in ("sums", "zeros")]
        of_columns.append(pointers.get("x_zero", zero(PTR)))
        lists, row_sums = self.strip_lists(b, item.block), self.row_sums(b, item)

        def arguments(row: Register) -> Sequence[Register]:
            x = b.at(pointers["x"], b.multiply(row, self.inner))
            return x, w, b.at(y, b.multiply(row, 4 * self.columns)), *of_columns, row_sums(row), lists

        return arguments

    def start(self, tile: MatrixTile) -> list[Register]:
        return [zero(ACCUMULATOR)] * (tile.rows * (tile.vectors + self.has_zeros))

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width = tile.b, tile.vectors + self.has_zeros
        _, _, y, sums, zeros, x_zero, *_ = b.arguments
        less = self._zero(b, x_zero)
        for row in range(tile.rows):
            for vector in range(tile.vectors):
                terms = [] if less is None else [(sums, b.splat(less, CHANNEL_BLOCK))]
                terms += [(zeros, totals[row * width + tile.vectors])] if self.has_zeros else []
                total = less_zero_points(b, totals[row * width + vector], terms, vector)
                offset = 4 * (self.columns * row + CHANNEL_BLOCK * vector)
                b.store_masked(total, b.at(y, offset), tile.mask(vector))

    def _zero(self, b: FunctionBuilder, address: Register) -> Register | None:
        """zx'; ``None`` if it is 0."""
        moved = constant(I32, 128 * (self.stored_signed - self.signed))
        if self.x_zero is None:
            return moved if self.flips[0] else None
        stored = b.convert("sext" if self.x_zero is DType.I8 else "zext", b.load(I8, address), I32)
        return b.binary("add", stored, moved) if self.flips[0] else stored


def less_zero_points(
    b: FunctionBuilder, total: Register, terms: Sequence[tuple[Register, Register]], vector: int
) -> Register:
    """The accumulator of a vector of columns less products of what a table has of these columns, and of factors."""
    for table, factor in terms:
        of_columns = b.load(ACCUMULATOR, b.at(table, ACCUMULATOR.bytes * vector))
        total = b.binary("sub", total, b.binary("mul", of_columns, factor))
    return total
