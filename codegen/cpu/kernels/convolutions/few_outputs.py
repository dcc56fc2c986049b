"""Convolution of bytes to up to four channels, where most products by 16 outputs would be of absent ones.

Lanes are input channels: 16 of a pixel become words, which are multiplied with those of each output, two a lane. What
is left of each pixel and output at the end is a register, whose lanes are added up; then 16 results, of several pixels,
are requantised at once.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import dot_of_pairs
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I16, I32, Register, Registers, constant, zero
from ..channel_tiles import WorkItem
from ..output_channels import QuantizedOutput, without_zero_points
from ..products.blocking import rows_of_item
from ..window import PixelTile, cut
from ..window_walk import Values, WindowWalk, over

MOST_OUTPUTS = 4
"""Of one more, sums over lanes take longer than products of absent channels."""

MOST_COLUMNS = 16
"""Of a kernel, as all its columns are unrolled for all outputs: 128 of them took LLVM six times as long as others."""

_SUMS = 8
"""Registers of sums at a time."""

_WORDS = I16.of(CHANNEL_BLOCK)


class FewOutputs(QuantizedOutput):
    """Convolution of one group, of up to :data:`MOST_COLUMNS`, without a residual; x and the result in layout ``c16``.

    Weights are read as ``w``, words, zero points taken off: the data of :meth:`words`.
    ``outputs``: O, up to :data:`MOST_OUTPUTS`."""

    OWN_WEIGHTS: ClassVar[bool] = True

    outputs: int

    @property
    def input_blocks(self) -> int:
        return -(-self.channels // CHANNEL_BLOCK)

    @property
    def places(self) -> int:
        """Lanes of a pixel among 16 results: a power of two."""
        return 1 << (self.outputs - 1).bit_length()

    def order(self, target: TargetDescription) -> Sequence[int]:
        return [lane % self.places for lane in range(CHANNEL_BLOCK)]

    def words(self, op: Op) -> bytes:
        """The weights of an op, which are constant: [C/16, kernel rows, kernel columns, O, 16 (C)]."""
        kernel = self.rows.kernel, self.columns.kernel
        weights = without_zero_points(op).reshape(self.outputs, self.channels, *kernel)
        weights = np.pad(weights, ((0, 0), (0, -self.channels % CHANNEL_BLOCK), (0, 0), (0, 0)))
        weights = weights.reshape(self.outputs, self.input_blocks, CHANNEL_BLOCK, *kernel)
        return weights.transpose(1, 3, 4, 0, 2).astype("<i2").tobytes()

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker(WindowWalk):
    """The function that walks over work items: images and blocks of rows."""

    def __init__(self, spec: FewOutputs, target: TargetDescription) -> None:
        tiles = cut(spec.columns, CHANNEL_BLOCK // spec.places)
        self.w_row = spec.columns.kernel * spec.outputs * _WORDS.bytes
        super().__init__(spec, target, spec.rows, spec.columns, tiles, CHANNEL_BLOCK, self.w_row)
        self.spec = spec

    def generate(self) -> Kernel:
        spec, rows = self.spec, self.spec.rows.output
        item = rows_of_item(rows, rows, 1, by_rows=True)
        return self.walk(spec, 1, spec.outputs, 1, item, self._item, whole=CHANNEL_BLOCK)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        spec, b, rows, columns = self.spec, self.b, self.rows, self.columns
        values = spec.item_values(b, self.arguments, item.block, vectors, active)
        plane = rows.input * columns.input * CHANNEL_BLOCK
        x = b.at(self.arguments["x"], b.multiply(item.image, spec.input_blocks * plane))
        output = b.multiply(item.image, rows.output * columns.output * CHANNEL_BLOCK * spec.element.bytes)

        def row(y: Register) -> None:
            call, reach = self.row(y, x, self.arguments["w"], output)
            call |= spec.row_values(b, values, y, reach)
            self.call_row(call, lambda run: run.tile, self._tile)

        b.each(item.first_row, item.last_row, row)

    def _tile(self, b: FunctionBuilder, call: Values, reach: PixelTile) -> None:
        """All outputs of neighbouring pixels, as many as there are places for among 16 results."""
        spec, pixels, fours = self.spec, reach.pixels, []
        most = _SUMS // spec.places
        for first in range(0, pixels, most):
            found = self._sums(b, call, reach, range(first, min(first + most, pixels)))
            sums = []
            for at in range(0, len(found), spec.outputs):
                pixel = found[at : at + spec.outputs]
                sums += [*pixel, *pixel[-1:] * (spec.places - spec.outputs)]
            sums += sums[-1:] * (-len(sums) % 4)
            # At once, since other sums want the registers.
            fours += [_added_up(b, sums[at : at + 4]) for at in range(0, len(sums), 4)]
        fours += fours[-1:] * (4 - len(fours))
        lower, upper = (b.shuffle(fours[at], fours[at + 1], range(8)) for at in (0, 2))
        totals = b.binary("add", b.shuffle(lower, upper, range(CHANNEL_BLOCK)), call["start0"])
        reals = spec.constants.reals(b, (totals,), (), call["factors"], None)
        (packed,) = spec.constants.result.store_forms(b, reals, are_small=spec.constants.are_small)
        for pixel in range(pixels):
            own = [pixel * spec.places + lane % spec.places for lane in range(CHANNEL_BLOCK)]
            b.store(b.shuffle(packed, packed, own), b.at(call["y"], pixel * packed.type.bytes))

    def _sums(self, b: FunctionBuilder, call: Values, reach: PixelTile, pixels: Sequence[int]) -> Registers:
        """Registers whose lanes are to be added up: of each pixel its outputs."""
        spec, rows, columns = self.spec, self.rows, self.columns
        row = columns.input * CHANNEL_BLOCK
        lanes = min(b.target.lanes, CHANNEL_BLOCK // 2)
        parts = [range(at, at + 2 * lanes) for at in range(0, CHANNEL_BLOCK, 2 * lanes)]

        def of_row(pointers: Registers, sums: Registers) -> Registers:
            (x, w), found = pointers, list(sums)
            for tap, masks in enumerate(reach.columns):
                weights = w, tap * spec.outputs * _WORDS.bytes
                for number, pixel in enumerate(pixels):
                    if masks[pixel] or spec.constants.fill:
                        at = pixel * columns.stride + tap * columns.dilation
                        value = self._word(b, b.at(x, at * CHANNEL_BLOCK) if masks[pixel] else None)
                        for output in range(spec.outputs):
                            factor = b.load(_WORDS, b.at(*weights), output * _WORDS.bytes)
                            index = number * spec.outputs + output
                            for part in parts:
                                pair = (b.shuffle(each, each, part) for each in (value, factor))
                                found[index] = dot_of_pairs(b, found[index], *pair)
            return tuple(found)

        def of_block(pointers: Registers, sums: Registers) -> Registers:
            count = call["kernel_rows"] if rows.is_padded else rows.kernel
            distances = rows.dilation * row, self.w_row
            return over(b, count, distances, pointers, sums, of_row, runs=rows.always_reaches or None)

        distances = rows.input * row, rows.kernel * self.w_row
        start = (zero(I32.of(lanes)),) * (len(pixels) * spec.outputs)
        return over(b, spec.input_blocks, distances, (call["x"], call["w"]), start, of_block, runs=True)

    def _word(self, b: FunctionBuilder, x: Register | None) -> Register:
        """16 channels of a pixel; ``None`` for one outside of the image."""
        constants = self.spec.constants
        if x is None:
            return constant(_WORDS, constants.fill)
        return b.convert("sext" if constants.is_signed else "zext", b.load(I8.of(CHANNEL_BLOCK), x), _WORDS)


def _added_up(b: FunctionBuilder, sums: Sequence[Register]) -> Register:
    """The sums of the lanes of four registers, as one vector."""
    lanes = sums[0].type.lanes
    # Neighbours of both, within each 16 bytes of a register.
    even = [at + place for at in range(0, lanes, 4) for place in (0, 2, lanes, lanes + 2)]
    for _ in range(2):
        pairs = zip(sums[::2], sums[1::2], strict=True)
        sums = [_sum(b, first, second, even, [lane + 1 for lane in even]) for first, second in pairs]
    (total,) = sums
    return _sum(b, total, total, range(4), range(4, 8)) if lanes == 8 else total


def _sum(b: FunctionBuilder, first: Register, second: Register, *halves: Sequence[int]) -> Register:
    """Of the lanes of two registers, so many and others."""
    return b.binary("add", *(b.shuffle(first, second, half) for half in halves))
