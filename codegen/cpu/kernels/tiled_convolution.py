"""Direct convolution on the tiles of AMX.

What some output rows see of the image is copied into work memory, where 64 bytes of a pixel lie side by side, padding
included; all output channels then go over it. Neighbouring output pixels are the rows of tiles, and each tap of the
window is a step further on in the copy (:mod:`.products.tile_product`). Where pixels are smaller than a tile, taps of a
row that lie side by side share one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK
from ....ir.ops.convolution import Conv
from ....ir.types import DType
from ..constants import aligned
from ..kernel import Kernel
from ..llvm import tiles
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import signed_byte
from ..llvm.target import TargetDescription
from ..llvm.types import I1, I8, I64, Register, Registers, Type, constant
from .channel_tiles import ChannelTiles, WorkItem
from .output_channels import VECTOR_BYTES, channels_of
from .products.tile_product import (
    BLOCK_BYTES,
    Ending,
    OverRows,
    TileBlocks,
    TileSteps,
    each_four_rows,
    pays,
    signed_weights,
    tile_rows,
)
from .quantized_convolution import QuantizedConvolution
from .window import Axis
from .window_walk import Values

_ITEMS = 8
"""Work items that there are at least, as far as the image and the channels allow."""

_ITEM_TILES, _ITEM_VECTORS = 4, 4
"""Tiles of rows, and vectors of channels, that a work item has at least, as far as there are so many."""


_MOST_SCRATCH = 1 << 25
"""Bytes of the copy, beyond which far taps would make it mostly padding."""


@dataclass(frozen=True)
class PackedImage:
    """What some output rows see, as it is copied: [planes][rows][columns][a pixel].

    Attributes:
        rows, columns: windows of the convolution.
        channel_bytes: of a pixel, in whole blocks of channels.
        row_block: output rows.
    """

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
    def width(self) -> int:
        return self.extent(self.columns, self.columns.output)

    @property
    def row(self) -> int:
        """Bytes of a row, and below of a plane."""
        return self.width * self.pixel

    @property
    def plane(self) -> int:
        return aligned(self.extent(self.rows, self.row_block) * self.row)

    @property
    def is_line(self) -> bool:
        """Whether pixels of all output rows lie side by side, like those of one."""
        return self.rows.kernel == self.columns.kernel == 1 and self.step(self.rows) == self.step(self.columns) == 1

    @property
    def joins_taps(self) -> bool:
        """Whether taps of a kernel row share steps."""
        return self.columns.dilation == 1 and self.pixel < tiles.ROW_BYTES

    @cached_property
    def steps(self) -> TileSteps:
        runs, taps = (1, self.columns.kernel) if self.joins_taps else (self.columns.kernel, 1)
        across = self.columns.dilation * self.pixel
        rows = range(0, self.rows.kernel * self.rows.dilation * self.row, self.rows.dilation * self.row)
        planes = range(0, self.planes * self.plane, self.plane)
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


@dataclass(frozen=True)
class TiledConvolution(QuantizedConvolution):
    """The same as its base, but that the weights are read from ``tiles``: see :meth:`weights_of`.

    Attributes:
        product: the instruction; see :func:`..llvm.tiles.byte_product`.
    """

    product: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        *operands, y = super().arguments
        return (*operands, "tiles", y)

    @property
    def size(self) -> int:
        """Bytes of an element of the copy."""
        return 1

    def cut(self, target: TargetDescription) -> ChannelTiles:
        """Work items: enough rows and channels to fill blocks, few enough rows for the second level cache."""
        height, width, channels = self.rows.output, self.columns.output, self.outputs // self.groups
        row_bytes = self.input_blocks * CHANNEL_BLOCK * self.size * self.columns.input * self.rows.stride
        least = -(-_ITEM_TILES * tiles.ROWS // width)
        most = max(1, target.cache_bytes[1] // 2 // row_bytes)
        row_block = min(height, max(min(least, most), min(most, -(-height // _ITEMS))))
        row_block = -(-height // -(-height // row_block))
        parts = -(-_ITEMS // -(-height // row_block))
        vectors = max(_ITEM_VECTORS, -(-self.output_blocks // parts))
        return ChannelTiles(self.batch, self.groups, channels, CHANNEL_BLOCK, vectors, height, row_block)

    def image(self, cut: ChannelTiles) -> PackedImage:
        return PackedImage(self.rows, self.columns, self.input_blocks * CHANNEL_BLOCK * self.size, cut.row_block)

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
            return tile_rows(width)
        return min(tile_rows(cut.row_block * width), (cut.rows - (cut.row_blocks - 1) * cut.row_block) * width)

    def pays(self, target: TargetDescription) -> bool:
        """Whether it is estimated to take less time than its base."""
        cut = self.cut(target)
        image, rows = self.image(cut), self.tile_rows(cut)
        across = cut.row_block * (-(-self.columns.output // rows))
        if image.is_line:
            across = -(-cut.row_block * self.columns.output // rows)
        blocks = cut.row_blocks * -(-across // 2)
        packed = cut.row_blocks * cut.in_group * image.planes * image.plane // image.pixel
        if image.planes * image.plane > _MOST_SCRATCH:
            return False
        return pays(self.work, image.steps, rows, blocks, packed, target)

    @property
    def source(self) -> Type:
        """A block of channels of a pixel of x."""
        return I8.of(CHANNEL_BLOCK)

    def copied(self, b: FunctionBuilder, value: Register) -> Register:
        """What becomes of it in the copy."""
        return value

    def ending(self, rows: int) -> Ending:
        """Store the results of tiles of so many neighbouring pixels."""
        plane = self.rows.output * self.columns.output * CHANNEL_BLOCK

        def stored(b: FunctionBuilder, values: Values, column: int, _: int, sums: Register, y: Register) -> None:
            y = b.at(y, column * plane)

            def some(first: Register, totals: Registers) -> None:
                self.requantize(b, values, column, totals, (), b.at(y, b.multiply(first, CHANNEL_BLOCK)))

            each_four_rows(b, rows, sums, some)

        return stored


class _Walker:
    """The kernel's function."""

    def __init__(self, spec: TiledConvolution, target: TargetDescription) -> None:
        self.spec, self.cut = spec, spec.cut(target)
        self.image, self.rows = spec.image(self.cut), spec.tile_rows(self.cut)
        self.b, self.arguments = spec.entry(target, writes=("residual", "y"))
        stride = self.image.step(spec.columns) * self.image.pixel
        self.blocks = TileBlocks(self.b, spec.product, self.image.steps, self.rows, stride, spec.ending(self.rows))
        self.y_pixel = spec.element.bytes * CHANNEL_BLOCK

    def generate(self) -> Kernel:
        b, image = self.b, self.image
        tiles.configure(b, self.rows, image.steps.inner)
        self.cut.walk(b, self.arguments, self._item)
        tiles.release(b)
        scratch = BLOCK_BYTES + image.planes * image.plane
        return self.spec.finish(b, self.blocks.finish(), units=self.cut.units, scratch_bytes=scratch)

    def _item(self, item: WorkItem, vectors: int, _: int) -> None:
        """All pixels of some rows, for some vectors of channels."""
        b, spec, image, arguments = self.b, self.spec, self.image, self.arguments
        self._pack(item)
        plane = spec.rows.output * spec.columns.output * self.y_pixel
        block = b.add(b.multiply(item.image, spec.groups * spec.output_blocks), item.block)
        x, scratch = b.at(arguments["scratch"], BLOCK_BYTES), arguments["scratch"]
        width, height = spec.columns.output, b.subtract(item.last_row, item.first_row)
        across, pixels = -(-width // self.rows), b.multiply(height, width)
        total = b.divide(b.add(pixels, self.rows - 1), self.rows) if image.is_line else b.multiply(height, across)

        def columns(first: Register, over_rows: OverRows) -> None:
            y = b.at(arguments["y"], b.multiply(b.add(block, first), plane))
            first = b.add(item.block, first)
            tables = {n: b.at(arguments[n], b.multiply(first, VECTOR_BYTES)) for n in ("start", "factors")}
            w = b.at(arguments["tiles"], b.multiply(first, image.steps.vector_bytes))

            def of_tile(tile: Register) -> Values:
                if image.is_line:
                    pixel = b.minimum(b.multiply(tile, self.rows), b.subtract(pixels, self.rows))
                    offset = b.multiply(pixel, image.pixel)
                else:
                    row = b.divide(tile, across)
                    column = b.minimum(b.multiply(b.remainder(tile, across), self.rows), width - self.rows)
                    pixel = b.add(b.multiply(row, width), column)
                    offset = b.multiply(row, image.step(spec.rows) * image.row)
                    offset = b.add(offset, b.multiply(column, image.step(spec.columns) * image.pixel))
                pixel = b.add(b.multiply(item.first_row, width), pixel)
                return {"x": b.at(x, offset), "y": b.at(y, b.multiply(pixel, self.y_pixel))}

            over_rows({"w": w, **tables, "scratch": scratch}, total, of_tile)

        self.blocks.over_columns(vectors, CHANNEL_BLOCK, columns)

    def _pack(self, item: WorkItem) -> None:
        """Copy what the output rows of an item see."""
        b, spec, image = self.b, self.spec, self.image
        target = b.at(self.arguments["scratch"], BLOCK_BYTES)
        rows, columns = spec.rows, spec.columns
        if rows.is_padded or columns.is_padded:
            fill, size = constant(I8, signed_byte(spec.fill)), constant(I64, image.planes * image.plane)
            b.intrinsic("llvm.memset.p0.i64", None, [target, fill, size, constant(I1, False)])
        source_row = columns.input * spec.x_pixel
        block_bytes = rows.input * source_row
        group = b.add(b.multiply(item.image, spec.groups), item.group)
        x = b.at(self.arguments["x"], b.multiply(b.multiply(group, spec.input_blocks), block_bytes))
        step, across = image.source_step(rows), image.source_step(columns)
        top = b.subtract(b.multiply(item.first_row, rows.stride), rows.before)
        count = b.add(b.multiply(b.subtract(item.last_row, item.first_row), image.step(rows)), image.extent(rows, 0))
        left = max(0, columns.before)
        right = min(image.width, -(-(columns.input + columns.before) // across))
        in_plane = image.pixel // (CHANNEL_BLOCK * spec.size)

        def plane(index: Register, blocks: int) -> None:
            source = b.at(x, b.multiply(index, in_plane * block_bytes))
            plane = b.at(target, b.multiply(index, image.plane))

            def row(y: Register) -> None:
                line = b.at(source, b.multiply(b.add(top, b.multiply(y, step)), source_row))
                copy = b.at(plane, b.multiply(y, image.row))

                def pixel(x: Register) -> None:
                    column = b.subtract(b.multiply(x, across), columns.before)
                    for block in range(blocks):
                        value = b.load(spec.source, b.at(line, b.multiply(column, spec.x_pixel), block * block_bytes))
                        value = spec.copied(b, value)
                        b.store(value, b.at(copy, b.multiply(x, image.pixel), block * value.type.bytes))

                b.each(left, right, pixel)

            first, last = (
                (b.integer(0), count)
                if not rows.is_padded
                else (
                    b.maximum(b.subtract(0, top), 0),
                    b.minimum(count, b.subtract(rows.input, top)),
                )
            )
            b.each(first, last, row)

        whole = spec.input_blocks // in_plane
        b.each(0, whole, lambda index: plane(index, in_plane))
        if spec.input_blocks % in_plane:
            plane(b.integer(whole), spec.input_blocks % in_plane)


def tiled_convolution(op: Op[Conv], spec: QuantizedConvolution, target: TargetDescription) -> Kernel | None:
    """The kernel on tiles for a convolution of bytes in blocked layouts, where the processor has them and that pays."""
    is_possible = tiles.has_tiles(target, "tdpbusd") and not spec.plain_input
    found = signed_weights(op) if is_possible else None
    if found is None:
        return None
    weights, is_signed = found
    constants = replace(channels_of(op, flips=False).without_zeros, missing=())
    product = tiles.byte_product(op.operands.x.type.dtype is DType.I8, is_signed)
    tiled = TiledConvolution(**{**vars(spec), "constants": constants}, product=product)
    return tiled.kernel(target).reading(tiled.weights_of(weights, target)) if tiled.pays(target) else None
