"""Products of matrices of numbers in single and double precision.

A known right factor lies in panels of 16 columns, each in one piece: rows of a matrix whose strips lie far apart come
slowly into the caches. A transposed one that is not known is first transposed, one strip of columns at a time, into the
work memory.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from .....ir.layout import CHANNEL_BLOCK
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import F32, F64, PTR, Register, Registers, Type, partial_mask, zero
from ..activation import ProductSpec
from ..channel_tiles import ChannelTiles, WorkItem
from ..layout import transpose_square
from .blocking import registers_per_vector
from .matrix_product import MatrixProduct, MatrixShape, MatrixTile, TileArguments, choose_tile, positions

_PANEL_ROW = 4 * CHANNEL_BLOCK
"""Bytes from step to step in a panel of the right factor."""

_SEVERAL_TILES, _NEAR = 24, 2**15
"""Rows from which several tiles read a strip of w, and bytes of w that a first level cache holds however they lie."""

_FEW_STEPS = 8
"""Up to so many steps a product takes less time than its result: neighbours of a row are written soon after each other,
not rows down a strip, which may each lie in a page of their own."""

_WRITTEN_TILE, _WRITTEN_ROWS = (2, 4), 8
"""Rows and vectors of its tiles then, and the rows for which all columns are computed before going on."""

_MOST_PANELS = 6
"""Of a tile: where panels lie multiples of a page apart, a first level cache of eight ways holds a line of so many."""


class FloatProduct(ProductSpec, MatrixProduct):
    """x w + bias + residual, then the activation, for each matrix of a batch; all row-major.

    Arguments: x [*, M, K] (or [*, K, M]), w [*, K, N] (or [*, N, K]), bias [N], residual and result [*, M, N]. The
    result may lie where the residual lies.

    Attributes:
        batch: extents of the batch dimensions of the result.
        x_strides, w_strides: along each of them, in matrices; 0 where a factor is the same for all.
        transpose_x, transpose_w: the factor lies transposed.
        panels: w, the same for all, lies in layout ``o16`` or ``io16``.
        is_double: numbers are in double precision; w lies in no panels then, and there is no activation.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "bias", "residual", "y")
    WRITTEN: ClassVar[tuple[str, ...]] = ("residual", "y", "scratch")

    batch: tuple[int, ...] = ()
    x_strides: tuple[int, ...] = ()
    w_strides: tuple[int, ...] = ()
    transpose_x: bool = False
    transpose_w: bool = False
    panels: bool = False
    is_double: bool = False

    @property
    def element(self) -> Type:
        return F64 if self.is_double else F32

    @property
    def makes_strips(self) -> bool:
        """Whether each strip of w is made in the work memory."""
        is_read_again = self.rows >= _SEVERAL_TILES and self.element.bytes * self.inner * self.columns > _NEAR
        return self.transpose_w or (is_read_again and self.inner > _FEW_STEPS and not self.panels)

    def shape(self, target: TargetDescription) -> MatrixShape:
        # Where no strips are made, lines that two tiles share would be read and written twice.
        are_lines = self.panels or (self.columns > CHANNEL_BLOCK and not self.makes_strips)
        together = registers_per_vector(target) if are_lines else 1
        most = (_MOST_PANELS * together,) if self.panels else ()
        size, lanes = self.element.bytes, 4 * target.lanes // self.element.bytes
        rows, vectors = choose_tile(self.rows, size // 4 * self.columns, self.inner, target, together, *most)
        # Rows whose part of x stays in the second level cache while all strips pass by.
        budget = max(1, target.cache_bytes[1] // 2 // (size * self.inner) // rows) * rows
        if self.inner <= _FEW_STEPS and self.columns > 3 * lanes and self.rows > 1 and not self.makes_strips:
            (rows, vectors), budget = _WRITTEN_TILE, _WRITTEN_ROWS
        row_block = self.rows if self.makes_strips else min(self.rows, budget)
        strip_row = size * vectors * lanes
        return MatrixShape(
            ChannelTiles(math.prod(self.batch), 1, self.columns, lanes, vectors, self.rows, row_block),
            tile_rows=rows,
            x_row=size if self.transpose_x else size * self.inner,
            x_step=size * self.rows if self.transpose_x else size,
            w_step=strip_row if self.makes_strips else _PANEL_ROW if self.panels else size * self.columns,
            steps=self.inner,
            scratch=strip_row * self.inner if self.makes_strips else 0,
        )

    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        pointers, size = self.bind(b), self.element.bytes
        x, w = self._factors(b, item.image)
        column = b.multiply(item.block, shape.lanes)
        w = b.at(w, b.multiply(column, self.column_bytes))
        if self.makes_strips:
            w = self.made_strip(b, shape, w, column, columns)
        bias = b.at(pointers["bias"], b.multiply(column, size)) if self.has_bias else zero(PTR)
        result = b.add(b.multiply(item.image, size * self.rows * self.columns), b.multiply(column, size))

        def arguments(row: Register) -> Sequence[Register]:
            offset = b.add(result, b.multiply(row, size * self.columns))
            residual = b.at(pointers["residual"], offset) if self.has_residual else zero(PTR)
            return b.at(x, b.multiply(row, shape.x_row)), w, bias, residual, b.at(pointers["y"], offset)

        return arguments

    def _factors(self, b: FunctionBuilder, matrix: Register) -> list[Register]:
        """The factors of a matrix of the batch."""
        found = positions(b, matrix, self.batch, self.x_strides, self.w_strides)
        sizes = (self.element.bytes * self.inner * count for count in (self.rows, self.columns))
        return [b.at(p, b.multiply(n, size)) for p, n, size in zip(b.arguments[:2], found, sizes, strict=True)]

    @property
    def column_bytes(self) -> int:
        """From column to column of w, at least between whole panels."""
        return self.element.bytes * (self.inner if self.transpose_w or self.panels else 1)

    def made_strip(
        self, b: FunctionBuilder, shape: MatrixShape, w: Register, column: Register, columns: int
    ) -> Register:
        """Columns of w side by side as rows of a strip, filled up with zeros."""
        lanes = shape.lanes
        strip, vector = self.bind(b)["scratch"], self.element.of(lanes)
        size, row_bytes = self.element.bytes, self.element.bytes * self.inner
        if not self.transpose_w:

            def copy(step: Register) -> None:
                source = b.at(w, b.multiply(step, size * self.columns))
                target = b.at(strip, b.multiply(step, shape.w_step))
                for first in range(0, columns, lanes):
                    mask = partial_mask(lanes, min(lanes, columns - first))
                    b.store(b.load_masked(vector, b.at(source, size * first), mask), b.at(target, size * first))

            b.each(0, self.inner, copy)
            return strip
        for first in range(0, columns, lanes):

            def square(step: Register, count: int, first: int = first) -> None:
                source = b.at(w, first * row_bytes, b.multiply(step, size))
                rows = [zero(vector)] * lanes
                for index in range(min(lanes, columns - first)):
                    address = b.at(source, index * row_bytes)
                    rows[index] = b.load_masked(vector, address, partial_mask(lanes, count))
                target = b.at(strip, b.multiply(step, shape.w_step), size * first)
                for index, column in enumerate(transpose_square(b, rows)[:count]):
                    b.store(column, b.at(target, index * shape.w_step))

            b.in_steps(self.inner, lanes, square)
        return strip

    def start(self, tile: MatrixTile) -> list[Register]:
        return [zero(self.element.of(tile.shape.lanes))] * (tile.rows * tile.vectors)

    def weights(self, tile: MatrixTile, w: Register) -> list[Register]:
        # A strip in the work memory is filled up with zeros, as panels are.
        whole = replace(tile, active=tile.shape.lanes) if self.makes_strips or self.panels else tile
        per_panel = tile.vectors if self.makes_strips or not self.panels else CHANNEL_BLOCK // tile.shape.lanes
        found: list[Register] = []
        for vector in range(tile.vectors):
            panel, within = divmod(vector, per_panel)
            found.append(self._load(whole, within, tile.b.at(w, panel * _PANEL_ROW * self.inner)))
        return found

    def multiply(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        value = b.splat(b.load(self.element, x), weights[0].type.lanes)
        return [b.fma(value, vector, total) for vector, total in zip(weights, totals, strict=False)]

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, row_bytes = tile.b, self.element.bytes * self.columns
        _, _, bias, residual, y = b.arguments
        biases = [self._load(tile, vector, bias) for vector in range(tile.vectors)] if self.has_bias else []
        for index, value in enumerate(totals):
            row, vector = divmod(index, tile.vectors)
            value = b.binary("fadd", value, biases[vector]) if self.has_bias else value
            if self.has_residual:
                value = b.binary("fadd", value, self._load(tile, vector, b.at(residual, row * row_bytes)))
            value = self.activation.apply(b, value) if self.activation.is_light else value
            _store(tile, vector, value, b.at(y, row * row_bytes))
        if self.activation.is_light:
            return

        def activate(row: Register) -> None:
            address = b.at(y, b.multiply(row, row_bytes))
            for vector in range(tile.vectors):
                _store(tile, vector, self.activation.apply(b, self._load(tile, vector, address)), address)

        b.each(0, tile.rows, activate)

    def _load(self, tile: MatrixTile, vector: int, row: Register) -> Register:
        """A vector of a row, as far as it lies within the columns."""
        type = self.element.of(tile.shape.lanes)
        return tile.b.load_masked(type, tile.b.at(row, vector * type.bytes), tile.mask(vector))


def _store(tile: MatrixTile, vector: int, value: Register, row: Register) -> None:
    tile.b.store_masked(value, tile.b.at(row, vector * value.type.bytes), tile.mask(vector))
