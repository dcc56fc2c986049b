"""The innermost functions of a quantised direct convolution: a tile of pixels by output channels, in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ....ir.layout import BLOCK, QUAD
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.byte_dot_product import ACCUMULATOR, BYTES, dot, flipped
from ..llvm.quantized_math import single
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I32, I64, PTR, Register, Registers, Type, constant, zero
from .byte_tile import ALL, ByteTile
from .quantized_channels import Channels

STEP_BYTES = BLOCK * QUAD
"""Weights of a step: four bytes for each of 16 output channels."""

_UNROLLED = 128
"""Dot products in the innermost loop, at most about; more of them are slower to compile and no faster to run."""


@dataclass(frozen=True)
class QuantizedTileShape:
    """What the tiles of one convolution have in common; strides are in bytes.

    Attributes:
        steps: groups of four channels side by side in memory: 4, or 1 for a row-major input.
        pixel, column, row, block: distances in the input between neighbouring output pixels, steps along a kernel row,
            kernel rows, and blocks of input channels.
        kernel_row, kernel_block, vector: distances in the weights between kernel rows, blocks of input channels, and
            vectors of output channels.
        output_vector: distance in the result between vectors of output channels.
        kernel_rows: rows of the kernel; all of them are always in reach if ``fixed_rows``, at least one if
            ``always_reaches``.
        blocks: blocks of input channels.
        ones: symbol of a table with a 1 for each byte that counts in sums over the window, by block, step along a
            kernel row and group of four; empty if no sums are needed.
        prefetch: cache lines of following weights to ask for, by each call and for each vector.
    """

    steps: int
    pixel: int
    column: int
    row: int
    block: int
    kernel_row: int
    kernel_block: int
    vector: int
    output_vector: int
    kernel_rows: int
    always_reaches: bool
    fixed_rows: bool
    blocks: int
    ones: str
    channels: Channels
    prefetch: int


@dataclass(frozen=True)
class QuantizedTileCall:
    """Arguments of a tile function.

    Attributes:
        start: accumulators at the start, for each vector.
        factors, zeros: where the tables of the first vector lie.
        following: weights that come after those of these vectors.
    """

    x: Register
    w: Register
    y: Register
    kernel_rows: Register
    factors: Register
    zeros: Register
    following: Register
    start: Registers


class QuantizedTileGenerator:
    """Makes the tile functions of a kernel, each once."""

    def __init__(self, target: TargetDescription, symbol: str, shape: QuantizedTileShape) -> None:
        self.functions: dict[tuple[ByteTile, int], FunctionBuilder] = {}
        self._target = target
        self._symbol = symbol
        self._shape = shape

    def call(self, b: FunctionBuilder, tile: ByteTile, arguments: QuantizedTileCall) -> None:
        """Call the function of a tile from ``b``."""
        a = arguments
        key = (tile, len(a.start))
        if key not in self.functions:
            self.functions[key] = self._generate(tile, len(a.start), len(self.functions))
        b.call(
            self.functions[key].name, None, (a.x, a.w, a.y, a.kernel_rows, a.factors, a.zeros, a.following, *a.start)
        )

    def _generate(self, tile: ByteTile, vectors: int, number: int) -> FunctionBuilder:
        parameters: list[tuple[str, Type]] = [("x", PTR), ("w", PTR), ("y", PTR), ("kernel_rows", I64)]
        parameters += [
            ("factors", PTR),
            ("zeros", PTR),
            ("following", PTR),
            *((f"start{q}", ACCUMULATOR) for q in range(vectors)),
        ]
        name = f"{self._symbol}_tile{number}"
        b = FunctionBuilder(self._target, name, parameters, internal=True, read_only=("x", "w", "factors", "zeros"))
        x, w, y, kernel_rows, factors, zeros, following, *start = b.arguments
        call = QuantizedTileCall(x, w, y, kernel_rows, factors, zeros, following, tuple(start))
        _Tile(b, self._shape, tile, call).generate()
        return b


class _Tile:
    """The body of one tile function. Accumulators are carried by pixel and vector, sums over the window behind."""

    def __init__(self, b: FunctionBuilder, shape: QuantizedTileShape, tile: ByteTile, call: QuantizedTileCall) -> None:
        self.b = b
        self.shape = shape
        self.tile = tile
        self.call = call
        self.vectors = len(call.start)

    def generate(self) -> None:
        b, pixels = self.b, self.tile.pixels
        for q in range(self.vectors):
            for line in range(self.shape.prefetch):
                b.prefetch(b.at(self.call.following, q * self.shape.vector + 64 * line))
        totals = [self.call.start[q] for _ in range(pixels) for q in range(self.vectors)]
        if self.shape.ones:
            totals += [zero(ACCUMULATOR)] * pixels
        totals = self._over_blocks(totals)
        self._finish(totals)
        b.return_()

    def _over_blocks(self, totals: Sequence[Register]) -> list[Register]:
        b, shape = self.b, self.shape

        def block(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, ones, *totals = carried
            totals = self._over_kernel_rows(x, w, ones, totals)
            following = b.at(ones, 4 * len(self.tile.columns) * shape.steps)
            return (b.at(x, shape.block), b.at(w, shape.kernel_block), following, *totals)

        ones = Register(PTR, f"@{shape.ones}") if shape.ones else self.call.w
        return list(b.loop(0, shape.blocks, block, (self.call.x, self.call.w, ones, *totals))[3:])

    def _over_kernel_rows(self, x: Register, w: Register, ones: Register, totals: Sequence[Register]) -> list[Register]:
        b, shape = self.b, self.shape

        def row(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *totals = carried
            first = 0
            for masks, equal in groupby(self.tile.columns):
                count = len(list(equal))
                totals = self._over_columns(masks, first, count, x, w, ones, totals)
                first += count
            return (b.at(x, shape.row), b.at(w, shape.kernel_row), *totals)

        count: Integer = shape.kernel_rows if shape.fixed_rows else self.call.kernel_rows
        return list(b.loop(0, count, row, (x, w, *totals), runs=shape.always_reaches or None)[2:])

    def _over_columns(
        self,
        masks: tuple[int, ...],
        first: int,
        count: int,
        x: Register,
        w: Register,
        ones: Register,
        totals: Sequence[Register],
    ) -> list[Register]:
        """Steps along a kernel row that see the same bytes, as a loop if they are many instructions."""
        b, shape = self.b, self.shape
        x, w = b.at(x, first * shape.column), b.at(w, first * shape.steps * STEP_BYTES)
        ones = b.at(ones, 4 * first * shape.steps)
        if count * shape.steps * len(totals) <= _UNROLLED:
            for i in range(count):
                place = b.at(x, i * shape.column), b.at(w, i * shape.steps * STEP_BYTES)
                totals = self._column(masks, *place, b.at(ones, 4 * i * shape.steps), totals)
            return list(totals)

        def column(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, ones, *totals = carried
            totals = self._column(masks, x, w, ones, totals)
            following = b.at(ones, 4 * shape.steps)
            return (b.at(x, shape.column), b.at(w, shape.steps * STEP_BYTES), following, *totals)

        return list(b.loop(0, count, column, (x, w, ones, *totals))[3:])

    def _column(
        self, masks: tuple[int, ...], x: Register, w: Register, ones: Register, totals: Sequence[Register]
    ) -> list[Register]:
        b, shape, channels = self.b, self.shape, self.shape.channels
        result = list(totals)
        for step in range(shape.steps):
            b.fence()
            weights = []
            for q in range(self.vectors):
                vector = b.load(BYTES, b.at(w, q * shape.vector + step * STEP_BYTES))
                weights.append(flipped(b, vector) if channels.flips_w else vector)
            counted = b.splat(b.load(I32, b.at(ones, 4 * step)), BLOCK) if shape.ones else None
            for p, mask in enumerate(masks):
                if not mask and not channels.fill:
                    continue
                value = self._four_bytes(mask, b.at(x, p * shape.pixel + QUAD * step))
                for q in range(self.vectors):
                    place = p * self.vectors + q
                    result[place] = dot(b, result[place], value, weights[q])
                if counted is not None:
                    place = self.tile.pixels * self.vectors + p
                    result[place] = dot(b, result[place], value, counted)
        return result

    def _four_bytes(self, mask: int, place: Register) -> Register:
        """Four unsigned bytes in every lane; those outside of the image hold the zero point."""
        b, channels = self.b, self.shape.channels
        if not mask:
            return constant(BYTES, channels.fill - 256 * (channels.fill > 127))
        if mask == ALL:
            word = self._word(place)
        else:
            # Read four bytes that are all in the image, and shift those that are meant to their places.
            before = (mask & -mask).bit_length() - 1
            after = QUAD - mask.bit_length()
            word = self._word(b.at(place, before - after))
            shift = constant(I32, 8 * (before or after))
            word = b.binary("shl" if before else "lshr", word, shift)
            stored = (channels.fill + 128 * channels.flips_x) % 256
            outside = sum(stored << 8 * i for i in range(QUAD) if not mask >> i & 1)
            word = b.binary("or", word, constant(I32, outside - (outside >> 31 << 32)))
        value = b.splat(word, BLOCK)
        return flipped(b, value) if channels.flips_x else value

    def _word(self, place: Register) -> Register:
        return self.b.convert("bitcast", self.b.load(I8.of(QUAD), place), I32)

    def _finish(self, totals: Sequence[Register]) -> None:
        """Requantise and store."""
        b, shape = self.b, self.shape
        for q in range(self.vectors):
            factor = b.load(F32.of(BLOCK), b.at(self.call.factors, 4 * BLOCK * q))
            w_zero = b.load(ACCUMULATOR, b.at(self.call.zeros, 4 * BLOCK * q)) if shape.ones else None
            reals = []
            for p in range(self.tile.pixels):
                total = totals[p * self.vectors + q]
                if w_zero is not None:
                    window = totals[self.tile.pixels * self.vectors + p]
                    total = b.binary("sub", total, b.binary("mul", w_zero, window))
                reals.append(b.binary("fmul", single(b, total), factor))
            shape.channels.store(b, reals, b.at(self.call.y, q * shape.output_vector))
