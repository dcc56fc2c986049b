"""Products of 8-bit matrices with a known right factor, by dot products of four bytes.

With the names of `output_channels`, a product of plain integers whose left zero point is data is

    sum((x - zx) * (w - zw)) = sum(x' * w') - zw' * sum(x') - zx' * sum(w' - zw')

where the sums over w' - zw' are constants of a column.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .....ir.layout import CHANNEL_BLOCK, QUAD
from .....ir.types import DType
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import ACCUMULATOR, BYTES, dot, flipped
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I32, PTR, Register, Registers, constant, zero
from ...spec import ConstantTable
from ..channel_tiles import ChannelTiles, WorkItem
from ..output_channels import QuantizedProductSpec, Row
from ..window import Axis
from .blocking import Work, choose_tile
from .matrix_product import MatrixProduct, MatrixShape, MatrixTile, TileArguments


@dataclass(frozen=True)
class QuadProduct(MatrixProduct):
    """Base of products of a matrix of 8-bit integers, row-major, and one in layout ``o16i4`` or ``i4o16``. K is a
    multiple of four.
    """

    @property
    @abstractmethod
    def flips(self) -> tuple[bool, bool]:
        """Whether stored integers of x are signed where factors are not or the other way round, and those of w."""

    @property
    @abstractmethod
    def is_signed(self) -> bool:
        """Whether factors of x are signed."""

    @property
    @abstractmethod
    def has_zeros(self) -> bool:
        """Whether zero points of weights are multiplied with the sum of the row, a further accumulator of it."""

    @property
    def vector_bytes(self) -> int:
        """Weights of 16 columns."""
        return -(-self.inner // CHANNEL_BLOCK) * CHANNEL_BLOCK * CHANNEL_BLOCK

    @property
    def work(self) -> Work:
        """What the choice of a tile depends on."""
        blocks, steps = -(-self.columns // CHANNEL_BLOCK), self.inner // QUAD
        return Work(Axis.line(1), Axis.line(self.rows), steps, blocks, is_quantized=True, has_sums=self.has_zeros)

    def shape(self, target: TargetDescription) -> MatrixShape:
        _, rows, vectors = choose_tile(self.work, target)
        # Rows of x that stay in the cache while all columns go over them.
        row_block = max(1, target.cache_bytes[1] // 4 // self.inner // rows) * rows
        return MatrixShape(
            ChannelTiles(1, 1, self.columns, CHANNEL_BLOCK, vectors, self.rows, row_block),
            tile_rows=rows,
            x_row=self.inner,
            x_step=QUAD,
            w_step=CHANNEL_BLOCK * QUAD,
            steps=self.inner // QUAD,
        )

    def weights(self, tile: MatrixTile, w: Register) -> list[Register]:
        b = tile.b
        weights = [b.load(BYTES, b.at(w, vector * self.vector_bytes)) for vector in range(tile.vectors)]
        if self.flips[1]:
            weights = [flipped(b, vector) for vector in weights]
        return [*weights, constant(BYTES, 1)] if self.has_zeros else weights

    def multiply(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        value = b.splat(b.convert("bitcast", b.load(I8.of(QUAD), x), I32), CHANNEL_BLOCK)
        value = flipped(b, value) if self.flips[0] else value
        factors = zip(weights, totals, strict=False)
        return [dot(b, total, value, vector, is_signed=self.is_signed) for vector, total in factors]


@dataclass(frozen=True)
class ByteProduct(QuantizedProductSpec, QuadProduct):
    """Product of a matrix of activations and one of weights, bias, activation and requantisation.

    Arguments: x [M, K], row-major; w in layout ``o16i4`` or ``i4o16``; bias, which is not read; result [M, N],
    row-major.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "start", "factors", "zeros")
    WRITTEN: ClassVar[tuple[str, ...]] = ("y",)

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
        y = b.at(pointers["y"], b.multiply(item.block, CHANNEL_BLOCK))
        offset = b.multiply(item.block, 4 * CHANNEL_BLOCK)
        numbers = [b.at(pointers.get(name, pointers["start"]), offset) for name in ("start", "factors", "zeros")]

        def arguments(row: Register) -> Sequence[Register]:
            x = b.at(pointers["x"], b.multiply(row, self.inner))
            return x, w, b.at(y, b.multiply(row, self.columns)), *numbers

        return arguments

    def start(self, tile: MatrixTile) -> list[Register]:
        address = tile.b.arguments[3]
        row = [
            tile.b.load(ACCUMULATOR, tile.b.at(address, 4 * CHANNEL_BLOCK * vector)) for vector in range(tile.vectors)
        ]
        return (row + [zero(ACCUMULATOR)] * self.has_zeros) * tile.rows

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width = tile.b, len(totals) // tile.rows
        _, _, y, _, factors, zeros = b.arguments
        for vector in range(tile.vectors):
            offset, windows = 4 * CHANNEL_BLOCK * vector, totals[tile.vectors :: width]
            w_zeros = b.at(zeros, offset) if self.constants.zeros else None
            reals = self.constants.reals(b, totals[vector::width], windows, b.at(factors, offset), w_zeros)
            self.store(b, reals, b.at(y, vector * CHANNEL_BLOCK), tile.mask(vector))

    def store(self, b: FunctionBuilder, reals: Sequence[Register], address: Register, mask: Register | None) -> None:
        """Store results at their scale, vectors of neighbouring rows."""
        for packed in self.constants.result.store_forms(b, reals, are_small=self.constants.are_small):
            lanes = packed.type.lanes
            for first in range(0, lanes, CHANNEL_BLOCK):
                block = range(first, first + CHANNEL_BLOCK)
                part = b.shuffle(packed, packed, block) if lanes > CHANNEL_BLOCK else packed
                b.store_masked(part, address, mask)
                address = b.at(address, self.columns)


