"""Direct convolution on the tiles of AMX.

What some output rows see of the image is copied into work memory, where 64 bytes of a pixel lie side by side, padding
included; all output channels then go over it, those of the next work items, too. Neighbouring output pixels are the
rows of tiles, and each tap of the window is a step further on in the copy (:mod:`.products.tile_product`). Where pixels
are smaller than a tile, taps of a row that lie side by side share one.
"""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from tilewright.blocks import cached_property
from tilewright.immutable import Immutable

from .....ir.layout import CHANNEL_BLOCK
from ...constants import aligned
from ...kernel import Kernel
from ...llvm import tiles
from ...llvm.builder import FunctionBuilder
from ...llvm.quantized_math import signed_byte
from ...llvm.target import TargetDescription
from ...llvm.types import I1, I8, I64, Register, Registers, Type, constant
from ..channel_tiles import ChannelTiles, WorkItem
from ..products.blocking import PARTS
from ..products.tile_product import BLOCK_BYTES, Ending, OverRows, TileBlocks, TileSteps, tile_rows
from ..window import Axis
from ..window_walk import Values, WindowSpec

_ITEMS = 8
"""Work items that there are at least, as far as the image and the channels allow."""

_ITEM_TILES, _ITEM_VECTORS = 4, 4
"""Tiles of rows, and vectors of channels, that a work item has at least, as far as there are so many."""

_FEW_PIXELS = 256
"""Of an image up to which work items are channels of all its rows: several last pairs of tiles would be half empty, and
weights, of which there are many then, be read several times."""


