"""Maps cut into boxes, and what a box of the result reads through a window."""

from collections.abc import Iterator
from itertools import product
from math import gcd, lcm
from typing import NamedTuple

from tilewright.errors import PassError

from ...ir.annotations import CLUSTERS, IMAGES, SPLIT, TILE
from ...ir.core import Op, is_op
from ...ir.feature_map import WIDE, MapShape, Window
from ...ir.ops.skip_normalization import SkipLayerNorm
from ...ir.tile.places import Part
from ...ir.types import TensorType
from ...runtime.machines.machine import CHANNEL_BLOCK

Span = tuple[int, int]
"""Rows, columns or channels as (first, count)."""


def tile_annotation(op: Op) -> tuple[int, int, int, int]:
    """Rows, columns, output blocks and input blocks of an op's tile. Raises PassError: it has none."""
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


def blocks_together(type: TensorType) -> int:
    """How many blocks of a map are cut together: of 16 bits two, which hold the bytes of one."""
    return 2 if type.dtype in WIDE else 1


def blocks_made(op: Op) -> int:
    """How many blocks of the result of an op are made together at least: all groups of a normalisation are whole."""
    if is_op(op, SkipLayerNorm):
        channels = op.result.type.shape[op.operator.axis]
        size = channels // (op.operator.groups or 1)
        return -(-min(lcm(size, CHANNEL_BLOCK), channels) // CHANNEL_BLOCK)
    return blocks_together(op.result.type)


class Lane(NamedTuple):
    """What one cluster does of a map: some images, rows and columns of it, in slices of channels."""

    cluster: int
    tile: tuple[int, int]
    images: Span
    rows: Span
    columns: Span
    slices: list[Span]

    def boxes(self, slices: list[Span]) -> Iterator[Part]:
        """Its part in boxes of rows and columns: image by image, each by these slices of channels, rows, columns."""
        down = moved(pieces(self.rows[1], self.tile[0]), self.rows[0])
        across = moved(pieces(self.columns[1], self.tile[1]), self.columns[0])
        for image in range(self.images[0], sum(self.images)):
            for channels in slices:
                for rows in down:
                    for columns in across:
                        yield Part(image, rows, columns, channels)


def lanes_of(op: Op, shape: MapShape) -> list[Lane]:
    """How the clusters share out a map that is the result of an op, or a part of it, or has the same bytes."""
    rows, columns, blocks, _ = tile_annotation(op)
    clusters = (CLUSTERS.get(op.function) if op.function is not None else None) or 1
    spans = [[(0, extent)] for extent in shape]
    split = SPLIT.get(op)
    if split == "rows":
        spans[:2] = map(pieces, shape[:2], rows_of_clusters(shape, clusters))
    elif split == "channels":
        together = blocks_made(op)
        spans[3] = channel_pieces(shape.channels, -(-shape.blocks // clusters // together) * together)
    elif split == "images":
        assert op.function is not None
        spans[outer_dimension(shape)] = image_pieces(shape, IMAGES.get(op.function) or (1, 1))
    return [
        Lane(cluster, (rows, columns), images, down, across, moved(channel_pieces(channels[1], blocks), channels[0]))
        for cluster, (images, down, across, channels) in enumerate(product(*spans))
    ]


def rows_of_clusters(shape: MapShape, clusters: int) -> tuple[int, int]:
    """How many images, and how many rows of each, a cluster has of a map whose rows are shared out.

    Whole images as far as these can be shared out evenly: what a cluster has of a map then lies together, there are
    fewer halos, and fewer rows are left over."""
    groups = gcd(shape.images, clusters)
    return shape.images // groups, -(-shape.height // (clusters // groups))


def outer_dimension(shape: MapShape) -> int:
    """Along which dimension images follow each other: they may be taken as rows, or as pixels of a row."""
    return next((index for index in range(2) if shape[index] > 1), 2)


def image_pieces(shape: MapShape, images: tuple[int, int]) -> list[Span]:
    """A map in pieces of whole images along its outer dimension.
    ``images``: how many it holds, each as large as the others, and how many go into a piece."""
    count, together = images
    return pieces(shape[outer_dimension(shape)], shape[outer_dimension(shape)] // count * together)


def moved(spans: list[Span], distance: int) -> list[Span]:
    """Spans so much further on."""
    return [(first + distance, count) for first, count in spans]


def read_through(window: Window, shape: MapShape, box: Part) -> tuple[Part, tuple[int, int]]:
    """What a box of the result reads of a map of ``shape``, of its channels, and the origin of the window inside that.

    The origin is the row and the column of the first tap of the first window, negative where that lies in the padding.
    """
    rows, row = _span(window, 0, box.rows, shape.height)
    columns, column = _span(window, 1, box.columns, shape.width)
    return Part(box.image, rows, columns, box.channels), (row, column)


def rows_through(window: Window, outputs: Span, extent: int) -> Span:
    """The rows of a map of so many that rows of the result read."""
    return _span(window, 0, outputs, extent)[0]


def _span(window: Window, axis: int, outputs: Span, extent: int) -> tuple[Span, int]:
    """Input rows (or columns) that outputs read, and the origin inside them.

    A window that lies in the padding altogether still gets one row."""
    first, count = outputs
    start = first * window.stride[axis] - window.begin[axis]
    reach = (count - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    low = min(max(start, 0), extent - 1)
    high = max(min(start + reach, extent), low + 1)
    return (low, high - low), start - low