@dataclass(frozen=True)
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

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "sums", "zeros", "x_zero")
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
        return ("x", "w", *["x_zero"] * (self.x_zero is not None), *["w_zero"] * self.has_w_zero, "y")

    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        pointers, offset = self.bind(b), b.multiply(item.block, 4 * CHANNEL_BLOCK)
        w, y = b.at(pointers["w"], b.multiply(item.block, self.vector_bytes)), b.at(pointers["y"], offset)
        named = [(name, numbers) for name in ("sums", "zeros") if (numbers := getattr(self, name))]
        tables = {n: b.at(ConstantTable(DType.I32, row).define(b, f"{b.name}_{n}"), offset) for n, row in named}
        of_columns = [tables.get(name, zero(PTR)) for name in ("sums", "zeros")]
        of_columns.append(pointers.get("x_zero", zero(PTR)))

        def arguments(row: Register) -> Sequence[Register]:
            x = b.at(pointers["x"], b.multiply(row, self.inner))
            return x, w, b.at(y, b.multiply(row, 4 * self.columns)), *of_columns

        return arguments

    def start(self, tile: MatrixTile) -> list[Register]:
        return [zero(ACCUMULATOR)] * (tile.rows * (tile.vectors + self.has_zeros))

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width = tile.b, tile.vectors + self.has_zeros
        _, _, y, sums, zeros, x_zero = b.arguments
        less = self._zero(b, x_zero)
        for row in range(tile.rows):
            for vector in range(tile.vectors):
                total, offset = totals[row * width + vector], 4 * CHANNEL_BLOCK * vector
                terms = [] if less is None else [(sums, b.splat(less, CHANNEL_BLOCK))]
                terms += [(zeros, totals[row * width + tile.vectors])] if self.has_zeros else []
                for table, factor in terms:
                    term = b.binary("mul", b.load(ACCUMULATOR, b.at(table, offset)), factor)
                    total = b.binary("sub", total, term)
                b.store_masked(total, b.at(y, 4 * self.columns * row + offset), tile.mask(vector))

    def _zero(self, b: FunctionBuilder, address: Register) -> Register | None:
        """zx'; ``None`` if it is 0."""
        moved = constant(I32, 128 * (self.stored_signed - self.signed))
        if self.x_zero is None:
            return moved if self.flips[0] else None
        stored = b.convert("sext" if self.x_zero is DType.I8 else "zext", b.load(I8, address), I32)
        return b.binary("add", stored, moved) if self.flips[0] else stored