class PackedImage(Immutable):
    """What some output rows see, as it is copied: [planes][rows][columns][a pixel]; where rows are short, the pixels
    that each tap of a row meets in a plane of their own.
    ``rows``, ``columns``: windows of the convolution.
    ``channel_bytes``: of a pixel, in whole blocks of channels.
    ``row_block``: output rows."""

    rows: Axis
    columns: Axis
    channel_bytes: int
    row_block: int

    @property
    def pixel(self) -> int:
        """Bytes of a pixel in a plane."""
        return min(self.channel_bytes, tiles.ROW_BYTES)

    @property
    def planes(self) -> int:
        return -(-self.channel_bytes // self.pixel)

    @staticmethod
    def source_step(axis: Axis) -> int:
        """How far apart neighbours of the copy are in the image: windows of one tap skip what none of them sees."""
        return axis.stride if axis.kernel == 1 and not axis.is_padded else 1

    @staticmethod
    def step(axis: Axis) -> int:
        """How far apart neighbouring windows are in the copy."""
        return axis.stride // PackedImage.source_step(axis)

    @staticmethod
    def extent(axis: Axis, outputs: int) -> int:
        return (outputs - 1) * PackedImage.step(axis) + (axis.kernel - 1) * axis.dilation + 1

    @property
    def parts_taps(self) -> bool:
        """Whether taps of a row have planes of their own: so pixels of several short rows lie side by side."""
        is_short = 1 < self.columns.output <= tiles.ROWS // 2 and self.step(self.rows) == 1
        return is_short and self.columns.kernel > 1 and self.pixel == tiles.ROW_BYTES

    @property
    def copies(self) -> int:
        """Planes for each one of channels."""
        return self.columns.kernel if self.parts_taps else 1

    @property
    def width(self) -> int:
        return self.columns.output if self.parts_taps else self.extent(self.columns, self.columns.output)

    @property
    def x_stride(self) -> int:
        """Bytes from pixel to pixel of a tile."""
        return self.pixel if self.parts_taps else self.step(self.columns) * self.pixel

    @property
    def row(self) -> int:
        """Bytes of a row, and below of a plane."""
        return self.width * self.pixel

    @property
    def plane(self) -> int:
        return aligned(self.extent(self.rows, self.row_block) * self.row)

    @property
    def bytes(self) -> int:
        return self.planes * self.copies * self.plane

    @property
    def is_line(self) -> bool:
        """Whether pixels of all output rows lie side by side, like those of one."""
        is_pointwise = self.rows.kernel == self.columns.kernel == 1
        return self.parts_taps or (is_pointwise and self.step(self.rows) == self.step(self.columns) == 1)

    @property
    def joins_taps(self) -> bool:
        """Whether taps of a kernel row share steps."""
        return self.columns.dilation == 1 and self.pixel < tiles.ROW_BYTES

    @cached_property
    def steps(self) -> TileSteps:
        runs, taps = (1, self.columns.kernel) if self.joins_taps else (self.columns.kernel, 1)
        across = self.plane if self.parts_taps else self.columns.dilation * self.pixel
        rows = range(0, self.rows.kernel * self.rows.dilation * self.row, self.rows.dilation * self.row)
        planes = range(0, self.bytes, self.copies * self.plane)
        return TileSteps(
            taps * self.pixel, tuple(p + y + x * across for p in planes for y in rows for x in range(runs))
        )

    def runs(self, weights: np.ndarray) -> np.ndarray:
        """Weights [outputs, inputs, rows, columns] in the order of :class:`TileSteps`: [outputs, runs, elements]."""
        outputs, inputs, height, width = weights.shape
        depth = self.pixel // weights.itemsize
        weights = np.pad(weights, ((0, 0), (0, self.planes * depth - inputs), (0, 0), (0, 0)))
        weights = weights.reshape(outputs, self.planes, depth, height, width).transpose(0, 1, 3, 4, 2)
        return weights.reshape(outputs, -1, self.steps.run // weights.itemsize)


class Source(NamedTuple):
    """Pixels as x has them.
    ``planes``: of x, each with a part of every pixel.
    ``copied_bytes``: of a pixel in the copy, all parts together."""

    planes: int
    part: Type
    copied_bytes: int


class TiledWindow(WindowSpec):
    """Base: convolution over an image in layout ``c16``, of which subclasses say what becomes of the sums.

    Arguments: as others of its kind, and before the result ``tiles``, from which weights are read: see
    :meth:`weights_of`.
    ``outputs``, ``groups``: as for :class:`.direct_convolution.DirectConvolution`.
    ``product``: the instruction; see :mod:`..llvm.tiles`."""

    SIZE: ClassVar[int] = 1
    """Bytes of an element of the copy."""

    outputs: int
    groups: int
    product: str

    @property
    def arguments(self) -> tuple[str, ...]:
        *operands, y = super().arguments
        return (*operands, "tiles", y)

    @property
    def input_blocks(self) -> int:
        """Blocks of channels in a group, and below of output channels."""
        return -(-(self.channels // self.groups) // CHANNEL_BLOCK)

    @property
    def output_blocks(self) -> int:
        return -(-(self.outputs // self.groups) // CHANNEL_BLOCK)

    @property
    def fill(self) -> int:
        """Each byte of padding."""
        return 0

    @property
    def source(self) -> Source:
        """Where pixels of a group come from."""
        blocks = self.input_blocks
        return Source(blocks, self.element.of(CHANNEL_BLOCK), blocks * CHANNEL_BLOCK * self.SIZE)

    @property
    def reads_x(self) -> bool:
        """Whether tiles read x where it lies, which is as a copy would be."""
        return False

    def placement(self, name: str) -> tuple[int, int, int]:
        """Of the result or residual: bytes from block to block on average, from pixel to pixel, and from the first
        block of a pair to the second one."""
        size = self.element.bytes * CHANNEL_BLOCK
        plane = self.rows.output * self.columns.output * size
        return plane, size, plane

    @abstractmethod
    def copied(self, b: FunctionBuilder, part: Register) -> Register:
        """What becomes in the copy of a part of a pixel."""

    def copy_row(
        self, b: FunctionBuilder, lines: Registers, copy: Register, pixels: int, distances: tuple[int, int]
    ) -> None:
        """Copy pixels of a row.
        ``lines``: where the first of them lies in each plane.
        ``distances``: bytes from pixel to pixel in a plane and in the copy."""
        source, target = distances

        def pixel(index: Register) -> None:
            place, from_first = b.at(copy, b.multiply(index, target)), b.multiply(index, source)
            for number, line in enumerate(lines):
                value = self.copied(b, b.load(self.source.part, b.at(line, from_first)))
                b.store(value, place, number * value.type.bytes)

        b.each(0, pixels, pixel)

    @abstractmethod
    def of_columns(self, b: FunctionBuilder, arguments: Values, block: Register, vector_bytes: int) -> Values:
        """What a block takes for vectors of channels from ``block`` on, of ``vector_bytes`` of packed weights each:
        ``w``, ``start``, and what :meth:`ending` reads."""

    @abstractmethod
    def ending(self, rows: int) -> Ending:
        """Store the results of tiles of so many neighbouring pixels."""

    def cut(self, target: TargetDescription) -> ChannelTiles:
        """Work items: enough rows and channels to fill blocks, few enough rows for the second level cache."""
        height, width, channels = self.rows.output, self.columns.output, self.outputs // self.groups
        # Absent channels of bytes may hold anything.
        channels = channels if self.element.is_float else self.output_blocks * CHANNEL_BLOCK
        seen = max(self.columns.input, PackedImage.extent(self.columns, width))
        row_bytes = self.source.copied_bytes * seen * self.rows.stride
        least = -(-_ITEM_TILES * tiles.ROWS // width)
        most = max(1, target.cache_bytes[1] // 2 // row_bytes)
        row_block = min(height, max(min(least, most), min(most, -(-height // _ITEMS))))
        row_block = -(-height // -(-height // row_block))
        parts, least_vectors = -(-_ITEMS // -(-height // row_block)), _ITEM_VECTORS
        if height * width <= _FEW_PIXELS and height <= most and self.output_blocks >= 2 * PARTS:
            row_block, parts, least_vectors = height, _ITEMS, 2
        # Blocks take pairs of vectors.
        vectors = -(-max(least_vectors, -(-self.output_blocks // parts)) // 2) * 2
        return ChannelTiles(self.batch, self.groups, channels, CHANNEL_BLOCK, vectors, height, row_block)

    def image(self, cut: ChannelTiles) -> PackedImage:
        rows = self.rows.output if self.reads_x else cut.row_block
        return PackedImage(self.rows, self.columns, self.source.copied_bytes, rows)

    def weights_of(self, weights: np.ndarray, target: TargetDescription) -> bytes:
        """What the kernel reads in place of weights [outputs, inputs, *window]."""
        image = self.image(self.cut(target))
        window = self.rows.kernel, self.columns.kernel
        return image.steps.packed(image.runs(weights.reshape(*weights.shape[:2], *window)))

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()

    def tile_rows(self, cut: ChannelTiles) -> int:
        """Rows of tiles; the last work item has as many pixels at least."""
        width = self.columns.output
        if not self.image(cut).is_line:
            return tile_rows(width, self.product)
        return min(
            tile_rows(cut.row_block * width, self.product), (cut.rows - (cut.row_blocks - 1) * cut.row_block) * width
        )


class _Walker:
    """The kernel's function."""

    def __init__(self, spec: TiledWindow, target: TargetDescription) -> None:
        self.spec, self.cut = spec, spec.cut(target)
        self.image, self.rows = spec.image(self.cut), spec.tile_rows(self.cut)
        self.b, self.arguments = spec.entry(target, writes=("y",))
        ending, stride = spec.ending(self.rows), self.image.x_stride
        self.blocks = TileBlocks(self.b, spec.product, self.image.steps, self.rows, stride, ending)
        self.present = self.b.allocate(I64)
        self.outputs = [name for name in ("residual", "y") if name in self.arguments]

    def generate(self) -> Kernel:
        b, image, cut = self.b, self.image, self.cut
        b.store(constant(I64, -1), self.present)
        self.blocks.begin()
        cut.walk(b, self.arguments, self._item)
        scratch, common = (BLOCK_BYTES, 1) if self.spec.reads_x else (BLOCK_BYTES + image.bytes, cut.in_group)
        return self.spec.finish(b, self.blocks.finish(), units=cut.units, scratch_bytes=scratch, common=common)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        """All pixels of some rows, for some vectors of channels."""
        b, spec, image, arguments = self.b, self.spec, self.image, self.arguments
        x, scratch = b.at(arguments["scratch"], BLOCK_BYTES), arguments["scratch"]
        if spec.reads_x:
            x = b.at(arguments["x"], b.multiply(item.image, image.bytes), b.multiply(item.first_row, image.row))
        else:
            group = b.add(b.multiply(item.image, spec.groups), item.group)
            copied = b.add(b.multiply(group, spec.rows.output), item.first_row)

            def pack() -> None:
                self._pack(item)
                b.store(copied, self.present)

            b.if_(b.compare("ne", b.load(I64, self.present), copied), pack)
        block = b.add(b.multiply(item.image, spec.groups * spec.output_blocks), item.block)
        width, height = spec.columns.output, b.subtract(item.last_row, item.first_row)
        across, pixels = -(-width // self.rows), b.multiply(height, width)
        total = b.divide(b.add(pixels, self.rows - 1), self.rows) if image.is_line else b.multiply(height, across)

        def columns(first: Register, over_rows: OverRows) -> None:
            values = spec.of_columns(b, arguments, b.add(item.block, first), image.steps.vector_bytes)

            def of_tile(tile: Register) -> Values:
                if image.is_line:
                    pixel = b.minimum(b.multiply(tile, self.rows), b.subtract(pixels, self.rows))
                    offset = b.multiply(pixel, image.pixel)
                else:
                    row = b.divide(tile, across)
                    column = b.minimum(b.multiply(b.remainder(tile, across), self.rows), width - self.rows)
                    pixel = b.add(b.multiply(row, width), column)
                    offset = b.multiply(row, image.step(spec.rows) * image.row)
                    offset = b.add(offset, b.multiply(column, image.x_stride))
                pixel = b.add(b.multiply(item.first_row, width), pixel)
                values = {"x": b.at(x, offset)}
                for name in self.outputs:
                    of_block, of_pixel, _ = spec.placement(name)
                    place = b.multiply(b.add(block, first), of_block), b.multiply(pixel, of_pixel)
                    values[name] = b.at(arguments[name], *place)
                return values

            over_rows({**values, "scratch": scratch}, total, of_tile)

        self.blocks.over_columns(vectors, CHANNEL_BLOCK if spec.keeps_zero else active, columns)

    def _pack(self, item: WorkItem) -> None:
        """Copy what the output rows of an item see."""
        b, spec, image = self.b, self.spec, self.image
        target = b.at(self.arguments["scratch"], BLOCK_BYTES)
        rows, columns = spec.rows, spec.columns
        planes, part, copied_bytes = spec.source
        in_plane = image.pixel * planes // copied_bytes
        # What is no channel must not be NaN.
        if rows.is_padded or columns.is_padded or (spec.element.is_float and planes % in_plane):
            fill, size = constant(I8, signed_byte(spec.fill)), constant(I64, image.bytes)
            b.intrinsic("llvm.memset.p0.i64", None, [target, fill, size, constant(I1, False)])
        source_row = columns.input * part.bytes
        part_bytes = rows.input * source_row
        group = b.add(b.multiply(item.image, spec.groups), item.group)
        x = b.at(self.arguments["x"], b.multiply(b.multiply(group, planes), part_bytes))
        step = image.source_step(rows)
        top = b.subtract(b.multiply(item.first_row, rows.stride), rows.before)
        count = b.add(b.multiply(b.subtract(item.last_row, item.first_row), image.step(rows)), image.extent(rows, 0))
        # By copy: the first pixel and the one behind the last that lie in the image, and where the first lies there.
        if image.parts_taps:
            across, reaches = columns.stride, [columns.reach(tap) for tap in range(columns.kernel)]
            pieces = [(*r, r[0] * across + tap * columns.dilation - columns.before) for tap, r in enumerate(reaches)]
        else:
            across, left = image.source_step(columns), max(0, columns.before)
            right = min(image.width, -(-(columns.input + columns.before) // across))
            pieces = [(left, right, left * across - columns.before)]
        distances = across * part.bytes, image.pixel

        def plane(index: Register, parts: int) -> None:
            source = b.at(x, b.multiply(index, in_plane * part_bytes))
            plane = b.at(target, b.multiply(index, image.copies * image.plane))

            def row(y: Register) -> None:
                line, copy = b.multiply(b.add(top, b.multiply(y, step)), source_row), b.multiply(y, image.row)
                for copied, (left, right, start) in enumerate(pieces):
                    first = b.at(source, line, start * part.bytes)
                    lines = tuple(b.at(first, number * part_bytes) for number in range(parts))
                    place = b.at(plane, copy, copied * image.plane + left * image.pixel)
                    spec.copy_row(b, lines, place, right - left, distances)

            b.each(b.maximum(b.subtract(0, top), 0), b.minimum(count, b.subtract(rows.input, top)), row)

        whole = planes // in_plane
        b.each(0, whole, lambda index: plane(index, in_plane))
        if planes % in_plane:
            plane(b.integer(whole), planes % in_plane)
