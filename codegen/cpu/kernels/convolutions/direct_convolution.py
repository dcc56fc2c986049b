"""Direct convolution in blocked layouts.

A tile of some output pixels by some vectors of 16 output channels is accumulated in registers: for each step over input
channels and taps, the weights of the vectors are loaded once and multiplied with each pixel's input, broadcast. What
becomes of the sums is done before the tile is stored. There is no padding in memory: tiles at the border leave out the
taps that fall outside (:mod:`.window`).

The scheme is that of oneDNN's direct convolution (Georganas et al., "Anatomy of High-Performance Deep Learning
Convolutions on SIMD Architectures", 2018), written anew.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from .....ir.layout import CHANNEL_BLOCK
from ...kernel import Kernel
from ...llvm.builder import Integer
from ...llvm.target import TargetDescription
from ...llvm.types import I64, Register, Registers
from ..channel_tiles import WorkItem
from ..output_channels import VECTOR_BYTES
from ..products.blocking import MOST_VECTORS, PARTS, Blocking, Work, rows_of_item
from ..window import TileRow, cut
from ..window_walk import FEW_LINES, Values, WindowSpec, WindowWalk, over
from .convolution_tile import LEAST_STEPS, ConvolutionTile, Distances, unrolled_steps


class DirectConvolution(WindowSpec):
    """Base: convolution over an image, of which subclasses say what a step multiplies and what becomes of the sums.

    Arguments: x, layout ``c16`` (or row-major, where ``plain_input``); w; further operands; result, layout ``c16``.

    Attributes:
        outputs: O; each group has a multiple of 16 of input and output channels, unless there is only one group.
        groups: independent convolutions.
        plain_input: x is row-major; for first layers of few channels, one group.
        blocking: how to cut the work; chosen by cost if absent.
        joined: neighbouring groups that each of these is made of, with weights of zero between them. A tile of output
            channels goes over the blocks alone that its groups see.
    """

    STEP: ClassVar[int]
    """Elements of x that are summed up by a product: channels of a pixel, or neighbours of a row where x is plain."""

    UNROLLED: ClassVar[int] = 0
    """See :attr:`unrolled`."""

    outputs: int
    groups: int = 1
    plain_input: bool = False
    blocking: Blocking | None = None
    joined: int = 1

    @property
    def input_blocks(self) -> int:
        """Rounds of the loop over input channels of a group: blocks of 16, or single channels of a plain input."""
        return self.channels if self.plain_input else -(-(self.channels // self.groups) // CHANNEL_BLOCK)

    @property
    def output_blocks(self) -> int:
        """Vectors of output channels in a group."""
        return -(-(self.outputs // self.groups) // CHANNEL_BLOCK)

    @property
    def steps(self) -> int:
        """Steps that lie side by side in memory."""
        return 1 if self.plain_input else CHANNEL_BLOCK // self.STEP

    @property
    def present_steps(self) -> int:
        """Steps over the input channels of a group; those of absent channels at the end may be left out."""
        return self.input_blocks * self.steps

    @property
    def is_ragged(self) -> bool:
        """Whether the last block of input channels, of all or of those that a tile sees, has fewer steps than the
        others."""
        is_cut = self.joined > 1 and self.steps > LEAST_STEPS
        return is_cut or self.present_steps != self.input_blocks * self.steps

    @property
    def column_steps(self) -> int:
        """Steps of a kernel row and a block of input channels."""
        return -(-self.columns.kernel // self.STEP) if self.plain_input else self.columns.kernel * self.steps

    @property
    def x_pixel(self) -> int:
        """Bytes of a pixel of x."""
        return self.element.bytes * (1 if self.plain_input else CHANNEL_BLOCK)

    @property
    def fill(self) -> int:
        """What taps outside of the image hold."""
        return 0

    @property
    def unrolled(self) -> int:
        """Products in an unrolled run of kernel columns, at most about."""
        return self.UNROLLED

    @property
    def work(self) -> Work:
        """What the choice of a tile depends on."""
        window = self.rows.kernel * self.column_steps // self.steps
        may_merge = self.rows.is_pointwise and self.columns.is_pointwise and not self.plain_input
        seen: list[float] = []
        for vectors in range(1, min(self.output_blocks, MOST_VECTORS) + 1) if self.joined > 1 else ():
            tiles = [self.seen(block, vectors) for block in range(0, self.output_blocks, vectors)]
            steps = (last - first // CHANNEL_BLOCK * self.steps for first, last in tiles)
            seen.append(window * sum(steps) / len(tiles))
        return Work(self.rows, self.columns, self.present_steps * window, self.output_blocks, may_merge, tuple(seen))

    def seen(self, block: int, vectors: int) -> tuple[int, int]:
        """The first input channel of a group that vectors of its output channels see, and the step behind the last."""
        inputs, outputs = (count // self.groups // self.joined for count in (self.channels, self.outputs))
        first, end = block * CHANNEL_BLOCK, min((block + vectors) * CHANNEL_BLOCK, self.joined * outputs)
        return first // outputs * inputs, -(-((end - 1) // outputs + 1) * inputs // self.STEP)

    @property
    def is_mostly_image(self) -> bool:
        """Whether threads had better each read a part of the image and all weights than the other way round."""
        weights = self.groups * self.output_blocks * self.input_blocks * self.rows.kernel * self.column_steps
        pixels = self.rows.input * self.columns.input * self.input_blocks * self.groups * self.x_pixel
        outputs = self.rows.output * self.columns.output * self.output_blocks * self.groups
        return weights * VECTOR_BYTES <= pixels + outputs * self.element.bytes * CHANNEL_BLOCK

    def cut_for_threads(self, merge: int, tile: tuple[int, int], fitting: int, pieces: int = 1) -> tuple[int, int]:
        """Rows of a work item, and the pieces of a row that count as rows.

        Args:
            merge: rows treated as one.
            tile: pixels and vectors of output channels.
            fitting: rows that an item has at most.
            pieces: so many at least, where rows are long enough; an item has one of them then.
        """
        (rows, columns), (pixels, vectors) = self.work.merged(merge), tile
        by_rows, least = self.is_mostly_image, pieces
        if by_rows:
            pieces = max(pieces, -(-2 * PARTS // rows.output))
        pieces = max(1, min(pieces, columns.output // (8 * pixels)))
        tiles = self.groups * -(-self.output_blocks // vectors)
        fitting = max(1, fitting * pieces // least)
        return rows_of_item(rows.output * pieces, fitting, tiles, by_rows=by_rows), pieces

    @abstractmethod
    def choose_blocking(self, target: TargetDescription) -> Blocking:
        """The blocking of least estimated cost."""

    @abstractmethod
    def start(self, tile: ConvolutionTile) -> Sequence[Register]:
        """Accumulators of a tile before its first step, pixel by pixel, vector by vector."""

    @abstractmethod
    def step(
        self, tile: ConvolutionTile, masks: Sequence[int], pointers: Registers, step: int, sums: list[Register]
    ) -> None:
        """Add the products of a step to the accumulators.
        ``masks``: for each pixel, which elements are in the image; see :class:`.window.PixelTile`.
        ``pointers``: x, w and what is counted, at the first of the steps that lie side by side.
        ``step``: number of the step."""

    def over_blocks(
        self, tile: ConvolutionTile, count: Integer, pointers: Registers, carried: Registers
    ) -> Sequence[Register]:
        """What is carried, accumulators first, after so many blocks of input channels."""
        return over(tile.b, count, tile.distances.block, pointers, carried, tile.over_block, runs=True)

    @abstractmethod
    def end(self, tile: ConvolutionTile, sums: Registers) -> None:
        """Store what becomes of the accumulators."""

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, self.blocking or self.choose_blocking(target), target).generate()


class _Walker(WindowWalk):
    """The function that walks over work items: image, block of rows, tile of output channels."""

    def __init__(self, spec: DirectConvolution, blocking: Blocking, target: TargetDescription) -> None:
        rows, columns = spec.work.merged(blocking.merge)
        tiles = cut(columns, blocking.pixels, neighbours=spec.plain_input and spec.STEP > 1)
        w_row = spec.column_steps * VECTOR_BYTES
        super().__init__(spec, target, rows, columns, tiles, spec.x_pixel, w_row)
        self.spec = spec
        self.blocking = blocking
        self.chunks = -(-spec.input_blocks // blocking.chunk)
        self.tiles_in_row = sum(run.count for run in tiles)
        self.tiles_in_piece = -(-self.tiles_in_row // blocking.pieces)
        calls = min(blocking.row_block, rows.output * blocking.pieces) * self.tiles_in_piece
        lines = blocking.chunk * spec.rows.kernel * spec.column_steps
        prefetch, spread = -(-lines // calls), 0
        if prefetch > FEW_LINES and spec.UNROLLED:
            prefetch = FEW_LINES
        elif prefetch > FEW_LINES:
            spread = -(-unrolled_steps(spec.steps, blocking.pixels * blocking.vectors, target) // calls)
        self.distances = Distances(
            block=(rows.input * columns.input * spec.x_pixel, rows.kernel * w_row, 4 * spec.column_steps),
            row=(rows.dilation * columns.input * spec.x_pixel, w_row, 0),
            column=(
                columns.dilation * spec.x_pixel * (spec.STEP if spec.plain_input else 1),
                spec.steps * VECTOR_BYTES,
                4 * spec.steps,
            ),
            step=(spec.STEP * spec.element.bytes, VECTOR_BYTES, 4),
            pixel=columns.stride * spec.x_pixel,
            vector=spec.input_blocks * rows.kernel * w_row,
            output_vector=rows.output * columns.output * spec.element.bytes * CHANNEL_BLOCK,
            prefetch=prefetch,
            spread=spread,
        )

    def generate(self) -> Kernel:
        spec, blocking = self.spec, self.blocking
        channels = spec.outputs // spec.groups
        cut = blocking.vectors, blocking.row_block
        return self.walk(spec, spec.groups, channels, *cut, self._item, pieces=blocking.pieces)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        """Rows of an image for one tile of output channels, chunk of input channels by chunk."""
        spec, distances, b = self.spec, self.distances, self.b
        values = spec.item_values(b, self.arguments, item.block, vectors, active)
        output_block = b.add(b.multiply(item.image, spec.groups * spec.output_blocks), item.block)
        output = b.multiply(output_block, distances.output_vector)
        input_block = b.multiply(b.add(b.multiply(item.image, spec.groups), item.group), spec.input_blocks)
        x_block, w_block, _ = distances.block
        w = b.at(self.arguments["w"], b.multiply(item.block, distances.vector))
        x = b.at(self.arguments["x"], b.multiply(input_block, x_block))
        is_chunked, seen = self.chunks > 1, {}
        if spec.joined > 1:
            x, w, seen = self._seen(item, vectors, x, w)
        following_bytes = self.blocking.chunk * w_block if is_chunked else vectors * distances.vector

        def chunk(index: Register) -> None:
            begin = b.multiply(index, self.blocking.chunk)
            x_chunk, w_chunk = b.at(x, b.multiply(begin, x_block)), b.at(w, b.multiply(begin, w_block))
            following = b.at(w_chunk, following_bytes)
            part: Values = {**seen}
            if is_chunked and spec.is_ragged:
                part["left"] = b.subtract(spec.present_steps, b.multiply(begin, spec.steps))
            if is_chunked:
                part["blocks"] = b.minimum(b.subtract(spec.input_blocks, begin), self.blocking.chunk)
                part |= {"first": b.compare("eq", index, 0), "last": b.compare("eq", index, self.chunks - 1)}

            def piece(index: Register) -> None:
                y = b.divide(index, self.blocking.pieces)
                call, reach = self.row(y, x_chunk, w_chunk, output)
                line = b.multiply(b.subtract(index, item.first_row), self.tiles_in_piece * distances.prefetch * 64)
                call |= {**part, "following": b.at(following, line), **spec.row_values(b, values, y, reach)}
                self._tiles(call, b.remainder(index, self.blocking.pieces), vectors, active)

            b.each(item.first_row, item.last_row, piece)

        b.each(0, self.chunks, chunk)

    def _seen(self, item: WorkItem, vectors: int, x: Register, w: Register) -> tuple[Register, Register, Values]:
        """x and w at the first block of input channels that the groups of a tile see, and how much they see."""
        spec, b = self.spec, self.b
        bounds: list[int] = []
        for block in range(spec.output_blocks):
            first, last = spec.seen(block, vectors)
            bounds += [first // CHANNEL_BLOCK, last]
        table = b.table(f"{b.name}_seen{vectors}", I64, bounds)
        here = b.at(table, b.multiply(b.remainder(item.block, spec.output_blocks), 2 * I64.bytes))
        first, last = b.load(I64, here), b.load(I64, here, I64.bytes)
        left = b.subtract(last, b.multiply(first, spec.steps))
        blocks = b.divide(b.add(left, spec.steps - 1), spec.steps)
        x, w = (b.at(here, b.multiply(first, self.distances.block[index])) for index, here in enumerate((x, w)))
        return x, w, {"blocks": blocks, **({"left": left} if spec.is_ragged else {})}

    def _tiles(self, call: Values, piece: Register, vectors: int, active: int) -> None:
        """The tiles of a piece of an output row."""
        b, start = self.b, self.b.divide(self.b.multiply(piece, self.tiles_in_row), self.blocking.pieces)
        done = 0
        for run, begin, end in self.tiles_of(piece, self.blocking.pieces):
            key = (run.tile, vectors, CHANNEL_BLOCK if self.spec.keeps_zero else active)

            def body(index: Register, run: TileRow = run, key=key, done: int = done) -> None:
                line = b.multiply(b.subtract(b.add(index, done), start), self.distances.prefetch * 64)
                pixel = b.add(run.start, b.multiply(index, run.tile.pixels))
                arguments = {**call, "following": b.at(call["following"], line)}
                self.call(
                    key,
                    arguments,
                    pixel,
                    lambda f, values: ConvolutionTile(self.spec, self.distances, f, values, *key).generate(),
                )

            b.each(begin, end, body)
            done += run.count
