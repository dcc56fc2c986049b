"""Products of matrices, single precision: tiles of the result in registers.

For each step of the inner dimension some vectors of the right factor's row are loaded once and multiplied with one
element, broadcast, of each row of the left factor. A transposed right factor is first transposed, one column strip at a
time, into the work memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.target import TargetDescription
from ..llvm.types import F32, PTR, Register, Registers, Type, mask_constant, zero
from .layout import transpose_square
from .product_spec import ProductSpec

_UNROLL = 4


@dataclass(frozen=True)
class MatrixProduct(ProductSpec):
    """x w + bias + residual, then the activation, for each matrix of a batch; all row-major.

    Arguments: x [*, M, K] (or [*, K, M]), w [*, K, N] (or [*, N, K]), bias [N], residual and result [*, M, N]. The
    result may lie where the residual lies.

    Attributes:
        rows, columns, inner: M, N and K.
        batch: extents of the batch dimensions of the result.
        x_strides, w_strides: along each of them, in matrices; 0 where a factor is the same for all.
        transpose_x, transpose_w: the factor lies transposed.
    """

    rows: int
    columns: int
    inner: int
    batch: tuple[int, ...] = ()
    x_strides: tuple[int, ...] = ()
    w_strides: tuple[int, ...] = ()
    transpose_x: bool = False
    transpose_w: bool = False

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


def choose_tile(spec: MatrixProduct, target: TargetDescription) -> tuple[int, int]:
    """Rows and vectors of the tile of least estimated cost."""
    vectors_in_row = -(-spec.columns // target.lanes)

    def cost(rows: int, vectors: int) -> float:
        def tile(p: int, q: int) -> float:
            # Two multiply-adds and two loads a cycle, four cycles a link of a chain.
            step = max(p * q / 2, (p + q) / 2, 4 if p * q < 8 else 0)
            return spec.inner * step + 2 * p * q + 20

        across = -(-vectors_in_row // vectors)
        widths = [vectors] * (across - 1) + [vectors_in_row - (across - 1) * vectors]
        full, rest = divmod(spec.rows, rows)
        return sum(full * tile(rows, q) + (tile(rest, q) if rest else 0) for q in widths)

    candidates = [
        (rows, vectors)
        for vectors in range(1, min(vectors_in_row, 12) + 1)
        for rows in range(1, min(spec.rows, 28) + 1)
        if (rows + 1) * vectors + 1 <= target.registers
    ]
    return min(candidates or [(1, 1)], key=lambda tile: cost(*tile))


class _Walker:
    """The function that walks over matrices, blocks of rows and strips of columns, and the tile functions."""

    def __init__(self, spec: MatrixProduct, target: TargetDescription) -> None:
        self.spec = spec
        self.target = target
        self.vector = F32.of(target.lanes)
        self.tile_rows, self.tile_vectors = choose_tile(spec, target)
        self.strip = self.tile_vectors * target.lanes
        self.strips = -(-spec.columns // self.strip)
        # Rows whose part of x stays in the second level cache while all strips pass by.
        budget = max(1, target.cache_bytes[1] // 2 // (4 * spec.inner) // self.tile_rows)
        self.row_block = spec.rows if spec.transpose_w else min(spec.rows, budget * self.tile_rows)
        self.row_blocks = -(-spec.rows // self.row_block)
        self.b = spec.entry(target, writes=("residual", "y", "scratch"))
        self.arguments = spec.bind(self.b)
        self.tiles: dict[tuple[int, int, int], FunctionBuilder] = {}

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b

        def unit(index: Register, _: Registers) -> Registers:
            strip = b.remainder(index, self.strips)
            index = b.divide(index, self.strips)
            matrix, block = b.divide(index, self.row_blocks), b.remainder(index, self.row_blocks)
            x, w = self._factors(matrix)
            place = b.multiply(matrix, 4 * spec.rows * spec.columns)
            self._strip(x, w, place, block, strip)
            return ()

        b.loop(self.arguments["begin"], self.arguments["end"], unit)
        units = math.prod(spec.batch) * self.row_blocks * self.strips
        scratch = 4 * self.strip * spec.inner if spec.transpose_w else 0
        return spec.finish(b, list(self.tiles.values()), units=units, scratch_bytes=scratch)

    def _factors(self, matrix: Register) -> tuple[Register, Register]:
        """The factors of a matrix of the batch."""
        spec, b = self.spec, self.b
        x_place, w_place = b.integer(0), b.integer(0)
        for extent, x_stride, w_stride in reversed(list(zip(spec.batch, spec.x_strides, spec.w_strides, strict=True))):
            index = b.remainder(matrix, extent)
            matrix = b.divide(matrix, extent)
            x_place = b.add(x_place, b.multiply(index, x_stride))
            w_place = b.add(w_place, b.multiply(index, w_stride))
        x = b.at(self.arguments["x"], b.multiply(x_place, 4 * spec.rows * spec.inner))
        w = b.at(self.arguments["w"], b.multiply(w_place, 4 * spec.inner * spec.columns))
        return x, w

    def _strip(self, x: Register, w: Register, place: Register, block: Register, strip: Register) -> None:
        """One strip of columns of a block of rows; the last strip may be narrower."""
        spec, b = self.spec, self.b
        column = b.multiply(strip, self.strip)
        last = spec.columns - (self.strips - 1) * self.strip

        def work(columns: int) -> Registers:
            if spec.transpose_w:
                strip_w = self.arguments["scratch"]
                self._transpose(b.at(w, b.multiply(column, 4 * spec.inner)), strip_w, columns)
            else:
                strip_w = b.at(w, b.multiply(column, 4))
            self._rows(x, strip_w, b.add(place, b.multiply(column, 4)), column, block, columns)
            return ()

        if self.strips == 1 or last == self.strip:
            work(last)
        else:
            b.if_(b.compare("eq", strip, self.strips - 1), lambda: work(last), lambda: work(self.strip))

    def _rows(self, x: Register, w: Register, place: Register, column: Register, block: Register, columns: int) -> None:
        spec, b = self.spec, self.b
        x_row = 4 * (1 if spec.transpose_x else spec.inner)
        bias = b.at(self.arguments["bias"], b.multiply(column, 4)) if spec.has_bias else zero(PTR)

        def tiles(first: Integer, count: int, rows: int) -> None:
            def tile(index: Register, _: Registers) -> Registers:
                row = b.add(first, b.multiply(index, rows))
                result = b.add(place, b.multiply(row, 4 * spec.columns))
                residual = b.at(self.arguments["residual"], result) if spec.has_residual else zero(PTR)
                pointers = (b.at(x, b.multiply(row, x_row)), w, bias, residual, b.at(self.arguments["y"], result))
                b.call(self._tile(rows, columns), None, pointers)
                return ()

            b.loop(0, count, tile)

        def rows_of(first: Integer, count: int) -> Registers:
            whole, rest = divmod(count, self.tile_rows)
            tiles(first, whole, self.tile_rows)
            if rest:
                tiles(b.add(first, whole * self.tile_rows), 1, rest)
            return ()

        first = b.multiply(block, self.row_block)
        last = spec.rows - (self.row_blocks - 1) * self.row_block
        if self.row_blocks == 1 or last == self.row_block:
            rows_of(first, last)
        else:
            is_last = b.compare("eq", block, self.row_blocks - 1)
            b.if_(is_last, lambda: rows_of(first, last), lambda: rows_of(first, self.row_block))

    def _transpose(self, w: Register, strip: Register, columns: int) -> None:
        """Columns of w, which are its rows in memory, side by side as rows of a strip, filled up with zeros."""
        spec, b, lanes = self.spec, self.b, self.target.lanes
        row_bytes = 4 * self.strip

        def square(step: Register, first: int, active: int, count: int) -> None:
            source = b.at(w, first * 4 * spec.inner, b.multiply(step, 4))
            rows = [zero(self.vector)] * lanes
            for index in range(active):
                address = b.at(source, index * 4 * spec.inner)
                mask = mask_constant(lanes, count)
                full = count == lanes
                rows[index] = b.load(self.vector, address) if full else b.load_masked(self.vector, address, mask)
            target = b.at(strip, b.multiply(step, row_bytes), 4 * first)
            for index, vector in enumerate(transpose_square(b, rows)[:count]):
                b.store(vector, b.at(target, index * row_bytes))

        for first in range(0, columns, lanes):
            active = min(lanes, columns - first)
            whole = spec.inner // lanes * lanes

            def body(step: Register, _: Registers, first: int = first, active: int = active) -> Registers:
                square(step, first, active, lanes)
                return ()

            b.loop(0, whole, body, step=lanes)
            if whole < spec.inner:
                square(b.integer(whole), first, active, spec.inner - whole)

    def _tile(self, rows: int, columns: int) -> str:
        """Symbol of the function for a tile of so many rows and columns."""
        vectors = -(-columns // self.target.lanes)
        active = columns - (vectors - 1) * self.target.lanes
        key = (rows, vectors, active)
        if key not in self.tiles:
            parameters: list[tuple[str, Type]] = [(name, PTR) for name in ("x", "w", "bias", "residual", "y")]
            name = f"{self.spec.name}_tile{len(self.tiles)}"
            b = FunctionBuilder(self.target, name, parameters, internal=True, read_only=("x", "w", "bias"))
            _Tile(self.spec, b, rows, vectors, active, self.vector, self.strip).generate()
            self.tiles[key] = b
        return self.tiles[key].name


class _Tile:
    """The body of one tile function."""

    def __init__(
        self, spec: MatrixProduct, b: FunctionBuilder, rows: int, vectors: int, active: int, vector: Type, strip: int
    ) -> None:
        self.spec = spec
        self.b = b
        self.x, self.w, self.bias, self.residual, self.y = b.arguments
        self.places = [(p, q) for p in range(rows) for q in range(vectors)]
        self.vectors = vectors
        self.rows = rows
        self.active = active
        self.vector = vector
        self.x_row, self.x_step = (4, 4 * spec.rows) if spec.transpose_x else (4 * spec.inner, 4)
        self.w_step = 4 * strip if spec.transpose_w else 4 * spec.columns

    def generate(self) -> None:
        b, spec = self.b, self.spec

        def some(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *sums = carried
            for step in range(_UNROLL):
                sums = self._step(x, w, step, sums)
            return (b.at(x, _UNROLL * self.x_step), b.at(w, _UNROLL * self.w_step), *sums)

        sums: list[Register] = [zero(self.vector)] * len(self.places)
        x, w, *sums = b.loop(0, spec.inner // _UNROLL, some, (self.x, self.w, *sums))
        for step in range(spec.inner % _UNROLL):
            sums = self._step(x, w, step, sums)
        self._finish(sums)
        b.return_()

    def _load(self, q: int, pointer: Register, *, whole: bool = False) -> Register:
        """Vector ``q`` of a row, as far as it lies within the columns."""
        address = self.b.at(pointer, 4 * q * self.vector.lanes)
        if whole or q < self.vectors - 1 or self.active == self.vector.lanes:
            return self.b.load(self.vector, address)
        return self.b.load_masked(self.vector, address, mask_constant(self.vector.lanes, self.active))

    def _store(self, q: int, value: Register, pointer: Register) -> None:
        address = self.b.at(pointer, 4 * q * self.vector.lanes)
        if q < self.vectors - 1 or self.active == self.vector.lanes:
            self.b.store(value, address)
        else:
            self.b.store_masked(value, address, mask_constant(self.vector.lanes, self.active))

    def _step(self, x: Register, w: Register, step: int, sums: Sequence[Register]) -> list[Register]:
        b = self.b
        row = b.at(w, step * self.w_step)
        weights = [self._load(q, row, whole=self.spec.transpose_w) for q in range(self.vectors)]
        result = list(sums)
        for p in range(self.rows):
            element = b.load(F32, b.at(x, p * self.x_row + step * self.x_step))
            value = b.splat(element, self.vector.lanes)
            for q in range(self.vectors):
                place = p * self.vectors + q
                result[place] = b.fma(value, weights[q], result[place])
        return result

    def _finish(self, sums: Sequence[Register]) -> None:
        b, spec = self.b, self.spec
        row_bytes = 4 * spec.columns
        biases = [self._load(q, self.bias) for q in range(self.vectors)] if spec.has_bias else []
        is_light = spec.activation.is_light
        for (p, q), value in zip(self.places, sums, strict=True):
            value = b.binary("fadd", value, biases[q]) if spec.has_bias else value
            if spec.has_residual:
                value = b.binary("fadd", value, self._load(q, b.at(self.residual, p * row_bytes)))
            value = spec.activation.apply(b, value) if is_light else value
            self._store(q, value, b.at(self.y, p * row_bytes))
        if is_light:
            return

        def row(index: Register, _: Registers) -> Registers:
            place = b.at(self.y, b.multiply(index, row_bytes))
            for q in range(self.vectors):
                self._store(q, spec.activation.apply(b, self._load(q, place)), place)
            return ()

        b.loop(0, self.rows, row)
