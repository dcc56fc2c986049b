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
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import ClassVar

from .....ir.layout import CHANNEL_BLOCK
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder, Integer
from ...llvm.byte_dot_product import widens
from ...llvm.target import TargetDescription
from ...llvm.types import I64, Register, Registers
from ..channel_tiles import WorkItem
from ..output_channels import VECTOR_BYTES
from ..products.blocking import MOST_VECTORS, PARTS, Blocking, Work, registers_per_vector, rows_of_item
from ..window import PixelTile, TileRow, cut
from ..window_walk import FEW_LINES, Values, WindowSpec, WindowWalk, moved, over

LEAST_STEPS = 4
"""Steps that a round of the innermost loop works through at most, where channels are to be left out."""


@dataclass(frozen=True)
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
        others.
        """
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

        Args:
            masks: for each pixel, which elements are in the image; see :class:`.window.PixelTile`.
            pointers: x, w and what is counted, at the first of the steps that lie side by side.
            step: number of the step.
        """

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


@dataclass(frozen=True)
class Distances:
    """Where things lie in memory, in bytes, and how much of the following weights is asked for.

    Attributes:
        block, row, column, step: from one block of input channels, kernel row, step along a kernel row, or step of
            those side by side to the next: in x, in w, and in the table of what is counted.
        pixel: in x, between neighbouring output pixels.
        vector: in w, between vectors of output channels.
        output_vector: the same in residual and result.
        prefetch: cache lines of following weights to ask for, by each call and for each vector.
        spread: how many of them after each round of the innermost loop; 0 for all of them at once, where they are few.
    """

    block: tuple[int, int, int]
    row: tuple[int, int, int]
    column: tuple[int, int, int]
    step: tuple[int, int, int]
    pixel: int
    vector: int
    output_vector: int
    prefetch: int
    spread: int


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


class ConvolutionTile:
    """The body of the innermost function: some output pixels by some vectors of output channels.

    Attributes:
        b, arguments: of the function.
        pixels, vectors: extents.
        active: channels in the last vector; the other lanes are to be set to zero.
    """

    def __init__(
        self,
        spec: DirectConvolution,
        distances: Distances,
        b: FunctionBuilder,
        arguments: Values,
        reach: PixelTile,
        vectors: int,
        active: int,
    ) -> None:
        self.b, self.arguments, self.distances = b, arguments, distances
        self.pixels, self.vectors, self.active = reach.pixels, vectors, active
        self.positions = [(p, q) for p in range(self.pixels) for q in range(vectors)]
        self._spec = spec
        self._reach = reach
        self._unrolled = unrolled_steps(spec.steps, self.pixels * vectors, b.target)
        # In a last block of few steps, or the only one, those of absent channels are most of all.
        rest = spec.present_steps % spec.steps or spec.steps
        is_short = spec.input_blocks == 1 or spec.steps <= LEAST_STEPS
        most = min(LEAST_STEPS, 2 * rest - 1) if is_short else LEAST_STEPS
        while spec.is_ragged and self._unrolled > most:
            self._unrolled //= 2
        self._rounds = b.integer(spec.steps // self._unrolled)

    def output(self, name: str, p: int, q: int) -> Register:
        """Address of a pixel and vector of the residual or result."""
        pixel = p * self._spec.element.bytes * CHANNEL_BLOCK
        return self.b.at(self.arguments[name], q * self.distances.output_vector + pixel)

    def generate(self) -> None:
        a, spec, spread = self.arguments, self._spec, self.distances.spread
        if not spread:
            self._prefetch(a["following"], self.distances.prefetch)
        sums = tuple(spec.start(self))
        # The address to prefetch from goes through the loops behind the sums.
        carried = (*sums, a["following"]) if spread else sums
        pointers = tuple(a[name] for name in ("x", "w", "ones") if name in a)
        if spec.is_ragged:
            carried = (*carried, a.get("left", self.b.integer(spec.present_steps)))
        blocks = a.get("blocks", self.b.integer(spec.input_blocks))
        spec.end(self, tuple(spec.over_blocks(self, blocks, pointers, carried)[: len(sums)]))

    def over_block(self, pointers: Registers, carried: Registers) -> Registers:
        """A block of input channels; the steps that are left go through the blocks behind all else."""
        if not self._spec.is_ragged:
            return self._over_rows(pointers, carried)
        b, (*inner, left) = self.b, carried
        present = b.minimum(left, self._spec.steps)
        self._rounds = b.divide(b.add(present, self._unrolled - 1), self._unrolled)
        return (*self._over_rows(pointers, tuple(inner)), b.subtract(left, self._spec.steps))

    def _prefetch(self, address: Register, lines: int) -> None:
        for q in range(self.vectors):
            for line in range(lines):
                self.b.prefetch(self.b.at(address, q * self.distances.vector + line * 64))

    def _over_rows(self, pointers: Registers, carried: Registers) -> Registers:
        rows = self._spec.rows
        count = self.arguments["kernel_rows"] if rows.is_padded else rows.kernel
        runs = rows.always_reaches or None
        return over(self.b, count, self.distances.row, pointers, carried, self._over_columns, runs=runs)

    def _over_columns(self, pointers: Registers, carried: Registers) -> Registers:
        """A kernel row: runs of steps that see the same pixels.

        A run is a loop, unless it is short and the spec wants it unrolled: neighbouring columns read the same inputs,
        and LLVM would keep them in registers that the sums need.
        """
        spec, b, column, first = self._spec, self.b, self.distances.column, 0
        for masks, equal in groupby(self._reach.columns):
            count = len(list(equal))
            if any(masks) or spec.fill:
                here = moved(b, pointers, column, first)
                steps = partial(self._over_steps, masks)
                if count * spec.steps * len(carried) <= spec.unrolled and not widens(self.b.target):
                    for index in range(count):
                        carried = steps(moved(b, here, column, index), carried)
                else:
                    carried = over(b, count, column, here, carried, steps)
            first += count
        return carried

    def _over_steps(self, masks: Sequence[int], pointers: Registers, carried: Registers) -> Registers:
        spec, spread, times = self._spec, self.distances.spread, self._unrolled

        def some(pointers: Registers, carried: Registers) -> Registers:
            sums = list(carried)
            for step in range(times):
                spec.step(self, masks, pointers, step, sums)
            if spread:
                self._prefetch(sums[-1], spread)
                sums[-1] = self.b.at(sums[-1], 64 * spread)
            return tuple(sums)

        distances = [times * distance for distance in self.distances.step]
        return over(self.b, self._rounds, distances, pointers, carried, some, runs=True)


def unrolled_steps(steps: int, sums: int, target: TargetDescription) -> int:
    """Steps that a round of the innermost loop works through, given the vectors of sums.

    Four products for each register hide the loop; with more of them, LLVM's scheduler moves loads so far up that it
    lacks registers for what they load.
    """
    while steps > 1 and steps * sums * registers_per_vector(target) > 4 * target.registers:
        steps //= 2
    return steps
