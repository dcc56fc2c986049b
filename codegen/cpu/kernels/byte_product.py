"""Products of 8-bit matrices with a known right factor, by dot products of four bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ....ir.layout import CHANNEL_BLOCK, QUAD
from ..llvm.builder import FunctionBuilder
from ..llvm.byte_dot_product import ACCUMULATOR, BYTES, dot, flipped
from ..llvm.target import TargetDescription
from ..llvm.types import I8, I32, Register, Registers, constant, zero
from .blocking import Work, choose_tile
from .channel_tiles import ChannelTiles, WorkItem
from .matrix_product import MatrixProduct, MatrixShape, MatrixTile, TileArguments
from .output_channels import QuantizedProductSpec
from .window import Axis


@dataclass(frozen=True)
class ByteProduct(QuantizedProductSpec, MatrixProduct):
    """Product of a matrix of activations and one of weights, bias, activation and requantisation.

    Arguments: x [M, K], row-major; w in layout ``o16i4`` or ``i4o16``; bias, which is not read; result [M, N],
    row-major. K is a multiple of four.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "start", "factors", "zeros")
    WRITTEN: ClassVar[tuple[str, ...]] = ("y",)

    @property
    def vector_bytes(self) -> int:
        """Weights of 16 columns."""
        return -(-self.inner // CHANNEL_BLOCK) * CHANNEL_BLOCK * CHANNEL_BLOCK

    def shape(self, target: TargetDescription) -> MatrixShape:
        blocks, steps = -(-self.columns // CHANNEL_BLOCK), self.inner // QUAD
        work = Work(
            Axis.line(1), Axis.line(self.rows), steps, blocks, is_quantized=True, has_sums=bool(self.constants.zeros)
        )
        _, rows, vectors = choose_tile(work, target)
        # Rows of x that stay in the cache while all columns go over them.
        row_block = max(1, target.cache_bytes[1] // 4 // self.inner // rows) * rows
        return MatrixShape(
            ChannelTiles(1, 1, self.columns, CHANNEL_BLOCK, vectors, self.rows, row_block),
            tile_rows=rows,
            x_row=self.inner,
            x_step=QUAD,
            w_step=CHANNEL_BLOCK * QUAD,
            steps=steps,
        )

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
        return (row + [zero(ACCUMULATOR)] * bool(self.constants.zeros)) * tile.rows

    def weights(self, tile: MatrixTile, w: Register) -> list[Register]:
        b = tile.b
        weights = [b.load(BYTES, b.at(w, vector * self.vector_bytes)) for vector in range(tile.vectors)]
        if self.constants.flips_w:
            weights = [flipped(b, vector) for vector in weights]
        # Zero points of weights are multiplied with the sum of the row.
        return [*weights, constant(BYTES, 1)] if self.constants.zeros else weights

    def multiply(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        value = b.splat(b.convert("bitcast", b.load(I8.of(QUAD), x), I32), CHANNEL_BLOCK)
        value = flipped(b, value) if self.constants.flips_x else value
        return [dot(b, total, value, vector) for vector, total in zip(weights, totals, strict=False)]

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width = tile.b, len(totals) // tile.rows
        _, _, y, _, factors, zeros = b.arguments
        for vector in range(tile.vectors):
            offset, windows = 4 * CHANNEL_BLOCK * vector, totals[tile.vectors :: width]
            w_zeros = b.at(zeros, offset) if self.constants.zeros else None
            reals = self.constants.reals(b, totals[vector::width], windows, b.at(factors, offset), w_zeros)
            self._store(b, reals, b.at(y, vector * CHANNEL_BLOCK), tile.mask(vector))

    def _store(self, b: FunctionBuilder, reals: Sequence[Register], address: Register, mask: Register | None) -> None:
        """Vectors of neighbouring rows."""
        for packed in self.constants.result.store_forms(b, reals, are_small=self.constants.are_small):
            lanes = packed.type.lanes
            for first in range(0, lanes, CHANNEL_BLOCK):
                block = range(first, first + CHANNEL_BLOCK)
                part = b.shuffle(packed, packed, block) if lanes > CHANNEL_BLOCK else packed
                b.store_masked(part, address, mask)
                address = b.at(address, self.columns)
