"""Direct convolution of bytes by weights in pairs that do not saturate, for processors without a dot product of bytes.

For each tap of the window there are lists of records (:mod:`.weight_pairs`): 16 neighbouring bytes of x are loaded,
four of them shuffled into every lane, and multiplied with the weights of 16 outputs. The lists of all taps follow each
other, so that a tile which sees the whole window walks over those of a kind in one loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, QUAD
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder, Integer
from ...llvm.byte_dot_product import add_pairs, shuffled
from ...llvm.quantized_math import signed_byte
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I32, I64, Register, Registers, constant
from ..channel_tiles import WorkItem
from ..output_channels import without_zero_points
from ..products.blocking import Blocking, Work
from ..products.weight_pairs import KINDS, PLACE, WEIGHTS, RecordKind, packed_pairs, table_bytes
from ..window import PixelTile, cut
from ..window_walk import Values, WindowWalk
from .quantized_convolution import QuantizedConvolution


@dataclass(frozen=True)
class PairedConvolution(QuantizedConvolution):
    """The same as its base, but that the weights are read from ``pairs``: see :func:`records_of`."""

    @property
    def arguments(self) -> tuple[str, ...]:
        *operands, y = super().arguments
        return (*operands, "pairs", y)

    @property
    def work(self) -> Work:
        return replace(super().work, is_paired=True)

    @property
    def row_lists(self) -> int:
        """Lists of a kernel row."""
        return self.column_steps if self.plain_input else self.columns.kernel

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, self.blocking or self.choose_blocking(target), target).generate()

    def records(self, op: Op) -> bytes:
        """What the kernel reads in place of the weights of an op: a list for each tap and 16 outputs.

        Taps are those of a kernel row, or the steps of four of them where x is plain.
        """
        inputs = self.channels // self.groups
        weights = without_zero_points(op)
        weights = weights.reshape(self.outputs, inputs, self.rows.kernel, self.columns.kernel)
        fill = -self.outputs % CHANNEL_BLOCK, -inputs % CHANNEL_BLOCK, -self.columns.kernel % QUAD
        row, plane = self.columns.input * self.x_pixel, self.rows.input * self.columns.input * self.x_pixel
        if self.plain_input:
            weights = np.pad(weights, ((0, fill[0]), (0, 0), (0, 0), (0, fill[2])))
            cut = weights.reshape(-1, CHANNEL_BLOCK, inputs, self.rows.kernel, self.column_steps, QUAD)
            cut, across = cut.transpose(0, 3, 4, 2, 5, 1), QUAD
        else:
            weights = np.pad(weights, ((0, fill[0]), (0, fill[1]), (0, 0), (0, 0)))
            cut = weights.reshape(-1, CHANNEL_BLOCK, self.input_blocks, CHANNEL_BLOCK, *weights.shape[2:])
            cut, across = cut.transpose(0, 4, 5, 2, 3, 1), self.columns.dilation * self.x_pixel
        blocks, height, width, windows, places, _ = cut.shape
        y, x, window = np.ix_(range(height), range(width), range(windows))
        offsets = y * self.rows.dilation * row + x * across + window * plane
        offsets = np.broadcast_to(offsets, (blocks, *offsets.shape)).reshape(-1, windows)
        return packed_pairs(cut.reshape(-1, windows, places, CHANNEL_BLOCK), offsets)


class _Walker(WindowWalk):
    """The function that walks over work items: image, block of rows, 16 output channels."""

    def __init__(self, spec: PairedConvolution, blocking: Blocking, target: TargetDescription) -> None:
        rows, columns = spec.work.merged(blocking.merge)
        tiles = cut(columns, blocking.pixels, neighbours=spec.plain_input)
        self.w_row = 4 * spec.row_lists
        super().__init__(spec, target, rows, columns, tiles, spec.x_pixel, self.w_row)
        self.spec, self.blocking = spec, blocking
        self.lists = spec.groups * spec.output_blocks * self.rows.kernel * spec.row_lists

    def generate(self) -> Kernel:
        spec, channels, rows = self.spec, self.spec.outputs // self.spec.groups, self.blocking.row_block
        # A half of 16 channels that would hold absent ones alone is left out, where it is a register or more.
        whole = max(CHANNEL_BLOCK // 2, self.b.target.lanes)
        return self.walk(spec, spec.groups, channels, 1, rows, self._item, whole=whole, pieces=self.blocking.pieces)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        spec, b = self.spec, self.b
        pairs, head = self.arguments["pairs"], table_bytes(self.lists)
        weights = b.at(pairs, b.convert("zext", b.load(I32, pairs, head - 4), I64))
        values = spec.item_values(b, self.arguments, item.block, vectors, active)
        values |= {"pairs": b.at(pairs, head), "weights": weights}
        row = self.columns.input * spec.x_pixel
        input_block = b.multiply(b.add(b.multiply(item.image, spec.groups), item.group), spec.input_blocks)
        x = b.at(self.arguments["x"], b.multiply(input_block, self.rows.input * row))
        lists = b.at(pairs, b.multiply(item.block, self.rows.kernel * self.w_row))
        output_block = b.add(b.multiply(item.image, spec.groups * spec.output_blocks), item.block)
        output = b.multiply(output_block, self.rows.output * self.columns.output * CHANNEL_BLOCK)

        def tiles(index: Register) -> None:
            y = b.divide(index, self.blocking.pieces)
            call, reach = self.row(y, x, lists, output)
            # Records count from the first row of the window, which may lie outside of the image.
            call["x"] = b.at(x, b.multiply(self.rows.coordinate(b, y), row))
            if not self.rows.always_reaches:
                tap = b.minimum(reach[0], spec.rows.kernel)
                call |= {"w": b.at(lists, b.multiply(tap, self.w_row)), "kernel_rows": b.maximum(reach[1], 0)}
            call |= spec.row_values(b, values, y, reach)
            piece = b.remainder(index, self.blocking.pieces)
            for run, begin, end in self.tiles_of(piece, self.blocking.pieces):

                def tile(index: Register, start: int = run.start, reach: PixelTile = run.tile) -> None:
                    pixel = b.add(start, b.multiply(index, reach.pixels))
                    self.call((reach, active), call, pixel, lambda f, values: self._tile(f, values, reach, active))

                b.each(begin, end, tile)

        b.each(item.first_row, item.last_row, tiles)

    def _tile(self, b: FunctionBuilder, call: Values, reach: PixelTile, active: int) -> None:
        """Some output pixels by up to 16 channels."""
        spec, starts = self.spec, call["w"]
        taps = b.multiply(call["kernel_rows"], spec.row_lists) if self.rows.is_padded else None
        count: Integer = taps if taps is not None else self.rows.kernel * spec.row_lists
        start = call["start0"]
        sums: Registers = (b.shuffle(start, start, range(active)) if active < CHANNEL_BLOCK else start,) * reach.pixels

        def over(first: Integer, last: Integer, masks: tuple[int, ...], sums: Registers) -> Registers:
            for number, kind in enumerate(KINDS):

                def record(position: Register, sums: Registers, kind: RecordKind = kind) -> list[Register]:
                    return self._record(b, call, position, masks, sums, kind)

                # Windows of four bytes have no two quads.
                if kind.quads == 1 or not spec.plain_input:
                    lists = b.at(starts, number * 4 * (self.lists + 1))
                    begin, end = (b.load(I32, b.at(lists, b.multiply(tap, 4))) for tap in (first, last))
                    bounds = b.convert("zext", begin, I64), b.convert("zext", end, I64)
                    sums = b.loop(*bounds, record, sums, step=kind.quads * PLACE)
            return sums

        if len({*reach.columns}) == 1:
            sums = over(0, count, reach.columns[0], sums)
        else:

            def row(tap: Register, sums: Registers) -> Registers:
                first = 0
                for masks, equal in groupby(reach.columns):
                    last = first + len(list(equal))
                    if any(masks) or spec.fill:
                        sums = over(b.add(tap, first), b.add(tap, last), masks, sums)
                    first = last
                return sums

            sums = b.loop(0, count, row, sums, step=spec.row_lists)
        if active < CHANNEL_BLOCK:
            lanes = [lane % active for lane in range(CHANNEL_BLOCK)]
            sums = tuple(b.shuffle(total, total, lanes) for total in sums)
        spec.requantize(b, call, 0, sums, (), call.__getitem__)

    def _record(
        self,
        b: FunctionBuilder,
        call: Values,
        position: Register,
        masks: tuple[int, ...],
        sums: Registers,
        kind: RecordKind,
    ) -> list[Register]:
        spec, found = self.spec, list(sums)
        place, quads = b.at(call["pairs"], position), range(kind.quads)
        distance = b.convert("sext", b.load(I32, place), I64)
        places = [b.load(I8.of(QUAD), place, PLACE * quad + 4) for quad in quads]
        first, type = b.at(call["weights"], b.multiply(position, WEIGHTS // PLACE)), I8.of(QUAD * sums[0].type.lanes)

        def loaded() -> list[Register]:
            return [b.load(type, first, WEIGHTS * quad) for quad in quads]

        # Where bytes are flipped, which takes a register, or there are two quads, each product reads the weights from
        # memory: a fence keeps LLVM from holding them in registers, of which it would lack some for sums.
        rereads = (spec.constants.flips_x or kind.quads > 1) and type.bytes > b.target.lanes * QUAD
        weights = loaded()
        x = b.at(call["x"], distance)
        for p, mask in enumerate(masks):
            if mask or spec.fill:
                if rereads:
                    b.fence()
                    weights = loaded()
                address = b.at(x, p * self.columns.stride * spec.x_pixel)
                window = self._window(b, mask, address)
                known = {"flips": spec.constants.flips_x, "are_words": kind.are_words}
                values = [shuffled(b, window, each, **known) for each in places]
                found[p] = add_pairs(b, sums[p], values, weights, are_words=kind.are_words)
        return found

    def _window(self, b: FunctionBuilder, mask: int, address: Register) -> Register:
        """The bytes of x that records choose from."""
        if not mask:
            return constant(I8.of(CHANNEL_BLOCK), signed_byte(self.spec.constants.stored_fill))
        if not self.spec.plain_input:
            return b.load(I8.of(CHANNEL_BLOCK), address)
        return b.convert("bitcast", self.spec.word(b, mask, address), I8.of(QUAD))
