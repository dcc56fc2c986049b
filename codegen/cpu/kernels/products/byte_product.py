"""Products of 8-bit matrices with a known right factor, by dot products of four bytes.

With the names of `output_channels`, a product of plain integers whose left zero point is data is

    sum((x - zx) * (w - zw)) = sum(x' * w') - zw' * sum(x') - zx' * sum(w' - zw')

where the sums over w' - zw' are constants of a column.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import field, replace
from typing import ClassVar

import numpy as np

from .....ir.layout import CHANNEL_BLOCK, QUAD
from .....ir.types import DType
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import (
    ACCUMULATOR,
    BYTES,
    FLIP,
    add_pairs,
    add_word_pairs,
    dot,
    flipped,
    in_order,
    saturates,
)
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I32, I64, PTR, Register, Registers, Type, constant, type_of, zero
from ...spec import ConstantTable
from ..channel_tiles import ChannelTiles, WorkItem
from ..output_channels import QuantizedProductSpec, Row
from ..window import Axis
from .blocking import Work, choose_tile
from .matrix_product import MatrixProduct, MatrixShape, MatrixTile, TileArguments
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
    def vector_bytes(self) -> int:
        """Weights of 16 columns."""
        return -(-self.inner // CHANNEL_BLOCK) * CHANNEL_BLOCK * CHANNEL_BLOCK

    @property
    def work(self) -> Work:
        """What the choice of a tile depends on."""
        blocks, steps = -(-self.columns // CHANNEL_BLOCK), -(-self.inner // QUAD)
        lines, sums, pairs = (Axis.line(1), Axis.line(self.rows)), self.has_zeros, self.is_listed
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
        )

    def weights(self, tile: MatrixTile, w: Register) -> list[Register]:
        b = tile.b
        weights = [b.load(BYTES, b.at(w, vector * self.vector_bytes)) for vector in range(tile.vectors)]
        if self.flips[1]:
            weights = [flipped(b, vector) for vector in weights]
        return [*weights, constant(BYTES, 1)] if self.has_zeros else weights

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
            value = b.binary("xor", value, constant(value.type, FLIP)) if self.flips[0] else value
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


class ByteProduct(QuantizedProductSpec, QuadProduct):
    """Product of a matrix of activations and one of weights, bias, activation and requantisation.

    Arguments: x [M, K], row-major; w in layout ``o16i4`` or ``i4o16``; bias, which is not read; result [M, N],
    row-major."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "start", "factors", "zeros", LISTS)
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
        numbers.append(self.strip_lists(b, item.block))

        def arguments(row: Register) -> Sequence[Register]:
            x = b.at(pointers["x"], b.multiply(row, self.inner))
            return x, w, b.at(y, b.multiply(row, self.element.bytes * self.columns)), *numbers

        return arguments

    def start(self, tile: MatrixTile) -> list[Register]:
        address = tile.b.arguments[3]
        row = [
            tile.b.load(ACCUMULATOR, tile.b.at(address, 4 * CHANNEL_BLOCK * vector)) for vector in range(tile.vectors)
        ]
        return (row + [zero(ACCUMULATOR)] * self.has_zeros) * tile.rows

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width = tile.b, len(totals) // tile.rows
        _, _, y, _, factors, zeros, _ = b.arguments
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

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "sums", "zeros", "x_zero", LISTS)
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
        of_columns += [pointers.get("x_zero", zero(PTR)), self.strip_lists(b, item.block)]

        def arguments(row: Register) -> Sequence[Register]:
            x = b.at(pointers["x"], b.multiply(row, self.inner))
            return x, w, b.at(y, b.multiply(row, 4 * self.columns)), *of_columns

        return arguments

    def start(self, tile: MatrixTile) -> list[Register]:
        return [zero(ACCUMULATOR)] * (tile.rows * (tile.vectors + self.has_zeros))

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width = tile.b, tile.vectors + self.has_zeros
        _, _, y, sums, zeros, x_zero, _ = b.arguments
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
