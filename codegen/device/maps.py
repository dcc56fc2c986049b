"""Feature maps in DRAM, and the boxes of them that tiles load and store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tilewright.errors import CodegenError

from ...ir.annotations import DRAM, INPUTS, TILE, MapAddress
from ...ir.core import Function, Op, Value
from ...ir.feature_map import MapShape, map_shape
from ...ir.types import DType
from ...runtime.artifact.manifest import FeatureMapRef
from ...runtime.machine import CHANNEL_BLOCK

REGIONS = ("constants", "scratch", "input", "output")
"""DRAM regions of a device program, by index."""


@dataclass(frozen=True)
class MapView:
    """A feature map, or some channels of one, in DRAM. All distances are bytes; an element is one byte.

    Attributes:
        region: index into ``REGIONS``.
        offset: of channel 0 of pixel (0, 0) of image 0.
        shape: images, rows, columns, channels.
        pixel: from pixel to pixel; rows and images follow without gaps.
        padded: whether the channels that fill the last block of 16 may be read and written with the rest.
        flip: whether DRAM holds u8; on chip everything is i8, with the zero point 128 less.
    """

    region: int
    offset: int
    shape: MapShape
    pixel: int
    padded: bool
    flip: bool

    @property
    def row(self) -> int:
        return self.shape.width * self.pixel

    @property
    def image(self) -> int:
        return self.shape.height * self.row

    @property
    def is_packed(self) -> bool:
        """Whether pixels follow each other without padding although their channels fill no block."""
        return self.pixel == self.shape.channels and self.pixel % CHANNEL_BLOCK != 0

    @property
    def reference(self) -> FeatureMapRef:
        """What the runtime must know of an input or output."""
        return FeatureMapRef(self.offset, tuple(self.shape), self.pixel)

    def channels(self, first: int, count: int) -> MapView:
        """The view of ``count`` channels from ``first`` on."""
        fills = first % CHANNEL_BLOCK == 0 and first + count == self.shape.channels
        return replace(
            self,
            offset=self.offset + first,
            shape=self.shape._replace(channels=count),
            padded=self.padded and (fills or count % CHANNEL_BLOCK == 0),
        )

    def address(self, image: int, row: int, column: int, channel: int = 0) -> int:
        """Byte offset of an element inside the region."""
        return self.offset + image * self.image + row * self.row + column * self.pixel + channel

    def run(self, first: int, count: int) -> int:
        """Bytes to move for channels [first, first + count) of a pixel: with padding where that is allowed."""
        if self.padded and first % CHANNEL_BLOCK == 0 and first + count == self.shape.channels:
            return -(-count // CHANNEL_BLOCK) * CHANNEL_BLOCK
        return count


@dataclass(frozen=True)
class Box:
    """Part of an image: rows, columns and channels as (first, count)."""

    image: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    channels: tuple[int, int]

    @property
    def blocks(self) -> int:
        """Channels in blocks of 16."""
        return -(-self.channels[1] // CHANNEL_BLOCK)

    @property
    def chip_bytes(self) -> int:
        """Bytes in the maps scratchpad, where every pixel is padded to whole blocks."""
        return self.rows[1] * self.columns[1] * self.blocks * CHANNEL_BLOCK

    @property
    def size(self) -> dict[str, int]:
        """The fields of an instruction that computes the box."""
        return {"height": self.rows[1], "width": self.columns[1], "blocks": self.blocks}

    def pitches(self, prefix: str = "") -> dict[str, int]:
        """The fields that say how the box lies on chip, where pixels and rows follow each other without gaps."""
        return {f"{prefix}row_pitch": self.columns[1] * self.blocks, f"{prefix}pixel_pitch": self.blocks}


def _view(value: Value, address: MapAddress | None) -> MapView:
    if address is None:
        raise CodegenError(f"%{value.name} has no address in device memory", hint="Run plan_device_memory first.")
    flip = address.region in ("input", "output") and value.type.dtype is DType.U8
    return MapView(
        REGIONS.index(address.region), address.offset, map_shape(value.type), address.pixel, address.padded, flip
    )


def views_of(function: Function) -> dict[Value, MapView]:
    """Where every feature map of a planned device function lies."""
    inputs = INPUTS.get(function)
    if inputs is None:
        raise CodegenError(
            "the device function has no memory plan", op=f"@{function.name}", hint="Run plan_device_memory first."
        )
    views = {value: _view(value, address) for value, address in zip(function.parameters, inputs, strict=True)}
    for op in function.ops:
        views[op.result] = _view(op.result, DRAM.get(op))
    # A part of an output buffer holds what the whole buffer holds.
    for op in function.ops:
        if op.result.type.dtype is DType.U8 and views[op.result].region == REGIONS.index("output"):
            views[op.result] = replace(views[op.result], flip=True)
    return views


def tile_annotation(op: Op) -> tuple[int, int, int, int]:
    """Rows, columns, output blocks and input blocks of an op's tile.

    Raises:
        CodegenError: it has none.
    """
    tile = TILE.get(op)
    if tile is None:
        raise CodegenError("the op has no tile", op=op.name, node=op.node, hint="Run tile_device first.")
    return tile


def pieces(extent: int, size: int) -> list[tuple[int, int]]:
    """[0, extent) in pieces of ``size``, the last one smaller, as (first, count)."""
    return [(first, min(size, extent - first)) for first in range(0, extent, size)]


def tiles_of(op: Op, part: MapShape | None = None) -> Iterator[Box]:
    """The tiles of an op's result, or of a part of it, image by image, each by channels, rows, columns."""
    rows, columns, blocks, _ = tile_annotation(op)
    shape = part or map_shape(op.result.type)
    for image in range(shape.images):
        for channels in pieces(shape.channels, blocks * CHANNEL_BLOCK):
            for row in pieces(shape.height, rows):
                for column in pieces(shape.width, columns):
                    yield Box(image, row, column, channels)
