"""Windows over row-major tensors: any number of dimensions, any groups.

A tile of some output channels that read the same input by some vectors of neighbouring pixels of the last dimension
is accumulated in registers. Taps outside of the image are masked out, in tiles at its borders.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ....ir.types import DType
from ....ir.windows import SIDE_BY_SIDE
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import I1, I32, Register, Registers, constant, partial_mask, type_of, vector_constant
from ..spec import KernelSpec
from .channel_tiles import ChannelTiles, WorkItem
from .products.matrix_product import choose_tile
from .window import Axis, Reach
from .window_walk import over

Tap = Callable[[Register, Registers, Registers], Sequence[Register]]
"""From the column of a tap, input and weights, and sums to the next sums."""

_MOST_UNROLLED = 5
"""Taps of a row, and tiles at the borders of the image, that are written one by one."""

_LEAST_LANES = 8
"""Of a vector that is half a register."""

_LEAST_STEPS = 256
"""Steps of a work item along its inner dimension, about: fewer do not make up for finding it."""


class Place(NamedTuple):
    """Where a vector of results lies, and what its windows see.

    Attributes:
        start: bytes before the first of its elements in the result.
        inside: which of them exist; ``None`` for all.
        column: the first of its windows along the last dimension; ``None`` if all taps of all lie in the image.
        taps: those in the image along the other dimensions.
    """

    start: Register
    inside: Register | None
    column: Register | None
    taps: tuple[Reach, ...]


class RowMajorWindows(KernelSpec):
    """Base: every result comes from a window of some input channels.

    Arguments: x [N, C, *image], w [O, C/groups, *kernel], if any, and the result [N, O, *output], row-major.

    Attributes:
        batch, channels, outputs: N, C and O.
        axes: geometry of each spatial dimension.
        groups: windows that see channels of their own.
        dtype: of the elements of all tensors.
    """

    batch: int
    channels: int
    outputs: int
    axes: tuple[Axis, ...]
    groups: int = 1
    dtype: DType = DType.F32

    @property
    def outside(self) -> float:
        """What taps outside of the image read, and what accumulators are before the first tap if nothing else is."""
        return 0

    def start(self, b: FunctionBuilder, channel: Register) -> Register:
        """A vector of accumulators before the first tap, for a channel of the output."""
        return constant(type_of(self.dtype, b.target.lanes), self.outside)

    @abstractmethod
    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        """The accumulators after a tap, and its weight in every lane where there are weights."""

    def end(self, b: FunctionBuilder, total: Register, channel: Register, place: Place) -> Register:
        """The result, here the accumulators.
        ``total``: the accumulators after all taps.
        ``channel``: of the output.
        ``place``: where they go."""
        return total

    def generate(self, target: TargetDescription) -> Kernel:
        # Vectors of 64 bytes take several processors as long as two of half as many: rows that fit one get that.
        if self.axes[-1].output <= target.lanes // 2 >= _LEAST_LANES:
            target = replace(target, vector_bits=target.vector_bits // 2)
        return _Walker(self, target).generate()


class _Tile(NamedTuple):
    """What a tile computes of a row of the result.

    Attributes:
        x, w: input and weights at the first valid tap of all dimensions but the last.
        channel, channels: the first output channel, and how many.
        result: bytes before the row of the first of them.
        taps: see `_Walker._positions`.
        start: first pixel.
        vectors: of pixels.
        is_free: whether what it reads lies in the image, whole vectors of it.
    """

    x: Register
    w: Register
    channel: Register
    channels: int
    result: Register
    taps: tuple[Reach, ...]
    start: Register
    vectors: int
    is_free: bool


class _Walker:
    """The one function of the kernel.

    A work item is some output channels of some positions along the first dimension, tiles where there is no other: few
    enough that what they read is in the first level cache for all output channels."""

    def __init__(self, spec: RowMajorWindows, target: TargetDescription) -> None:
        self.spec = spec
        self.b, self.arguments = spec.entry(target, writes=("residual", "y"))
        self.vector, self.size = type_of(spec.dtype, target.lanes), spec.dtype.bytes
        self.input_pixels = math.prod(axis.input for axis in spec.axes)
        self.output_pixels = math.prod(axis.output for axis in spec.axes)
        self.taps = math.prod(axis.kernel for axis in spec.axes)
        self.inputs = spec.channels // spec.groups
        per_group = spec.outputs // spec.groups
        channels, self.vectors = choose_tile(per_group, spec.axes[-1].output, self.inputs * self.taps, target)
        first, steps = spec.axes[0], self.inputs * self.taps
        if len(spec.axes) == 1:
            rows, block = -(-first.output // (self.vectors * target.lanes)), -(-_LEAST_STEPS // steps)
        else:
            row_bytes = self.size * self.inputs * (self.input_pixels // max(1, first.input)) * first.stride
            rows, block = first.output, target.cache_bytes[0] // 2 // max(1, row_bytes)
        self.cut = ChannelTiles(spec.batch, spec.groups, per_group, 1, channels, rows, max(1, min(rows, block)))

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b

        def visit(item: WorkItem, channels: int, _: int) -> None:
            source = b.add(b.multiply(item.image, spec.channels), b.multiply(item.group, self.inputs))
            x = b.at(self.arguments["x"], b.multiply(source, self.size * self.input_pixels))
            w = b.at(self.arguments.get("w", x), b.multiply(item.block, self.size * self.inputs * self.taps))
            result = b.multiply(b.add(b.multiply(item.image, spec.outputs), item.block), self.size * self.output_pixels)
            self._positions(x, w, item, channels, result, ())

        self.cut.walk(b, self.arguments, visit)
        return spec.finish(b, units=self.cut.units)

    def _positions(
        self, x: Register, w: Register, item: WorkItem, channels: int, result: Register, taps: tuple[Reach, ...]
    ) -> None:
        """Loop over the output positions of all dimensions but the last, which is cut into tiles of some vectors.

        ``taps`` holds first valid tap and number of them for the dimensions so far; x is moved to the first."""
        spec, b = self.spec, self.b
        depth = len(taps)
        axis = spec.axes[depth]
        if depth < len(spec.axes) - 1:
            inner_input = self.size * math.prod(a.input for a in spec.axes[depth + 1 :])
            inner_output = self.size * math.prod(a.output for a in spec.axes[depth + 1 :])
            inner_kernel = self.size * math.prod(a.kernel for a in spec.axes[depth + 1 :])

            def position(index: Register) -> None:
                first, count = axis.valid_taps(b, index)
                self._positions(
                    b.at(x, b.multiply(axis.coordinate(b, index, first), inner_input)),
                    b.at(w, b.multiply(first, inner_kernel)),
                    item,
                    channels,
                    b.add(result, b.multiply(index, inner_output)),
                    (*taps, (first, count)),
                )

            b.each(*((item.first_row, item.last_row) if depth == 0 else (0, axis.output)), position)
            return
        pixels = self.vectors * self.vector.lanes
        whole = axis.output // pixels
        first = min(whole, -(-axis.before // (axis.stride * pixels)))
        # What is read side by side ends with the columns between two pixels.
        behind = axis.stride - 1 if axis.stride <= SIDE_BY_SIDE else 0
        room = axis.input - (axis.kernel - 1) * axis.dilation - behind + axis.before
        last = max(first, min(whole, ((room - 1) // axis.stride + 1) // pixels))
        begin, end = (item.first_row, item.last_row) if depth == 0 else (0, -(-axis.output // pixels))

        def tile(index: Register, vectors: int, is_free: bool) -> None:
            start = b.multiply(index, pixels)
            self._tile(_Tile(x, w, item.block, channels, result, taps, start, vectors, is_free))

        runs = [(0, first, False), (first, last, True), (last, whole, False)]
        if whole - (last - first) <= _MOST_UNROLLED:
            # Of a tile whose place is known, so are the taps that lie outside of the image.
            border = [*range(first), *range(last, whole)]
            runs = sorted([(index, index + 1, False) for index in border] + [runs[1]])
        for low, high, is_free in runs:
            if low < high:
                some = partial(tile, vectors=self.vectors, is_free=is_free)
                b.each(b.maximum(begin, low), b.minimum(end, high), some)
        if rest := axis.output - whole * pixels:
            vectors = -(-rest // self.vector.lanes)
            b.if_(b.compare("sgt", end, whole), lambda: tile(b.integer(whole), vectors, False))

    def _tile(self, tile: _Tile) -> None:
        """Neighbouring pixels of the last dimension, for all channels of the work item."""
        spec, b, axis, lanes = self.spec, self.b, self.spec.axes[-1], self.vector.lanes
        offsets = range(0, tile.vectors * lanes, lanes)
        insides = [self._inside(tile, offset) for offset in offsets]
        first = b.add(tile.result, b.multiply(tile.start, self.size))
        columns = [None if tile.is_free else b.add(tile.start, offset) for offset in offsets]
        places = [
            (q, Place(b.add(first, self.size * (q * self.output_pixels + offset)), inside, column, tile.taps))
            for q in range(tile.channels)
            for offset, inside, column in zip(offsets, insides, columns, strict=True)
        ]
        start = axis.coordinate(b, tile.start)
        x = b.at(tile.x, b.multiply(start, self.size))

        def tap(column: Register, pointers: Registers, sums: Registers) -> list[Register]:
            x, w = pointers
            offset = b.multiply(column, axis.dilation)
            address, first = b.at(x, b.multiply(offset, self.size)), b.add(start, offset)
            values = [self._load(tile, o, i, address, first) for o, i in zip(offsets, insides, strict=True)]
            weights = b.at(w, b.multiply(column, self.size))
            result: list[Register] = []
            for q in range(tile.channels):
                weight = None
                if "w" in self.arguments:
                    weight = b.at(weights, self.size * q * self.inputs * self.taps)
                    weight = b.splat(b.load(self.vector.element, weight), lanes)
                result += [spec.step(b, weight, value, sums[len(result) + i]) for i, value in enumerate(values)]
            return result

        starts = tuple(spec.start(b, b.add(tile.channel, q)) for q, _ in places)
        totals = self._over_channels(x, tile.w, tile.taps, tap, starts)
        for (q, place), total in zip(places, totals, strict=True):
            result = spec.end(b, total, b.add(tile.channel, q), place)
            b.store_masked(result, b.at(self.arguments["y"], place.start), place.inside)

    def _inside(self, tile: _Tile, offset: int) -> Register | None:
        """Which pixels of a vector exist, ``None`` for all; those of a tile whose place is computed do."""
        if tile.start.constant is None:
            return None
        return partial_mask(self.vector.lanes, self.spec.axes[-1].output - tile.start.constant - offset)

    def _load(self, tile: _Tile, offset: int, inside: Register | None, address: Register, column: Register) -> Register:
        """What the pixels of a vector, the first one ``offset`` pixels behind the tile's, read for a tap.
        ``address``, ``column``: what the tile's first pixel reads."""
        b, axis, lanes = self.b, self.spec.axes[-1], self.vector.lanes
        address = b.at(address, self.size * offset * axis.stride)
        if 1 < axis.stride <= SIDE_BY_SIDE:
            columns = range(axis.stride * offset, axis.stride * (offset + lanes))
            read = self._read(address, None if tile.is_free else self._in_image(column, columns), width=len(columns))
            return b.shuffle(read, read, range(0, len(columns), axis.stride))
        mask = inside
        if not tile.is_free and (axis.is_padded or axis.stride > 1):
            # Padded extents fit 32 bits, and so do positions; pixels beyond the last one are masked, wherever they lie.
            steps = [min(offset + lane, axis.output - 1) * axis.stride for lane in range(lanes)]
            mask = self._in_image(column, steps)
            mask = b.binary("and", mask, inside) if mask is not None and inside is not None else mask or inside
        return self._read(address, mask, axis.stride)

    def _read(self, address: Register, mask: Register | None, stride: int = 1, width: int = 0) -> Register:
        """Elements so many apart, where the mask says: a vector, or neighbours of a ``width`` of their own."""
        b, every, type = self.b, constant(I1.of(self.vector.lanes), 1), self.vector.of(width or self.vector.lanes)
        if stride == 1:
            value = b.load_masked(type, address, mask)
        else:
            value = b.load_strided(type, address, self.size * stride, mask or every)
        return b.select(mask, value, constant(type, self.spec.outside)) if mask and self.spec.outside else value

    def _in_image(self, column: Register, steps: Sequence[int]) -> Register | None:
        """Whether columns so many steps behind one lie in the image; ``None`` for all."""
        lanes, extent = I32.of(len(steps)), self.spec.axes[-1].input
        if column.constant is not None:
            reach = [0 <= column.constant + step < extent for step in steps]
            return None if all(reach) else vector_constant(I1.of(len(steps)), [str(int(each)) for each in reach])
        first = self.b.convert("trunc", column, I32)
        columns = self.b.binary("add", self.b.splat(first, len(steps)), vector_constant(lanes, [*map(str, steps)]))
        # Unsigned, so that columns before the image count as far beyond its end.
        return self.b.compare("ult", columns, constant(lanes, extent))

    def _over_channels(self, x: Register, w: Register, taps: Sequence[Reach], tap: Tap, sums: Registers) -> Registers:
        """Run ``tap`` for each input channel and each valid tap."""

        def channel(pointers: Registers, sums: Registers) -> Registers:
            return self._over_taps(pointers, taps, 0, tap, sums)

        return over(self.b, self.inputs, (self.size * self.input_pixels, self.size * self.taps), (x, w), sums, channel)

    def _over_taps(
        self, pointers: Registers, taps: Sequence[Reach], depth: int, tap: Tap, sums: Registers
    ) -> Registers:
        axes = self.spec.axes
        if depth == len(axes) - 1 and axes[-1].kernel <= _MOST_UNROLLED:
            for column in range(axes[-1].kernel):
                sums = tuple(tap(self.b.integer(column), pointers, sums))
            return sums
        if depth == len(axes) - 1:
            return self.b.loop(0, axes[-1].kernel, lambda column, sums: tap(column, pointers, sums), sums)
        x_step = self.size * axes[depth].dilation * math.prod(a.input for a in axes[depth + 1 :])
        w_step = self.size * math.prod(a.kernel for a in axes[depth + 1 :])

        def row(pointers: Registers, sums: Registers) -> Registers:
            return self._over_taps(pointers, taps, depth + 1, tap, sums)

        return over(self.b, taps[depth][1], (x_step, w_step), pointers, sums, row)
