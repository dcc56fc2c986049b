"""Products of 8-bit integers in row-major order, by dot products of pairs of 16-bit integers.

Zero points are taken off first, into the work memory, which leaves 16-bit integers: no sign and no zero point matters
after that, padding is 0, and sums of pairs are exact. A left factor [M, K], broadcast pair by pair, meets a right one
[K, N], read in vectors: weights and the windows of an image, or two matrices, where the right one is an image of one
row whose pixels do not see their neighbours.
"""

import math
from typing import ClassVar

from tilewright.immutable import Immutable

from .....ir.types import DType
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import dot_of_pairs
from ...llvm.quantized_math import StoredRange, single
from ...llvm.target import TargetDescription
from ...llvm.types import F32, I1, I8, I16, I32, I64, PTR, Register, Registers, constant, partial_mask, zero
from ...spec import ConstantTable
from ..channel_tiles import ChannelTiles, WorkItem
from ..window import Axis
from .matrix_product import MatrixProduct, MatrixShape, MatrixTile, OverRows, TileArguments, choose_tile, positions
from .word_packing import Factor, Packing, as_words, every, pack_row

_AHEAD = 16
"""Rows of a matrix that are asked for before they are read: pieces of rows, which no processor foresees."""

_MOST_COLUMNS = 256
"""Columns of a work item, about."""


class Requantization(Immutable):
    """What becomes of sums: times a factor of single precision, as stored integers of 8 bits.
    ``factors``: one, or those of all rows of the matrices on the left, in turn.
    ``result``: the integers.
    ``biases``: added to the sums, for each factor."""

    factors: tuple[float, ...]
    result: StoredRange
    biases: tuple[int, ...] = (0,)


