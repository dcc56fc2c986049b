"""Direct convolution of bytes by weights in pairs that do not saturate, for processors without a dot product of bytes.

For each tap of the window there are lists of records (:mod:`.weight_pairs`). The bytes of x that taps and pixels see
are put into the order of these records, of as many pixels at once as a register holds windows, in scratch memory and
for as many tiles as half a cache holds; then four of them at a time are multiplied with the weights of 16 outputs. The
lists of all taps follow each other, so that a tile which sees the whole window walks over those of a kind in one loop.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, QUAD
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder, Integer
from ...llvm.byte_dot_product import FLIP, add_pairs, in_order, joined
from ...llvm.quantized_math import signed_byte
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I32, I64, Register, Registers, constant
from ..channel_tiles import WorkItem
from ..output_channels import without_zero_points
from ..products.blocking import Blocking, Work
from ..products.weight_pairs import ABSENT, KINDS, ORDER, PLACE, WEIGHTS, RecordKind, packed_pairs, table_bytes
from ..window import PixelTile, cut
from ..window_walk import Values, WindowWalk
from .quantized_convolution import QuantizedConvolution

_WINDOW = I8.of(CHANNEL_BLOCK)

_ORDERED = 16384
"""Bytes of x that are put into order at once, if a tile does not see more."""


class PairedConvolution(QuantizedConvolution):
    """The same as its base, but that the weights are read from ``pairs``: see :func:`records_of`."""

    @property
    def arguments(self) -> tuple[str, ...]:
        *operands, y = super().arguments
        return (*operands, "pairs", y)

    @property
    def work(self) -> Work:
        return replace(super().work, is_paired=True)

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, self.blocking or self.choose_blocking(target), target).generate()

    def records(self, op: Op, target: TargetDescription) -> bytes:
        """What the kernel reads in place of the weights of an op: a list for each tap and 16 outputs."""
        inputs = self.channels // self.groups
        weights = without_zero_points(op).reshape(self.outputs, inputs, self.rows.kernel, self.columns.kernel)
        fill = -self.outputs % CHANNEL_BLOCK, -inputs % CHANNEL_BLOCK
        row, plane = self.columns.input * self.x_pixel, self.rows.input * self.columns.input * self.x_pixel
        weights = np.pad(weights, ((0, fill[0]), (0, fill[1]), (0, 0), (0, 0)))
        cut = weights.reshape(-1, CHANNEL_BLOCK, self.input_blocks, CHANNEL_BLOCK, *weights.shape[2:])
        cut = cut.transpose(0, 4, 5, 2, 3, 1)
        blocks, height, width, windows, places, _ = cut.shape
        y, x, window = np.ix_(range(height), range(width), range(windows))
        offsets = y * self.rows.dilation * row + x * self.columns.dilation * self.x_pixel + window * plane
        offsets = np.broadcast_to(offsets, (blocks, *offsets.shape)).reshape(-1, windows)
        return packed_pairs(cut.reshape(-1, windows, places, CHANNEL_BLOCK), offsets, _beside(target))


def _beside(target: TargetDescription) -> int:
    """Pixels whose windows a register holds."""
    return 4 * target.lanes // CHANNEL_BLOCK


class _Walker(WindowWalk):
    """The function that walks over work items: image, block of rows, 16 output channels."""

    def __init__(self, spec: PairedConvolution, blocking: Blocking, target: TargetDescription) -> None:
        rows, columns = spec.work.merged(blocking.merge)
        tiles = cut(columns, blocking.pixels)
        self.w_row = 4 * spec.columns.kernel
        super().__init__(spec, target, rows, columns, tiles, spec.x_pixel, self.w_row)
        self.spec, self.blocking = spec, blocking
        self.lists = spec.groups * spec.output_blocks * self.rows.kernel * spec.columns.kernel
        self.beside = _beside(target)
        windows = self.rows.kernel * spec.columns.kernel * spec.input_blocks * ORDER * self.beside
        # Those of all pixels are not to compete for the same places of a cache.
        self.group = windows + 64 * (windows % 1024 == 0)
        self.tile = -(-blocking.pixels // self.beside) * self.group
        self.together = max(1, _ORDERED // self.tile)

    def generate(self) -> Kernel:
        spec, channels, rows = self.spec, self.spec.outputs // self.spec.groups, self.blocking.row_block
        # A half of 16 channels that would hold absent ones alone is left out, where it is a register or more.
        whole = max(CHANNEL_BLOCK // 2, self.b.target.lanes)
        scratch, pieces = self.together * self.tile, self.blocking.pieces
        return self.walk(
            spec, spec.groups, channels, 1, rows, self._item, whole=whole, pieces=pieces, scratch_bytes=scratch
        )

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        spec, b = self.spec, self.b
        pairs, head = self.arguments["pairs"], table_bytes(self.lists)
        windows, weights = (b.at(pairs, b.convert("zext", b.load(I32, pairs, head - at), I64)) for at in (8, 4))
        values = spec.item_values(b, self.arguments, item.block, vectors, active)
        values |= {"pairs": b.at(pairs, head), "windows": windows, "weights": weights}
        values["scratch"] = self.arguments["scratch"]
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

                def several(
                    first: Register, start: int = run.start, reach: PixelTile = run.tile, end: Integer = end
                ) -> None:
                    count = b.minimum(b.subtract(end, first), self.together)
                    pixel = b.add(start, b.multiply(first, reach.pixels))
                    self.call(reach, {**call, "tiles": count}, pixel, lambda f, values: self._arrange(f, values, reach))

                    def tile(index: Register) -> None:
                        ordered = b.at(self.arguments["scratch"], b.multiply(index, self.tile))
                        place = b.add(pixel, b.multiply(index, reach.pixels))
                        here = {**call, "scratch": ordered}
                        self.call((reach, active), here, place, lambda f, values: self._tile(f, values, reach, active))

                    b.each(0, count, tile)

                b.each(begin, end, several, step=self.together)

        b.each(item.first_row, item.last_row, tiles)

    def _over(
        self,
        b: FunctionBuilder,
        call: Values,
        reach: PixelTile,
        carried: Registers,
        visit: Callable[[Callable[[int], list[Register]], tuple[int, ...], Registers], Registers],
    ) -> Registers:
        """Visit lists of the window that pixels see alike, by their bounds in each table and the masks of pixels."""
        spec = self.spec
        taps = b.multiply(call["kernel_rows"], spec.columns.kernel) if self.rows.is_padded else None
        count: Integer = taps if taps is not None else self.rows.kernel * spec.columns.kernel

        def over(first: Integer, last: Integer, masks: tuple[int, ...], carried: Registers) -> Registers:
            def bounds(table: int) -> list[Register]:
                lists = b.at(call["w"], table * 4 * (self.lists + 1))
                return [b.convert("zext", b.load(I32, lists, b.multiply(tap, 4)), I64) for tap in (first, last)]

            return visit(bounds, masks, carried)

        if len({*reach.columns}) == 1:
            return over(0, count, reach.columns[0], carried)

        def row(tap: Register, carried: Registers) -> Registers:
            first = 0
            for masks, equal in groupby(reach.columns):
                last = first + len(list(equal))
                if any(masks) or spec.fill:
                    carried = over(b.add(tap, first), b.add(tap, last), masks, carried)
                first = last
            return carried

        return b.loop(0, count, row, carried, step=spec.columns.kernel)

    def _ordered(self, b: FunctionBuilder, call: Values) -> Register:
        """Where the first of all windows would lie in order."""
        first = b.convert("zext", b.load(I32, call["w"], len(KINDS) * 4 * (self.lists + 1)), I64)
        return b.at(call["scratch"], b.subtract(0, b.multiply(first, ORDER * self.beside)))

    def _arrange(self, b: FunctionBuilder, call: Values, reach: PixelTile) -> None:
        """Put what some neighbouring tiles see into the order of the records."""
        ordered, step = self._ordered(b, call), self.columns.stride * self.spec.x_pixel

        def some(bounds: Callable[[int], list[Register]], masks: tuple[int, ...], _: Registers) -> Registers:
            def window(number: Register) -> None:
                window = b.at(call["windows"], b.multiply(number, 4 + ORDER))
                x = b.at(call["x"], b.convert("sext", b.load(I32, window), I64))
                orders = [b.load(_WINDOW, window, 4 + half) for half in (0, CHANNEL_BLOCK)]
                orders = [b.shuffle(each, each, [*range(CHANNEL_BLOCK)] * self.beside) for each in orders]
                is_long = b.compare("ne", b.load(I8, window, 4 + CHANNEL_BLOCK), signed_byte(ABSENT))
                place = b.at(ordered, b.multiply(number, ORDER * self.beside))

                def tile(index: Register, halves: int) -> None:
                    source = b.at(x, b.multiply(index, reach.pixels * step))
                    result = b.at(place, b.multiply(index, self.tile))
                    for first in range(0, len(masks), self.beside):
                        seen = {p: masks[p] for p in range(first, min(first + self.beside, len(masks)))}
                        seen = {p: mask for p, mask in seen.items() if mask or self.spec.fill}
                        if seen:
                            # Others hold anything.
                            found = {p: self._window(b, mask, b.at(source, p * step)) for p, mask in seen.items()}
                            any_one = next(iter(found.values()))
                            those = [found.get(p, any_one) for p in range(first, first + self.beside)]
                            bytes, group = self._multiplied(b, those), b.at(result, first // self.beside * self.group)
                            for half, order in enumerate(orders[:halves]):
                                b.store(in_order(b, bytes, order), b.at(group, half * bytes.type.bytes))

                def tiles(halves: int) -> None:
                    b.each(0, call["tiles"], lambda index: tile(index, halves))

                b.if_(is_long, lambda: tiles(2), lambda: tiles(1))

            first, last = bounds(len(KINDS))
            b.each(first, last, window)
            return ()

        self._over(b, call, reach, (), some)

    def _tile(self, b: FunctionBuilder, call: Values, reach: PixelTile, active: int) -> None:
        """Some output pixels by up to 16 channels."""
        spec, x, start = self.spec, self._ordered(b, call), call["start0"]
        lanes = b.target.lanes
        parts = [b.shuffle(start, start, range(first, first + lanes)) for first in range(0, active, lanes)]
        sums: Registers = (*parts,) * reach.pixels

        def some(bounds: Callable[[int], list[Register]], masks: tuple[int, ...], sums: Registers) -> Registers:
            for number, kind in enumerate(KINDS):

                def record(position: Register, sums: Registers, kind: RecordKind = kind) -> list[Register]:
                    return self._record(b, call, x, position, masks, sums, kind)

                begin, end = bounds(number)
                sums = b.loop(begin, end, record, sums, step=kind.quads * PLACE)
            return sums

        sums = self._over(b, call, reach, sums, some)
        # The upper half of 16 channels that has none is the lower one once more.
        pixels = (list(sums[at : at + len(parts)]) for at in range(0, len(sums), len(parts)))
        whole = tuple(joined(b, each * (CHANNEL_BLOCK // active)) for each in pixels)
        spec.requantize(b, call, 0, whole, (), call.__getitem__)

    def _window(self, b: FunctionBuilder, mask: int, address: Register) -> Register:
        """16 channels of x."""
        return b.load(_WINDOW, address) if mask else constant(_WINDOW, signed_byte(self.spec.constants.stored_fill))

    def _multiplied(self, b: FunctionBuilder, windows: Sequence[Register]) -> Register:
        """Windows side by side, as they are multiplied."""
        value = joined(b, windows)
        return b.binary("xor", value, constant(value.type, FLIP)) if self.spec.constants.flips_x else value

    def _record(
        self,
        b: FunctionBuilder,
        call: Values,
        ordered: Register,
        position: Register,
        masks: Sequence[int],
        sums: Registers,
        kind: RecordKind,
    ) -> list[Register]:
        found, quads, lanes = list(sums), range(kind.quads), b.target.lanes
        weights, bytes = b.at(call["weights"], b.multiply(position, WEIGHTS // PLACE)), I8.of(QUAD * lanes)
        parts = range(len(sums) // len(masks))

        x = b.at(ordered, b.convert("zext", b.load(I32, call["pairs"], position), I64))

        # Of two quads each product reads the weights from memory: LLVM would lack registers for them and for sums.
        factors: list[list[Register]] = []
        for p, mask in enumerate(masks):
            if mask or self.spec.fill:
                if kind.quads > 1 or not factors:
                    b.fence()
                    offsets = [[WEIGHTS * quad + part * bytes.bytes for quad in quads] for part in parts]
                    factors = [[b.load(bytes, weights, offset) for offset in each] for each in offsets]
                at = p // self.beside * self.group + p % self.beside * CHANNEL_BLOCK
                words = (b.load(I32, x, at + QUAD * quad) for quad in quads)
                values = [b.convert("bitcast", b.splat(word, lanes), bytes) for word in words]
                for index, factor in enumerate(factors, p * len(parts)):
                    found[index] = add_pairs(b, found[index], values, factor, are_words=kind.are_words)
        return found
