"""Changes of layout: between row-major order and blocks of 16 channels, to pairs of these in bfloat16; of weights."""

import math
from collections.abc import Iterator, Sequence

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK, NARROW
from ....ir.ops.movement import Reorder
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I16, I64, Register, Type, partial_mask, zero
from ..spec import KernelSpec
from ..tensors import layouts
from .vector_nest import Expression, nest_kernel

ELEMENTS = {8: I64, 4: F32, 2: I16, 1: I8}
"""What moves elements of so many bytes."""


def transpose_square(b: FunctionBuilder, rows: list[Register]) -> list[Register]:
    """Columns of a square of as many vectors as they have lanes, a power of two.

    Squares of 128 bits, side by side, are transposed each by itself: each round interleaves vectors that are half of
    one apart, and after log2(lanes) rounds all lanes are in place. Then the squares change places, for shuffles across
    the parts of a register that move less than these take several instructions."""
    lanes = len(rows)
    size = min(lanes, 16 // rows[0].type.element.bytes)
    half, squares = size // 2, range(0, lanes, size)
    pairs = [(i, i + half) for square in squares for i in range(square, square + half)]
    low = [part + lane for part in squares for i in range(half) for lane in (i, lanes + i)]
    orders = low, [lane + half for lane in low]
    for _ in range(size.bit_length() - 1):
        rows = [b.shuffle(rows[i], rows[j], order) for i, j in pairs for order in orders]
    while size < lanes:
        upper = [lane & size for lane in range(lanes)]
        first = [lanes + lane - size if up else lane for lane, up in enumerate(upper)]
        second = [lanes + lane if up else lane + size for lane, up in enumerate(upper)]
        rows = [
            b.shuffle(rows[i], rows[i + size], first) if not up else b.shuffle(rows[i - size], rows[i], second)
            for i, up in enumerate(upper)
        ]
        size *= 2
    return rows


class BlockChannels(KernelSpec):
    """Row-major x [N, C, pixels] to layout ``c16``, or back. Of weights [1, O, I * taps] to ``o16``, or ``o16i16``.

    Attributes:
        batch, channels, pixels: the extents.
        inverse: from layout ``c16`` to row-major order.
        element: of one to eight bytes.
        taps: pixels are inputs of so many taps each, of which blocks of 16 come before taps; 0 for none of that.
    """

    batch: int
    channels: int
    pixels: int
    inverse: bool
    element: Type = F32
    taps: int = 0

    @property
    def vector(self) -> Type:
        """A pixel of a block, or 16 neighbours of a channel."""
        return self.element.of(CHANNEL_BLOCK)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        blocks = -(-self.channels // CHANNEL_BLOCK)
        # Inputs that fill the last block are zero.
        absent = -(self.pixels // self.taps) % CHANNEL_BLOCK if self.taps else 0
        present = self.pixels + absent * self.taps

        def unit(index: Register) -> None:
            image, block = b.divide(index, blocks), b.remainder(index, blocks)
            channel = b.add(b.multiply(image, self.channels), b.multiply(block, CHANNEL_BLOCK))
            plain = b.multiply(channel, self.element.bytes * self.pixels)
            blocked = b.multiply(index, self.vector.bytes * present)
            x = b.at(arguments["x"], blocked if self.inverse else plain)
            y = b.at(arguments["y"], plain if self.inverse else blocked)

            def filled(pixel: Register) -> None:
                b.store(zero(self.vector), self._place(b, y, pixel, 0))

            b.each(self.pixels, present, filled)
            b.of_part(block, self.channels, CHANNEL_BLOCK, lambda active: self._block(b, x, y, active))

        return self.each_unit(b, unit, units=self.batch * blocks)

    def _block(self, b: FunctionBuilder, x: Register, y: Register, active: int) -> None:
        """One block of which ``active`` channels exist."""
        move = self._to_plain if self.inverse else self._to_blocks
        b.in_steps(self.pixels, CHANNEL_BLOCK, lambda pixel, count: move(b, x, y, pixel, active, count))

    def _to_blocks(
        self, b: FunctionBuilder, x: Register, y: Register, pixel: Register, active: int, count: int
    ) -> None:
        x = b.at(x, b.multiply(pixel, self.element.bytes))
        for channel, first, square in self._squares(b, CHANNEL_BLOCK, count):
            rows = [zero(square)] * square.lanes
            for index in range(min(square.lanes, active - channel)):
                address = b.at(x, self.element.bytes * ((channel + index) * self.pixels + first))
                rows[index] = b.load_masked(square, address, partial_mask(square.lanes, count - first))
            for index, vector in enumerate(transpose_square(b, rows)[: count - first]):
                b.store(vector, self._place(b, y, pixel, first + index), channel * self.element.bytes)

    def _place(self, b: FunctionBuilder, y: Register, pixel: Register, offset: int) -> Register:
        """Where a pixel so many behind another goes."""
        if not self.taps:
            return b.at(y, b.multiply(pixel, self.vector.bytes), offset * self.vector.bytes)
        pixel = b.add(pixel, offset)
        channel, tap = b.divide(pixel, self.taps), b.remainder(pixel, self.taps)
        place = b.add(b.multiply(b.divide(channel, CHANNEL_BLOCK), self.taps), tap)
        place = b.add(b.multiply(place, CHANNEL_BLOCK), b.remainder(channel, CHANNEL_BLOCK))
        return b.at(y, b.multiply(place, self.vector.bytes))

    def _to_plain(self, b: FunctionBuilder, x: Register, y: Register, pixel: Register, active: int, count: int) -> None:
        x, y = b.at(x, b.multiply(pixel, self.vector.bytes)), b.at(y, b.multiply(pixel, self.element.bytes))
        for channel, first, square in self._squares(b, active, count):
            columns = [zero(square)] * square.lanes
            for index in range(min(square.lanes, count - first)):
                address = b.at(x, (first + index) * self.vector.bytes + channel * self.element.bytes)
                columns[index] = b.load(square, address)
            for index, vector in enumerate(transpose_square(b, columns)[: active - channel]):
                address = b.at(y, self.element.bytes * ((channel + index) * self.pixels + first))
                b.store_masked(vector, address, partial_mask(square.lanes, count - first))

    def _squares(self, b: FunctionBuilder, channels: int, pixels: int) -> Iterator[tuple[int, int, Type]]:
        """First channel and pixel of squares that fit the registers, and the type of their rows."""
        lanes = min(CHANNEL_BLOCK, b.target.vector_bits // 8 // self.element.bytes)
        for channel in range(0, channels, lanes):
            for pixel in range(0, pixels, lanes):
                yield channel, pixel, self.element.of(lanes)


class Same(Expression):
    """The element as it is."""

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        return values[0]


@lowers(Reorder)
def reorder(op: Op, target: TargetDescription) -> Kernel | None:
    """From row-major order to layout ``c16`` or back, or from that to ``n32``; weights."""
    if layouts(op) == ("c16", NARROW):
        return nest_kernel(op, Same(), target)
    element, shape = ELEMENTS.get(op.result.type.dtype.bytes), op.result.type.shape
    if layouts(op) in (("", "o16"), ("", "o16i16")):
        taps = math.prod(shape[2:]) if op.result.type.layout == "o16i16" else 0
        return BlockChannels(1, shape[0], math.prod(shape[1:]), False, F32, taps).kernel(target)
    if element is None or layouts(op) not in (("", "c16"), ("c16", "")):
        return None
    inverse = op.result.type.layout == ""
    return BlockChannels(shape[0], shape[1], math.prod(shape[2:]), inverse, element).kernel(target)