class WordProduct(MatrixProduct):
    """Products of weights and windows, or of matrices, of a batch.

    Arguments: left [*, M, K], right [*, C, *image] and their zero points, in the order of ``names``; result [*, M, N],
    32-bit integers unless they are requantised; all row-major. K runs over the channels and taps of a window, N over
    windows.

    Attributes:
        batch: extents of the batch dimensions of the result.
        left_strides, right_strides: along each of them, in matrices; 0 where a factor is the same for all.
        window: geometry of the image, by rows and columns; a matrix is one row without neighbours.
        requantization: of the sums, if any.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "biases", "factors")
    WRITTEN: ClassVar[tuple[str, ...]] = ("y", "scratch")

    names: tuple[str, ...]
    batch: tuple[int, ...]
    left_strides: tuple[int, ...]
    right_strides: tuple[int, ...]
    left: Factor
    right: Factor
    window: tuple[Axis, Axis]
    requantization: Requantization | None = None

    @property
    def result_bytes(self) -> int:
        """Of an element."""
        return 4 if self.requantization is None else 1

    @property
    def _table_step(self) -> int:
        """From row to row in the tables of requantisation."""
        return 4 if self.requantization is not None and len(self.requantization.factors) > 1 else 0

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.names

    @property
    def taps(self) -> int:
        """Of a window."""
        return self.window[0].kernel * self.window[1].kernel

    @property
    def steps(self) -> int:
        """Pairs of rows of the right factor."""
        return -(-self.inner // 2)

    def _windows(self, count: int) -> tuple[int, int]:
        """Rows and columns of windows in so much of the image: of its rows or, if there is only one, of its columns."""
        rows, columns = self.window
        return (1, count) if rows.output == 1 else (count, columns.output)

    def shape(self, target: TargetDescription) -> MatrixShape:
        tile_rows, vectors = choose_tile(self.rows, self.columns, self.inner, target)
        rows, columns = self.window
        step, budget = 4 * self.steps, target.cache_bytes[1] // 2
        row_block = min(self.rows, max(1, budget // step // tile_rows) * tile_rows)
        wide = vectors * target.lanes
        fitting = max(1, min(_MOST_COLUMNS, budget // step) // wide) * wide
        is_row = rows.output == 1
        extent, most = (columns.output, fitting) if is_row else (rows.output, max(1, fitting // columns.output))
        count = -(-extent // most)
        block = min(extent, most if is_row else -(-extent // count))
        packing = self._packing(target, block, row_block)
        cut = ChannelTiles(math.prod(self.batch), 1, extent, 1, block, self.rows, row_block)
        scratch = packing.pairs + self.steps * packing.pitch + 4 * target.lanes
        return MatrixShape(cut, tile_rows, step, 4, packing.pitch, self.steps, scratch)

    def _packing(self, target: TargetDescription, block: int, row_block: int) -> Packing:
        def seen(axis: Axis, outputs: int) -> int:
            return (outputs - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1

        rows, columns = self.window
        height, width = self._windows(block)
        image = _aligned(4 * self.steps * row_block)
        seen_rows, seen_columns = seen(rows, height), seen(columns, width)
        # What vectors of the last row read beyond its end.
        beyond = 2 * columns.stride * target.lanes
        pairs = image + _aligned(2 * self.inner // self.taps * seen_rows * seen_columns + beyond)
        pitch = 4 * target.lanes * -(-height * width // target.lanes)
        return Packing(block, seen_rows, seen_columns, image, pairs, pitch)

    def visit(
        self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, vectors: int, active: int, over_rows: OverRows
    ) -> None:
        """A work item is some rows of windows, or a part of the only one; it is packed once and read by many tiles."""
        arguments = self.strip(b, shape, item, vectors)
        lanes, columns = b.target.lanes, math.prod(self._windows(vectors))
        wide = choose_tile(self.rows, self.columns, self.inner, b.target)[1] * lanes

        def some(first: Register, count: int) -> None:
            def moved(row: Register) -> Registers:
                x, w, y, *tables = arguments(row)
                return x, b.at(w, b.multiply(first, 4)), b.at(y, b.multiply(first, self.result_bytes)), *tables

            over_rows(item, -(-count // lanes), (count - 1) % lanes + 1, moved)

        b.in_steps(columns, wide, some)

    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        pointers, packing = self.bind(b), self._packing(b.target, shape.cut.vectors, shape.cut.row_block)
        scratch = pointers["scratch"]
        left, right = positions(b, item.image, self.batch, self.left_strides, self.right_strides)
        self._pack_left(b, left, item, scratch)
        first = (b.integer(0), item.block) if self.window[0].output == 1 else (item.block, b.integer(0))
        image, pairs = b.at(scratch, packing.image), b.at(scratch, packing.pairs)
        if columns > 1 and self.window[0].output == 1 and self.window[1].is_pointwise:
            self._pair_bytes(b, right, item.block, columns, packing.pitch, pairs)
        else:
            self._pack_image(b, right, first, self._windows(columns), packing, image)
            self._pair(b, image, pairs, self._windows(columns), packing)
        pixel = b.add(b.multiply(first[0], self.window[1].output), first[1])
        first_element = b.add(b.multiply(item.image, self.rows * self.columns), pixel)
        result = b.at(pointers["y"], b.multiply(first_element, self.result_bytes))
        tables, form = [zero(PTR)] * 2, self.requantization
        if form is not None:
            numbers = (DType.I32, form.biases), (DType.F32, form.factors)
            tables = [ConstantTable(*each).define(b, f"{self.name}_{each[0].value}") for each in numbers]

        def arguments(row: Register) -> Registers:
            x = b.at(scratch, b.multiply(b.subtract(row, item.first_row), shape.x_row))
            offset = b.multiply(b.add(b.multiply(left, self.rows), row), self._table_step)
            of_rows = [b.at(table, offset) for table in tables]
            return x, pairs, b.at(result, b.multiply(row, self.result_bytes * self.columns)), *of_rows

        return arguments

    def _pack_left(self, b: FunctionBuilder, matrix: Register, item: WorkItem, target: Register) -> None:
        pointers, factor = self.bind(b), self.left
        source = b.at(pointers["left"], b.multiply(matrix, self.rows * self.inner))
        zeros = b.multiply(matrix, self.rows) if factor.zeros > self.rows else b.integer(0)

        def row(index: Register) -> None:
            packed = b.at(target, b.multiply(b.subtract(index, item.first_row), 4 * self.steps))
            if self.inner % 2:
                b.store(constant(I16, 0), packed, 2 * self.inner)
            taken = constant(I16, factor.known) if factor.known else None
            if factor.zero is not None:
                position = b.add(zeros, index) if factor.zeros > 1 else b.integer(0)
                taken = as_words(b, b.at(pointers["left_zero"], position), factor.zero)
            stored = b.at(source, b.multiply(index, self.inner))
            whole = 0, self.inner, self.inner
            pack_row(b, stored, packed, factor.dtype, *whole, lambda _, n: taken and b.splat(taken, n))

        b.each(item.first_row, item.last_row, row)

    def _pack_image(
        self,
        b: FunctionBuilder,
        matrix: Register,
        first: tuple[Register, Register],
        counts: tuple[int, int],
        packing: Packing,
        target: Register,
    ) -> None:
        """What some windows see, row by row, zeros in the padding."""
        pointers, factor, taken = self.bind(b), self.right, self.right.taken(b, self.bind(b).get("right_zero"))
        rows, columns = self.window
        channels = self.inner // self.taps
        (top, begin, end), (left, start, stop) = (
            _seen(b, axis, pixel, count) for axis, pixel, count in zip(self.window, first, counts, strict=True)
        )
        if rows.is_padded or columns.is_padded:
            size = 2 * channels * packing.rows * packing.columns
            b.intrinsic("llvm.memset.p0.i64", None, [target, constant(I8, 0), constant(I64, size), constant(I1, False)])
        source = b.at(pointers["right"], b.multiply(matrix, channels * rows.input * columns.input))
        most = min(columns.input, packing.columns)

        def channel(index: Register) -> None:
            def row(y: Register) -> None:
                stored = b.at(source, b.multiply(b.add(b.multiply(index, rows.input), y), columns.input))
                line = b.add(b.multiply(index, packing.rows), b.subtract(y, top))
                packed = b.at(target, b.multiply(b.subtract(b.multiply(line, packing.columns), left), 2))
                pack_row(b, stored, packed, factor.dtype, start, stop, most, taken)

            b.each(begin, end, row)

        b.each(0, channels, channel)

    def _pair_bytes(
        self, b: FunctionBuilder, matrix: Register, first: Register, count: int, pitch: int, pairs: Register
    ) -> None:
        """Rows of the right factor, two and two, where it lies as a matrix: ``count`` columns from ``first`` on."""
        width, factor, taken = self.window[1].input, self.right, self.right.taken(b, self.bind(b).get("right_zero"))
        source = b.at(self.bind(b)["right"], b.multiply(matrix, self.inner * width))
        lanes = 2 * b.target.lanes
        while lanes > count:
            lanes //= 2

        def pair(index: Register) -> None:
            low = b.multiply(index, 2)
            # The partner of the last of an odd number is multiplied with 0.
            high = b.minimum(b.add(low, 1), self.inner - 1)
            sources = [b.at(source, b.multiply(row, width)) for row in (low, high)]
            target = b.at(pairs, b.multiply(index, pitch))

            def some(column: Register) -> None:
                # The last vector takes columns of the one before again, where there are fewer.
                column = b.minimum(column, count - lanes)
                position = b.add(first, column)
                words, less = (
                    [as_words(b, b.at(row, position), factor.dtype, lanes) for row in sources],
                    taken(position, lanes),
                )
                if less is not None:
                    words = [b.binary("sub", each, less) for each in words]
                for row in sources:
                    b.prefetch(b.at(row, position, _AHEAD * width))
                order = [lane // 2 + lane % 2 * lanes for lane in range(2 * lanes)]
                for part in (0, 1):
                    value = b.shuffle(words[0], words[1], order[part * lanes : (part + 1) * lanes])
                    b.store(value, b.at(target, b.multiply(column, 4), 2 * lanes * part))

            b.each(0, count, some, step=lanes)

        b.each(0, self.steps, pair)

    def _pair(
        self, b: FunctionBuilder, image: Register, pairs: Register, counts: tuple[int, int], packing: Packing
    ) -> None:
        """Rows of the right factor, two and two, from the image: for each window the elements at two of its taps.

        The last vector of a row of windows goes beyond its end, where the next row is written after it."""
        (rows, columns), (height, width) = self.window, counts
        lanes, plane = b.target.lanes, 2 * packing.rows * packing.columns
        table = None
        if self.taps > 1:
            inside = [
                2 * (i * rows.dilation * packing.columns + j * columns.dilation)
                for i in range(rows.kernel)
                for j in range(columns.kernel)
            ]
            table = b.table(f"{self.name}_taps", I64, inside)

        def pair(index: Register) -> None:
            low = b.multiply(index, 2)
            # The partner of the last of an odd number is multiplied with 0.
            both = low, b.minimum(b.add(low, 1), self.inner - 1)
            sources = [b.at(image, b.multiply(b.divide(k, self.taps), plane)) for k in both]
            if table is not None:
                taps = (b.load(I64, b.at(table, b.multiply(b.remainder(k, self.taps), 8))) for k in both)
                sources = [b.at(source, tap) for source, tap in zip(sources, taps, strict=True)]
            target = b.at(pairs, b.multiply(index, packing.pitch))

            def row(y: Register) -> None:
                line, output = b.multiply(y, 2 * rows.stride * packing.columns), b.multiply(y, 4 * width)

                def vector(x: Register) -> None:
                    offset = b.add(line, b.multiply(x, 2 * columns.stride))
                    first, second = (every(b, b.at(source, offset), columns.stride) for source in sources)
                    second = b.binary("shl", second, constant(second.type, 16))
                    b.store(b.binary("or", first, second), b.at(target, output, b.multiply(x, 4)))

                b.each(0, width, vector, step=lanes)

            b.each(0, height, row)

        b.each(0, self.steps, pair)

    def start(self, tile: MatrixTile) -> list[Register]:
        return [zero(I32.of(tile.b.target.lanes))] * (tile.rows * tile.vectors)

    def weights(self, tile: MatrixTile, w: Register) -> list[Register]:
        vector = I32.of(tile.b.target.lanes)
        return [tile.b.load(vector, tile.b.at(w, index * vector.bytes)) for index in range(tile.vectors)]

    def multiply(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        value = b.splat(b.load(I32, x), b.target.lanes)
        return [dot_of_pairs(b, total, value, vector) for vector, total in zip(weights, totals, strict=False)]

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, lanes = tile.b, tile.b.target.lanes
        for index, total in enumerate(totals):
            row, vector = divmod(index, tile.vectors)
            mask = partial_mask(lanes, tile.active) if vector == tile.vectors - 1 else None
            if self.requantization is not None:
                pointers = (b.at(table, row * self._table_step) for table in b.arguments[3:])
                pairs = zip((I32, F32), pointers, strict=True)
                bias, factor = (b.splat(b.load(type, pointer), lanes) for type, pointer in pairs)
                real = b.binary("fmul", single(b, b.binary("add", total, bias)), factor)
                total = self.requantization.result.store_form(b, real)
            offset = self.result_bytes * (row * self.columns + vector * lanes)
            b.store_masked(total, b.at(b.arguments[2], offset), mask)


def _aligned(size: int) -> int:
    return -(-size // 64) * 64


def _seen(b: FunctionBuilder, axis: Axis, pixel: Register, count: int) -> tuple[Register, Register, Register]:
    """Where the first of some windows begins, and the part of the image that they see."""
    start = axis.coordinate(b, pixel)
    end = b.add(start, (count - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1)
    return start, b.maximum(start, 0), b.minimum(end, axis.input)
