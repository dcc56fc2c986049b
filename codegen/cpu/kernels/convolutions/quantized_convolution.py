"""What direct convolution does with bytes: dot products of four of them, and requantisation of the sums."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from .....ir.layout import CHANNEL_BLOCK, QUAD
from .....ir.types import DType
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import BYTES, FLIP, dot, flipped, widens
from ...llvm.quantized_math import signed_byte
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I32, Register, Registers, constant, zero
from ...spec import ConstantTable
from ..output_channels import VECTOR_BYTES, QuantizedOutput
from ..products.blocking import Blocking, Work, choose_tile
from ..window import ALL
from ..window_walk import Values
from .convolution_tile import ConvolutionTile
from .direct_convolution import DirectConvolution


class QuantizedConvolution(QuantizedOutput, DirectConvolution):
    """Convolution over an image, bias, activation and requantisation, by dot products of four bytes.

    Padding counts as the zero point. Accumulators are requantised before the tile is stored, so that the 32-bit sums
    never reach memory.

    Arguments: x, of rows of at least four bytes and without dilation along them, where ``plain_input``; w, layout
    ``o16i4`` (``o16k4``, where ``plain_input``); bias; result, layout ``c16``."""

    STEP: ClassVar[int] = QUAD
    UNROLLED: ClassVar[int] = 128

    @property
    def present_steps(self) -> int:
        # Where windows are summed up for zero points of weights, loops over some steps take more than they save.
        is_whole = self.plain_input or bool(self.constants.zeros)
        return super().present_steps if is_whole else -(-(self.channels // self.groups) // self.STEP)

    @property
    def fill(self) -> int:
        return self.constants.fill

    @property
    def work(self) -> Work:
        return replace(super().work, is_quantized=True, has_sums=bool(self.constants.zeros), narrow_sums=True)

    def choose_blocking(self, target: TargetDescription) -> Blocking:
        """Row blocks whose inputs stay in the second level cache while all channel tiles go over them."""
        merge, pixels, vectors = choose_tile(self.work, target)
        height = self.rows.output // merge
        row_bytes = self.input_blocks * self.x_pixel * self.columns.input * self.rows.stride * merge
        fitting = max(1, min(height, target.cache_bytes[1] // 4 // max(1, row_bytes)))
        rows_and_pieces = self.cut_for_threads(merge, (pixels, vectors), fitting)
        return Blocking(merge, pixels, vectors, self.input_blocks, *rows_and_pieces)

    def bind(self, b: FunctionBuilder) -> Values:
        arguments = super().bind(b)
        if self.constants.zeros:
            arguments["ones"] = self.ones().define(b, f"{b.name}_ones")
        return arguments

    def ones(self) -> ConstantTable:
        """For each block of input channels and step along a kernel row, a 1 in every byte that counts in sums over the
        window."""
        words: list[int] = []
        for block in range(self.input_blocks):
            if self.plain_input:
                present = [self.columns.kernel - step * QUAD for step in range(self.column_steps)]
            else:
                left = self.channels // self.groups - block * CHANNEL_BLOCK
                present = [left - step * QUAD for step in range(self.steps)] * self.columns.kernel
            words += [sum(1 << 8 * i for i in range(QUAD) if i < count) for count in present]
        return ConstantTable(DType.I32, tuple(words))

    def item_values(self, b: FunctionBuilder, arguments: Values, block: Register, vectors: int, active: int) -> Values:
        ones = {"ones": arguments["ones"]} if self.constants.zeros else {}
        return {**ones, **super().item_values(b, arguments, block, vectors, active)}

    def start(self, tile: ConvolutionTile) -> Sequence[Register]:
        """Sums over the window follow the accumulators, one for each pixel."""
        windows = [zero(I32.of(_sum_lanes(tile.b)))] * tile.pixels if self.constants.zeros else []
        return [*(tile.arguments[f"start{q}"] for _, q in tile.positions), *windows]

    def step(
        self, tile: ConvolutionTile, masks: Sequence[int], pointers: Registers, step: int, sums: list[Register]
    ) -> None:
        b, (x, w, *ones) = tile.b, pointers
        b.fence()
        weights = []
        for q in range(tile.vectors):
            vector = b.load(BYTES, b.at(w, q * tile.distances.vector + step * VECTOR_BYTES))
            weights.append(flipped(b, vector) if self.constants.flips_w else vector)
        for p, mask in enumerate(masks):
            if not mask and not self.fill:
                continue
            value = self._four_bytes(b, mask, b.at(x, p * tile.distances.pixel + QUAD * step))
            for q in range(tile.vectors):
                index = p * tile.vectors + q
                sums[index] = dot(b, sums[index], value, weights[q], is_signed=self.constants.is_signed)
            if ones and step % self._summed_steps(tile) == 0:
                index, address = tile.pixels * tile.vectors + p, b.at(x, p * tile.distances.pixel + QUAD * step)
                sums[index] = self._sum(tile, sums[index], mask, value, address, b.at(ones[0], 4 * step))

    def _summed_steps(self, tile: ConvolutionTile) -> int:
        """Steps whose bytes are added up at once to the sum over the window."""
        return 1 if self.plain_input or widens(tile.b.target) else tile.steps_of_round

    def _sum(
        self, tile: ConvolutionTile, total: Register, mask: int, value: Register, address: Register, ones: Register
    ) -> Register:
        """The sum over the window of a pixel after some steps from ``address`` on, ``value`` the first of them."""
        b, together, places = tile.b, self._summed_steps(tile), range(total.type.bytes)
        if together == 1:
            counted, bytes = b.splat(b.load(I32, ones), total.type.lanes), b.convert("bitcast", value, BYTES)
            bytes = b.shuffle(bytes, bytes, places)
        else:
            counted, bytes = (b.load(I8.of(QUAD * together), each) for each in (ones, address))
            bytes = bytes if mask else constant(bytes.type, signed_byte(self.constants.stored_fill))
            if self.constants.flips_x:
                bytes = b.binary("xor", bytes, constant(bytes.type, FLIP))
            counted, bytes = (b.shuffle(each, zero(each.type), places) for each in (counted, bytes))
        return dot(b, total, bytes, counted, is_signed=self.constants.is_signed)

    def _of_window(self, tile: ConvolutionTile, total: Register) -> Register:
        """The sum over a window in every lane."""
        b = tile.b
        if self._summed_steps(tile) > 1:
            for lanes in ((2, 3, 0, 1), (1, 0, 3, 2)):
                total = b.binary("add", total, b.shuffle(total, total, lanes))
        return b.shuffle(total, total, [0] * CHANNEL_BLOCK)

    def _four_bytes(self, b: FunctionBuilder, mask: int, address: Register) -> Register:
        """Four bytes in every lane, as they are multiplied; those outside of the image hold the zero point."""
        if not mask:
            return constant(BYTES, signed_byte(self.fill))
        value = b.splat(self.word(b, mask, address), CHANNEL_BLOCK)
        return flipped(b, value) if self.constants.flips_x else value

    def word(self, b: FunctionBuilder, mask: int, address: Register) -> Register:
        """Four bytes as they are stored; those outside of the image, not all of them, hold the zero point."""

        def word(address: Register) -> Register:
            return b.convert("bitcast", b.load(I8.of(QUAD), address), I32)

        if mask == ALL:
            return word(address)
        # Read four bytes that are all in the image, and shift those that are meant to their positions.
        before = (mask & -mask).bit_length() - 1
        after = QUAD - mask.bit_length()
        shift = constant(I32, 8 * (before or after))
        value = b.binary("shl" if before else "lshr", word(b.at(address, before - after)), shift)
        outside = sum(self.constants.stored_fill << 8 * i for i in range(QUAD) if not mask >> i & 1)
        return b.binary("or", value, constant(I32, outside - (outside >> 31 << 32)))

    def end(self, tile: ConvolutionTile, sums: Registers) -> None:
        count, b = len(tile.positions), tile.b
        windows = tuple(self._of_window(tile, each) for each in sums[count:])
        for q in range(tile.vectors):
            totals, address = sums[q : count : tile.vectors], partial(tile.output, p=0, q=q)
            self.requantize(b, tile.arguments, q, totals, windows, address)


def _sum_lanes(b: FunctionBuilder) -> int:
    """Of a sum over the window: all the same, or parts of it."""
    return CHANNEL_BLOCK if widens(b.target) else QUAD
