"""What products of 8-bit matrices by dot products of four bytes share: their cut, and how a step multiplies quads."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import field, replace

import numpy as np

from .....ir.layout import CHANNEL_BLOCK, QUAD
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import BYTES, FLIP, add_pairs, dot, flipped, in_order, saturates
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I32, I64, PTR, Register, Registers, constant, zero
from ..channel_tiles import ChannelTiles, WorkItem
from ..window import Axis
from .blocking import Work, choose_tile
from .matrix_product import MatrixProduct, MatrixShape, MatrixTile
from .quad_pairings import BOUNDS_BYTES, KINDS, PAIRINGS, listed_quads

LISTS = "quads"
"""Argument for the lists of quads of weights."""


class QuadProduct(MatrixProduct):
    """Base of products of a matrix of 8-bit integers, row-major, and one in layout ``o16i4`` or ``i4o16``. Of the last
    quad of a row of x only what exists is read.
    ``is_listed``: an argument before the last one lists the quads of weights by how they are multiplied: see
    :mod:`.quad_pairings`."""

    is_listed: bool = field(default=False, kw_only=True)

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
    def sums_apart(self) -> bool:
        """Whether sums of rows are made before the tiles of a strip, where an accumulator of one takes as many
        registers, and multiplications, as one of 16 columns."""
        return self.has_zeros and self.is_listed

    @property
    def vector_bytes(self) -> int:
        """Weights of 16 columns."""
        return -(-self.inner // CHANNEL_BLOCK) * CHANNEL_BLOCK * CHANNEL_BLOCK

    @property
    def work(self) -> Work:
        """What the choice of a tile depends on."""
        blocks, steps = -(-self.columns // CHANNEL_BLOCK), -(-self.inner // QUAD)
        lines, pairs = (Axis.line(1), Axis.line(self.rows)), self.is_listed
        sums = self.has_zeros and not self.sums_apart
        return Work(*lines, steps, blocks, is_quantized=True, has_sums=sums, is_paired=pairs)

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
            scratch=I32.bytes * min(row_block, self.rows) if self.sums_apart else 0,
        )

    def row_sums(self, b: FunctionBuilder, item: WorkItem) -> Callable[[Register], Register]:
        """Make the sums of the rows of a work item in the work memory; where that of a row is."""
        if not self.sums_apart:
            return lambda row: zero(PTR)
        pointers, bytes = self.bind(b), QUAD * b.target.lanes
        whole = self.inner // bytes * bytes

        def place(row: Register) -> Register:
            return b.at(pointers["scratch"], b.multiply(b.subtract(row, item.first_row), I32.bytes))

        def one(row: Register) -> None:
            x, type = b.at(pointers["x"], b.multiply(row, self.inner)), I8.of(bytes)

            def several(index: Register, totals: Registers) -> Registers:
                value = self._factors(b, b.load(type, b.at(x, index)))
                return (add_pairs(b, totals[0], [value], [constant(type, 1)]),)

            (totals,) = b.loop(0, whole, several, (zero(I32.of(b.target.lanes)),), step=bytes)
            total = b.intrinsic(f"llvm.vector.reduce.add.{totals.type.suffix}", I32, [totals])

            def single(index: Register, totals: Registers) -> Registers:
                value = self._factors(b, b.load(I8, b.at(x, index)))
                return (b.binary("add", totals[0], b.convert("zext", value, I32)),)

            (total,) = b.loop(whole, self.inner, single, (total,))
            b.store(total, place(row))

        b.each(item.first_row, item.last_row, one)
        return place

    def _factors(self, b: FunctionBuilder, stored: Register) -> Register:
        """Unsigned factors of x as they are stored."""
        return b.binary("xor", stored, constant(stored.type, FLIP)) if self.flips[0] else stored

    def weights(self, tile: MatrixTile, w: Register) -> list[Register]:
        b = tile.b
        weights = [b.load(BYTES, b.at(w, vector * self.vector_bytes)) for vector in range(tile.vectors)]
        if self.flips[1]:
            weights = [flipped(b, vector) for vector in weights]
        return [*weights, constant(BYTES, 1)] if self.has_zeros and not self.sums_apart else weights

    def reading(self, weights: np.ndarray, target: TargetDescription) -> Kernel:
        """The kernel for weights [K, N] as they are stored."""
        if not saturates(target):
            return self.kernel(target)
        whole = weights[: self.inner // QUAD * QUAD].astype(np.int16)
        lists = listed_quads(whole - 128 * self.flips[1])
        return replace(self, is_listed=True).kernel(target).reading(lists)

    def listed(self, spec_arguments: tuple[str, ...]) -> tuple[str, ...]:
        """Arguments, with the lists of quads where there are some."""
        *operands, y = spec_arguments
        return (*operands, *[LISTS] * self.is_listed, y)

    def strip_lists(self, b: FunctionBuilder, block: Register) -> Register:
        """Where the lists of 16 columns begin."""
        lists = self.bind(b).get(LISTS)
        return zero(PTR) if lists is None else b.at(lists, b.multiply(block, BOUNDS_BYTES))

    def summed(self, tile: MatrixTile, totals: Registers) -> Registers:
        if not self.sums_apart:
            return self._products(tile, totals)
        b, width, found = tile.b, tile.vectors + 1, list[Register]()
        made = self._products(tile, tuple(t for i, t in enumerate(totals) if i % width < tile.vectors))
        for row in range(tile.rows):
            total = b.load(I32, b.at(b.arguments[-2], I32.bytes * row))
            found += (*made[row * tile.vectors : (row + 1) * tile.vectors], b.splat(total, CHANNEL_BLOCK))
        return tuple(found)

    def _products(self, tile: MatrixTile, totals: Registers) -> Registers:
        totals = self._listed_sums(tile, totals) if self.is_listed else super().summed(tile, totals)
        b, (x, w), (steps, rest) = tile.b, tile.b.arguments[:2], divmod(self.inner, QUAD)
        if not rest:
            return totals
        weights, found = self.weights(tile, b.at(w, steps * tile.shape.w_step)), []
        for row in range(tile.rows):
            first = steps * tile.shape.x_step
            x_bytes = [b.load(I8, x, row * tile.shape.x_row + first + i) for i in range(rest)]
            # What is missing is a factor of 0, whatever the weights are filled up with.
            word = constant(I8.of(QUAD), FLIP * self.flips[0])
            for index, byte in enumerate(x_bytes):
                word = b.insert(word, byte, index)
            found += self.products(b, b.convert("bitcast", word, I32), weights, totals[len(found) :])
        return tuple(found)

    def _listed_sums(self, tile: MatrixTile, totals: Registers) -> Registers:
        b, (x, w), lists = tile.b, tile.b.arguments[:2], tile.b.arguments[-1]

        def quads(pairing: Sequence[int] | None, totals: Registers, begin: Register, end: Register) -> Registers:
            order = self._order(b, pairing) if pairing else None

            def quad(position: Register, totals: Registers) -> Registers:
                offset = b.convert("zext", b.load(I32, b.at(lists, position)), I64)
                at = b.at(x, offset), b.at(w, b.multiply(offset, CHANNEL_BLOCK))
                if pairing is None:
                    return self.step(tile, 0, *at, totals)
                return self._paired_step(tile, pairing, order, *at, totals)

            return b.loop(begin, end, quad, totals, step=I32.bytes)

        bounds = [b.convert("zext", b.load(I32, lists, I32.bytes * kind), I64) for kind in range(KINDS + 1)]
        for pairing, begin, end in zip((*PAIRINGS, None), bounds[:-1], bounds[1:], strict=True):
            totals = quads(pairing, totals, begin, end)
        return totals

    def _order(self, b: FunctionBuilder, pairing: Sequence[int]) -> Register | None:
        """What brings bytes of x side by side; ``None`` where they are. It is read from memory, so that LLVM does not
        know it: it would turn one shuffle of what is in every lane into a shuffle of one lane and another of it."""
        if [*pairing] == [*range(QUAD)]:
            return None
        count = QUAD * b.target.lanes
        numbers = [lane % CHANNEL_BLOCK + i for lane in range(0, count, QUAD) for i in pairing]
        return b.load(I8.of(count), b.table(f"{b.name}_{'_'.join(map(str, pairing))}", I8, numbers))

    def _paired_step(
        self,
        tile: MatrixTile,
        pairing: Sequence[int],
        order: Register | None,
        x: Register,
        w: Register,
        totals: Registers,
    ) -> Registers:
        """A step whose products are added in pairs of bytes that do not saturate."""
        b, result = tile.b, []
        weights = self.weights(tile, w)
        if order is not None:
            places = [lane + i for lane in range(0, BYTES.lanes, QUAD) for i in pairing]
            weights = [b.shuffle(vector, vector, places) for vector in weights]
        for row in range(tile.rows):
            # Loads stay where they are: moved up, they would take the registers of sums.
            b.fence()
            word = b.convert("bitcast", b.load(I8.of(QUAD), b.at(x, row * tile.shape.x_row)), I32)
            value = b.convert("bitcast", b.splat(word, b.target.lanes), I8.of(QUAD * b.target.lanes))
            value = value if order is None else in_order(b, value, order)
            value = self._factors(b, value)
            factors = zip(weights, totals[len(result) :], strict=False)
            result += [add_pairs(b, total, [value], [vector]) for vector, total in factors]
        return tuple(result)

    def multiply(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        return self.products(b, b.convert("bitcast", b.load(I8.of(QUAD), x), I32), weights, totals)

    def products(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        """The accumulators of a row after a step whose bytes of x are the ones of a word."""
        value = b.splat(x, CHANNEL_BLOCK)
        value = flipped(b, value) if self.flips[0] else value
        factors = zip(weights, totals, strict=False)
        return [dot(b, total, value, vector, is_signed=self.is_signed) for vector, total in factors]
