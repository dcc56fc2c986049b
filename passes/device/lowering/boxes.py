"""Maps cut into boxes, and what a box of the result reads through a window."""

from __future__ import annotations

from collections.abc import Iterator

from tilewright.errors import PassError

from ....ir.annotations import TILE
from ....ir.core import Op
from ....ir.feature_map import MapShape, Window, map_shape
from ....ir.tile.places import Part
from ....runtime.machine import CHANNEL_BLOCK

Span = tuple[int, int]
"""Rows, columns or channels as (first, count)."""


def tile_annotation(op: Op) -> tuple[int, int, int, int]:
    """Rows, columns, output blocks and input blocks of an op's tile.

    Raises:
        PassError: it has none.
    """
    tile = TILE.get(op)
    if tile is None:
        raise PassError("the op has no tile", op=op.name, node=op.node, hint="Run tile_device first.")
    return tile


def pieces(extent: int, size: int) -> list[Span]:
    """[0, extent) in pieces of ``size``, the last one smaller."""
    return [(first, min(size, extent - first)) for first in range(0, extent, size)]


def channel_pieces(channels: int, blocks: int) -> list[Span]:
    """Channels in pieces of so many blocks of 16."""
    return pieces(channels, blocks * CHANNEL_BLOCK)


def boxes(shape: MapShape, rows: int, columns: int, slices: list[Span]) -> Iterator[Part]:
    """A map in boxes of so many rows and columns: image by image, each by slices of channels, rows, columns."""
    down, across = pieces(shape.height, rows), pieces(shape.width, columns)
    for image in range(shape.images):
        for channels in slices:
            for row in down:
                for column in across:
                    yield Part(image, row, column, channels)


def tiles_of(op: Op, part: MapShape | None = None) -> Iterator[Part]:
    """The tiles of an op's result, or of a part of it, in the order of :func:`boxes`."""
    rows, columns, blocks, _ = tile_annotation(op)
    shape = part or map_shape(op.result.type)
    return boxes(shape, rows, columns, channel_pieces(shape.channels, blocks))


def read_through(window: Window, shape: MapShape, box: Part) -> tuple[Part, tuple[int, int]]:
    """What a box of the result reads of a map of ``shape``, of its channels, and the origin of the window inside that.

    The origin is the row and the column of the first tap of the first window, negative where that lies in the padding.
    """
    rows, row = _span(window, 0, box.rows, shape.height)
    columns, column = _span(window, 1, box.columns, shape.width)
    return Part(box.image, rows, columns, box.channels), (row, column)


def _span(window: Window, axis: int, outputs: Span, extent: int) -> tuple[Span, int]:
    """Input rows (or columns) that outputs read, and the origin inside them.

    A window that lies in the padding altogether still gets one row.
    """
    first, count = outputs
    start = first * window.stride[axis] - window.begin[axis]
    reach = (count - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    low = min(max(start, 0), extent - 1)
    high = max(min(start + reach, extent), low + 1)
    return (low, high - low), start - low
