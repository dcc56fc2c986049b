"""Depthwise convolution in blocks of 16 channels: of floats tap by tap, of bytes by dot products of four of them.

Four neighbouring pixels of 16 channels of bytes lie in 64 of them. Transposed, they hold four neighbours of each
channel in each lane, which a dot product sums up with four taps of a kernel row. Where neighbouring results see
neighbouring pixels, the same four serve all results that see them, with taps shifted along.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, QUAD
from ...llvm.builder import FunctionBuilder, Integer
from ...llvm.byte_dot_product import (
    ACCUMULATOR,
    BYTES,
    LANES,
    QUADS_OF_ROWS,
    add_word_pairs,
    add_words,
    dot,
    flipped,
    has_byte_product,
    interleaved,
    word_order,
)
from ...llvm.quantized_math import signed_byte
from ...llvm.target import TargetDescription
from ...llvm.types import I16, Register, Registers, constant, vector_constant, zero
from ..output_channels import VECTOR_BYTES, FloatOutput, QuantizedOutput, without_zero_points
from ..products.blocking import registers_per_vector
from ..window import ALL
from ..window_walk import over
from ..windowed import TapByTap, Windowed, WindowTile

_WORDS = I16.of(2 * CHANNEL_BLOCK)


class Depthwise(FloatOutput, TapByTap):
    """Depthwise convolution: w [C, 1, kernel] in layout ``o16``, bias [C], residual; then the activation.

    The result may lie where the residual lies."""

    def start_pixel(self, tile: WindowTile, pixel: int) -> Register:
        return tile.arguments["start0"]

    def add_tap(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        assert weight is not None
        return b.fma(value, weight, total)

    def end_pixel(self, tile: WindowTile, pixel: int, total: Register) -> Register:
        b = tile.b
        if self.has_residual:
            # Last, as each product would be rounded to the precision of what may be far larger.
            residual = b.load(self.vector, b.at(tile.arguments["residual"], pixel * VECTOR_BYTES))
            total = b.binary("fadd", total, residual)
        return self.activation.apply(b, total)


class QuantizedDepthwise(QuantizedOutput, Windowed):
    """Depthwise convolution, bias, activation and requantisation: w [C, 1, kernel] in layout ``o16k4``, bias."""

    NEIGHBOURS: ClassVar[bool] = True

    def most_pixels(self, target: TargetDescription) -> int:
        parts = registers_per_vector(target)
        # The taps of a kernel row, shifted in four ways.
        taps = 4 * self.row_steps * parts
        return max(1, min(14, (target.registers - 2 - taps) // ((2 if self.constants.zeros else 1) * parts)))

    def start(self, tile: WindowTile) -> list[Register]:
        """Sums over the window follow the accumulators, where weights have zero points."""
        pixels = tile.reach.pixels
        windows = [zero(ACCUMULATOR)] * pixels if self.constants.zeros else []
        return [tile.arguments["start0"]] * pixels + windows

    def end(self, tile: WindowTile, totals: Registers) -> None:
        pixels = tile.reach.pixels
        self.requantize(tile.b, tile.arguments, 0, totals[:pixels], totals[pixels:], tile.arguments.__getitem__)

    def kernel_row(self, tile: WindowTile, pointers: Registers, totals: list[Register]) -> list[Register]:
        b, columns, (x, w) = tile.b, self.columns, pointers
        weights = [b.load(BYTES, b.at(w, step * VECTOR_BYTES)) for step in range(self.row_steps)]
        weights = [flipped(b, vector) for vector in weights] if self.constants.flips_w else weights
        if columns.stride == columns.dilation == 1:
            return self._shared_row(tile, x, weights, totals)
        for step, masks in enumerate(tile.reach.columns):
            present = min(QUAD, columns.kernel - step * QUAD)
            for p, mask in enumerate(masks):
                first = p * columns.stride + step * QUAD * columns.dilation
                value = self._neighbours(b, mask, present, b.at(x, first * CHANNEL_BLOCK))
                self._add(b, totals, p, value, weights[step], _ones(range(present)))
        return totals

    def _shared_row(
        self, tile: WindowTile, x: Register, weights: Sequence[Register], totals: list[Register]
    ) -> list[Register]:
        """The same where tap t of pixel p sees what tap t - 1 of pixel p + 1 sees."""
        b, pixels, kernel = tile.b, tile.reach.pixels, self.columns.kernel
        inside = {
            p + step * QUAD + i: bool(mask >> i & 1)
            for step, masks in enumerate(tile.reach.columns)
            for p, mask in enumerate(masks)
            for i in range(QUAD)
        }
        shifted = [_shifted(b, weights, kernel, shift) for shift in range(min(QUAD, pixels))]
        seen = pixels + kernel - 1
        for first in range(0, seen, QUAD):
            mask = sum(inside.get(first + i, False) << i for i in range(QUAD))
            value = self._neighbours(b, mask, min(QUAD, seen - first), b.at(x, first * CHANNEL_BLOCK))
            for p in range(pixels):
                step, shift = (first - p // QUAD * QUAD) // QUAD, p % QUAD
                if 0 <= step < len(shifted[shift]):
                    ones = _ones([i for i in range(QUAD) if 0 <= step * QUAD + i - shift < kernel])
                    self._add(b, totals, p, value, shifted[shift][step], ones)
        return totals

    def _add(
        self, b: FunctionBuilder, totals: list[Register], p: int, x: Register | None, w: Register, ones: Register
    ) -> None:
        """Add four taps to the accumulator of a pixel, and to its sum over the window where that is needed."""
        if x is None:
            return
        totals[p] = dot(b, totals[p], x, w, is_signed=self.constants.is_signed)
        if self.constants.zeros:
            window = len(totals) // 2 + p
            totals[window] = dot(b, totals[window], x, ones, is_signed=self.constants.is_signed)

    def _neighbours(self, b: FunctionBuilder, mask: int, present: int, address: Register) -> Register | None:
        """Four neighbours of each channel, as they are multiplied; those outside of the image hold the zero point,
        ``None`` if all do and it is zero."""
        constants, dilation = self.constants, self.columns.dilation
        mask &= ALL if mask == ALL else (1 << present) - 1
        if not mask and not constants.fill:
            return None
        if mask == ALL and dilation == 1:
            pixels = b.load(BYTES, address)
        else:
            outside = constant(self.vector, signed_byte(constants.stored_fill))
            taps = [
                b.load(self.vector, b.at(address, tap * dilation * CHANNEL_BLOCK)) if mask >> tap & 1 else outside
                for tap in range(QUAD)
            ]
            halves = [b.shuffle(taps[i], taps[i + 1], range(2 * CHANNEL_BLOCK)) for i in (0, 2)]
            pixels = b.shuffle(halves[0], halves[1], range(4 * CHANNEL_BLOCK))
        value = b.shuffle(pixels, pixels, QUADS_OF_ROWS)
        return flipped(b, value) if constants.flips_x else value


class WordDepthwise(QuantizedOutput, Windowed):
    """The same for processors without a dot product of bytes: bytes become words, of which pairs are multiplied.
    Activations of 16 bits are words already, on any processor.

    A pair is the same column of two kernel rows, and in a last odd row two neighbouring columns, the same two for all
    pixels that see one of them.

    Weights are read as ``w``, words [C/16, kernel rows, pairs, 16, 2], zero points taken off: the data of
    :meth:`words`. The pairs of a row are those with the row below, if a kernel has several rows, then those within it:
    for pixels whose window begins with the first column of a pair, then for others, which begin with the second one.
    The last two dimensions change places where no instruction adds up products of pairs."""

    OWN_WEIGHTS: ClassVar[bool] = True

    @property
    def columns_below(self) -> int:
        """Pairs of a row with the one below."""
        return self.columns.kernel if self.rows.kernel > 1 else 0

    @property
    def columns_within(self) -> tuple[int, ...]:
        """Pairs of neighbours in a row, of windows that begin with the first of one, and with the second."""
        shifts = 1 if self.columns.stride % (2 * self.columns.dilation) == 0 else 2
        return tuple(-(-(self.columns.kernel + shift) // 2) for shift in range(shifts))

    @property
    def row_steps(self) -> int:
        return self.columns_below + sum(self.columns_within)

    def most_pixels(self, target: TargetDescription) -> int:
        return max(1, min(14, target.registers // registers_per_vector(target) - 2))

    def words(self, op: Op, target: TargetDescription) -> bytes:
        """The weights of an op, which are constant."""
        weights = without_zero_points(op).reshape(self.channels, self.rows.kernel, self.columns.kernel)
        rows, columns = self.rows.kernel, self.columns.kernel
        weights = np.pad(weights, ((0, -self.channels % CHANNEL_BLOCK), (0, 1), (0, 0)))
        pairs = [np.stack([weights[:, :rows], weights[:, 1:]], axis=-1)[:, :, : self.columns_below]]
        for shift, count in enumerate(self.columns_within):
            row = np.pad(weights[:, :rows], ((0, 0), (0, 0), (shift, 2 * count - shift - columns)))
            pairs.append(row.reshape(-1, rows, count, 2))
        weights = np.concatenate(pairs, axis=2).reshape(-1, CHANNEL_BLOCK, rows, self.row_steps, 2)
        order = (0, 2, 3, 1, 4) if target.is_x86_64 else (0, 2, 3, 4, 1)
        return weights[:, self.order(target)].transpose(order).astype("<i2").tobytes()

    def start(self, tile: WindowTile) -> list[Register]:
        return [tile.arguments["start0"]] * tile.reach.pixels

    def end(self, tile: WindowTile, totals: Registers) -> None:
        self.requantize(tile.b, tile.arguments, 0, totals, (), tile.arguments.__getitem__)

    def order(self, target: TargetDescription) -> Sequence[int]:
        return word_order(target)

    def kernel_rows(
        self,
        tile: WindowTile,
        count: Integer,
        distances: Sequence[int],
        pointers: Registers,
        totals: Registers,
        *,
        runs: bool | None = None,
    ) -> Registers:
        """Two rows at a time, as long as there are two."""
        if not self.columns_below:
            return super().kernel_rows(tile, count, distances, pointers, totals, runs=runs)
        b, (x_row, _) = tile.b, distances

        def rows(pointers: Registers, totals: Registers) -> Registers:
            return tuple(self._rows(tile, (pointers[0], b.at(pointers[0], x_row)), pointers[1], totals))

        count = b.maximum(count, 0)
        pairs, odd = b.divide(count, 2), b.remainder(count, 2)
        totals = over(b, pairs, [2 * distance for distance in distances], pointers, totals, rows)
        done = b.subtract(count, odd)
        last = [b.at(pointer, b.multiply(done, d)) for pointer, d in zip(pointers, distances, strict=True)]
        return super().kernel_rows(tile, odd, distances, tuple(last), totals)

    def _inside(self, tile: WindowTile) -> dict[int, bool]:
        """Which positions of a row a tile sees, and whether they are in the image."""
        return {
            p * self.columns.stride + tap * self.columns.dilation: bool(mask)
            for tap, masks in enumerate(tile.reach.columns)
            for p, mask in enumerate(masks)
        }

    def _rows(self, tile: WindowTile, x: Registers, w: Register, totals: Registers) -> list[Register]:
        """For each position of two rows, the pixels and taps that see it."""
        b, columns, found = tile.b, self.columns, list(totals)
        for position, is_inside in sorted(self._inside(tile).items()):
            if is_inside or self.constants.fill:
                b.fence()
                above, below = (self._word(b, row, position if is_inside else None) for row in x)
                value = self._pairs(b, above, below)
                for p in range(tile.reach.pixels):
                    tap, rest = divmod(position - p * columns.stride, columns.dilation)
                    if not rest and 0 <= tap < columns.kernel:
                        found[p] = self._add(b, found[p], value, w, tap)
        return found

    def kernel_row(self, tile: WindowTile, pointers: Registers, totals: list[Register]) -> list[Register]:
        """For each two neighbours of the row, the pixels and taps that see them."""
        b, columns, (x, w) = tile.b, self.columns, pointers
        inside = self._inside(tile)
        users: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for p in range(tile.reach.pixels):
            index, rest = divmod(p * columns.stride, columns.dilation)
            shift = index % 2
            before = self.columns_below + sum(self.columns_within[:shift])
            for step in range(self.columns_within[shift]):
                first = (index - shift + 2 * step) * columns.dilation + rest
                users.setdefault((first, first + columns.dilation), []).append((p, before + step))
        for pair in sorted(users):
            # What no pixel sees is multiplied with 0.
            if self.constants.fill or any(inside.get(position) for position in pair):
                b.fence()
                value = self._pairs(b, *(self._word(b, x, at if inside.get(at) else None) for at in pair))
                for p, step in users[pair]:
                    totals[p] = self._add(b, totals[p], value, w, step)
        return totals

    @staticmethod
    def _pairs(b: FunctionBuilder, first: Register, second: Register) -> Register:
        """The words of two positions as they are multiplied."""
        return (
            interleaved(b, first, second) if b.target.is_x86_64 else b.shuffle(first, second, range(2 * CHANNEL_BLOCK))
        )

    def _add(self, b: FunctionBuilder, total: Register, value: Register, w: Register, pair: int) -> Register:
        add = add_word_pairs if b.target.is_x86_64 else add_words
        return add(b, total, value, b.load(_WORDS, b.at(w, pair * VECTOR_BYTES)))

    def _word(self, b: FunctionBuilder, x: Register, position: int | None) -> Register:
        """16 channels of a position; ``None`` for one outside of the image."""
        type = I16.of(CHANNEL_BLOCK)
        if position is None:
            return constant(type, self.constants.fill)
        stored = b.load(self.vector, b.at(x, position * self.vector.bytes))
        if self.vector == type:
            return stored
        return b.convert("sext" if self.constants.is_signed else "zext", stored, type)


def multiplies_words(target: TargetDescription) -> bool:
    """Whether bytes had better become words: where no dot product of bytes is, and on x86 where a register, in which
    pixels are transposed, does not hold four of them."""
    return not has_byte_product(target) or (target.is_x86_64 and target.lanes < LANES)


def _ones(bytes: Sequence[int]) -> Register:
    """A 1 in these bytes of every four."""
    return vector_constant(BYTES, ["1" if byte % QUAD in bytes else "0" for byte in range(BYTES.lanes)])


def _shifted(b: FunctionBuilder, weights: Sequence[Register], kernel: int, shift: int) -> list[Register]:
    """The taps of a kernel row, four a lane, so many bytes later."""
    if not shift:
        return list(weights)
    words = [b.convert("bitcast", vector, ACCUMULATOR) for vector in weights]
    result = []
    for step in range(-(-(kernel + shift) // QUAD)):
        parts = []
        if step < len(words):
            parts.append(b.binary("shl", words[step], constant(ACCUMULATOR, 8 * shift)))
        if step:
            parts.append(b.binary("lshr", words[step - 1], constant(ACCUMULATOR, 32 - 8 * shift)))
        result.append(b.convert("bitcast", parts[0] if len(parts) == 1 else b.binary("or", *parts), BYTES))
    return result
