"""First layers on processors without a dot product of bytes: rows of plain bytes become lines of pairs of words.

What a row of results sees is a number of rows of x, of all channels. They are written into scratch memory two by two,
as words side by side, with what lies outside of the image. So a tap of two rows is 32 bits, read into every lane and
multiplied with two weights of 16 outputs: no shuffle, no border and no list of what pairs.
"""

from typing import ClassVar

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK
from .....ir.ops.convolution import MOST_COPIED
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import add_word_pairs, joined
from ...llvm.quantized_math import signed_byte
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I16, I32, Register, Registers, constant
from ..channel_tiles import WorkItem
from ..output_channels import VECTOR_BYTES, QuantizedOutput, without_zero_points
from ..products.blocking import registers_per_vector, rows_of_item
from ..window import Axis, cut
from ..window_walk import Values, WindowWalk, moved

_PAIR = I16.of(2)
_WEIGHTS = I16.of(2 * CHANNEL_BLOCK)
_ROW = I8.of(CHANNEL_BLOCK)


class LineConvolution(QuantizedOutput):
    """Convolution over a row-major image of few channels, of at least four columns; the result in layout ``c16``.

    Weights are read as ``w``, words, zero points taken off: the data of :meth:`words`.
    ``outputs``: O."""

    OWN_WEIGHTS: ClassVar[bool] = True

    outputs: int

    @property
    def lines(self) -> int:
        """Pairs of rows."""
        return -(-self.channels * self.rows.kernel // 2)

    @property
    def width(self) -> int:
        """Pixels of a line, which holds what lies outside of the image, too."""
        columns = self.columns
        last = columns.position(columns.output - 1, columns.kernel - 1)
        return max(last + 1, columns.input) + columns.before

    @property
    def is_small(self) -> bool:
        """Whether lines are no more than the image and what taps read, which far padding exceeds, and may be copied."""
        seen = self.columns.input + self.columns.output * self.columns.kernel
        return self.width <= seen and self.lines * self.width * _PAIR.bytes <= MOST_COPIED

    def words(self, op: Op) -> bytes:
        """The weights of an op, which are constant: [O/16, lines, columns, 16 (O), 2 (rows)]."""
        weights = without_zero_points(op).reshape(self.outputs, -1, self.columns.kernel)
        weights = np.pad(weights, ((0, -self.outputs % CHANNEL_BLOCK), (0, weights.shape[1] % 2), (0, 0)))
        weights = weights.reshape(-1, CHANNEL_BLOCK, self.lines, 2, self.columns.kernel)
        return weights.transpose(0, 2, 4, 1, 3).astype("<i2").tobytes()

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker(WindowWalk):
    """The function that walks over work items: images and blocks of rows."""

    def __init__(self, spec: LineConvolution, target: TargetDescription) -> None:
        columns, pixels = spec.columns, max(1, target.registers // registers_per_vector(target) - 2)
        line = Axis(spec.width, columns.output, columns.kernel, columns.stride, columns.dilation, 0)
        super().__init__(spec, target, spec.rows, line, cut(line, pixels), _PAIR.bytes, 0)
        self.spec = spec
        self.line = -(-spec.width * _PAIR.bytes // _WEIGHTS.bytes) * _WEIGHTS.bytes
        # After the last line is what a row outside of the image holds.
        self.outside = spec.lines * self.line
        self.scratch = self.outside + -(-columns.input // _ROW.bytes) * _ROW.bytes

    def generate(self) -> Kernel:
        spec, rows = self.spec, self.spec.rows.output
        blocks, item = -(-spec.outputs // CHANNEL_BLOCK), rows_of_item(rows, rows, 1, by_rows=True)
        whole = max(CHANNEL_BLOCK // 2, self.b.target.lanes)
        return self.walk(spec, 1, spec.outputs, blocks, item, self._item, whole=whole, scratch_bytes=self.scratch)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        spec, b, image = self.spec, self.b, self.spec.columns
        scratch = self.arguments["scratch"]
        # A half of 16 channels that would hold absent ones alone is left out, where there are no others.
        lanes = active if vectors == 1 else CHANNEL_BLOCK
        words = constant(_WEIGHTS, spec.constants.fill)
        b.each(0, self.outside, lambda at: b.store(words, b.at(scratch, at)), step=_WEIGHTS.bytes)
        row = constant(_ROW, signed_byte(spec.constants.stored_fill))
        b.each(self.outside, self.scratch, lambda at: b.store(row, b.at(scratch, at)), step=_ROW.bytes)
        plane = spec.rows.input * image.input
        x = b.at(self.arguments["x"], b.multiply(item.image, spec.channels * plane))

        def line(y: Register) -> None:
            for number in range(spec.lines):
                self._line(x, y, number)

            def block(index: Register) -> None:
                place = b.add(b.multiply(b.add(b.multiply(item.image, vectors), index), spec.rows.output), y)
                offset = b.multiply(place, image.output * CHANNEL_BLOCK * spec.element.bytes)
                w = b.at(self.arguments["w"], b.multiply(index, spec.lines * image.kernel * VECTOR_BYTES))
                call = {"x": scratch, "w": w, **{name: b.at(self.arguments[name], offset) for name in self._outputs}}
                call |= spec.item_values(b, self.arguments, index, 1, active)
                self.call_row(call, lambda run: (run.tile.pixels, lanes), self._tile)

            b.each(0, vectors, block)

        b.each(item.first_row, item.last_row, line)

    def _line(self, x: Register, y: Register, line: int) -> None:
        """Two rows as words side by side."""
        spec, b, image = self.spec, self.b, self.spec.columns
        count, rows = spec.channels * spec.rows.kernel, spec.rows
        sources: list[Register] = []
        for half in (0, 1):
            channel, tap = divmod(min(2 * line + half, count - 1), rows.kernel)
            at = rows.coordinate(b, y, tap)
            is_inside = b.binary("and", b.compare("sge", at, 0), b.compare("slt", at, rows.input))
            source = b.at(x, b.multiply(b.add(at, channel * rows.input), image.input))
            sources.append(b.select(is_inside, source, b.at(self.arguments["scratch"], self.outside)))
        place = b.at(self.arguments["scratch"], line * self.line + image.before * _PAIR.bytes)
        # Whole vectors, the last of which begins where it must to end with the row.
        lanes = next(lanes for lanes in (16, 8, 4) if lanes <= image.input)

        def some(first: Register) -> None:
            first = b.minimum(first, image.input - lanes)
            stored = (b.load(I8.of(lanes), b.at(source, first)) for source in sources)
            above, below = (
                b.convert("sext" if spec.constants.is_signed else "zext", each, I16.of(lanes)) for each in stored
            )
            pairs = b.shuffle(above, below, [half * lanes + lane for lane in range(lanes) for half in (0, 1)])
            b.store(pairs, b.at(place, b.multiply(first, _PAIR.bytes)))

        b.each(0, image.input, some, step=lanes)

    def _tile(self, b: FunctionBuilder, call: Values, size: tuple[int, int]) -> None:
        """Some pixels by 8 or 16 channels."""
        spec, columns, (pixels, lanes) = self.spec, self.columns, size

        def line(_: Register, values: Registers) -> Registers:
            (x, w), found = values[:2], list(values[2:])
            for tap in range(columns.kernel):
                b.fence()
                weights = b.load(I16.of(2 * lanes), w, tap * VECTOR_BYTES)
                for p in range(pixels):
                    pair = b.load(I32, x, (p * columns.stride + tap * columns.dilation) * _PAIR.bytes)
                    found[p] = add_word_pairs(b, found[p], b.splat(pair, lanes), weights)
            return (*moved(b, (x, w), (self.line, columns.kernel * VECTOR_BYTES)), *found)

        start = b.shuffle(call["start0"], call["start0"], range(lanes))
        sums = b.loop(0, spec.lines, line, (call["x"], call["w"], *[start] * pixels))[2:]
        whole = tuple(joined(b, [total] * (CHANNEL_BLOCK // lanes)) for total in sums)
        spec.requantize(b, call, 0, whole, (), call.__getitem__)
