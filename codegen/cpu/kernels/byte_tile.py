"""Tiles of output pixels that read bytes four at a time, and which of the four lie in the image.

Four bytes are four channels of one pixel, all of them in the image or none; or four neighbours of a row, of which some
may lie beyond its ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....ir.layout import QUAD
from .window import Axis

ALL = (1 << QUAD) - 1
"""Every byte is in the image."""


@dataclass(frozen=True)
class ByteTile:
    """So many neighbouring output pixels, and what they read.

    Attributes:
        columns: for each step along the kernel and each pixel, a bit for each of the four bytes that is in the image.
    """

    pixels: int
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ByteTileRow:
    """``count`` equal tiles side by side, the first of them at pixel ``start``."""

    tile: ByteTile
    start: int
    count: int


def byte_tile(axis: Axis, start: int, pixels: int, *, neighbours: bool) -> ByteTile:
    """The tile of so many pixels at ``start``; four bytes are ``neighbours`` of a row, or channels of a pixel."""

    def is_inside(pixel: int, tap: int) -> bool:
        return 0 <= (start + pixel) * axis.stride - axis.before + tap * axis.dilation < axis.input

    if not neighbours:
        columns = [[ALL * is_inside(p, tap) for p in range(pixels)] for tap in range(axis.kernel)]
    else:
        columns = [
            [sum(is_inside(p, first + i) << i for i in range(QUAD)) for p in range(pixels)]
            for first in range(0, axis.kernel, QUAD)
        ]
    return ByteTile(pixels, tuple(map(tuple, columns)))


def cut_bytes(axis: Axis, pixels: int, *, neighbours: bool) -> list[ByteTileRow]:
    """Cut a row of output pixels into tiles of at most ``pixels``, about equal ones."""
    count = -(-axis.output // pixels)
    small, larger = divmod(axis.output, count)
    rows: list[ByteTileRow] = []
    start = 0
    for index in range(count):
        size = small + (index < larger)
        tile = byte_tile(axis, start, size, neighbours=neighbours)
        if rows and rows[-1].tile == tile:
            rows[-1] = ByteTileRow(tile, rows[-1].start, rows[-1].count + 1)
        else:
            rows.append(ByteTileRow(tile, start, 1))
        start += size
    return rows
