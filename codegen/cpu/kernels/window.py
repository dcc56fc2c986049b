"""Geometry of windows that slide over an image: what a row of output pixels reads, without any padding in memory.

Along x, where kernels are unrolled, taps that fall outside of the image are left out when generating: a row is cut
into tiles, and each kernel column knows which pixels of a tile it reaches. Along y the valid rows of the kernel are
a range that is computed for each output row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.types import Register


@dataclass(frozen=True)
class Axis:
    """One spatial dimension of a window operator.

    Attributes:
        input, output: extents of the two images.
        kernel, stride, dilation: of the window.
        before: padding at the beginning; what the end needs follows from the extents.
    """

    input: int
    output: int
    kernel: int
    stride: int
    dilation: int
    before: int

    def reach(self, tap: int, first: int, count: int) -> tuple[int, int]:
        """Those of the pixels ``first`` to ``first + count`` whose tap lies in the image, counted from ``first``."""
        offset = tap * self.dilation - self.before + first * self.stride
        low = max(0, -(offset // self.stride))
        high = min(count, (self.input - 1 - offset) // self.stride + 1)
        return (low, high) if low < high else (0, 0)

    @cached_property
    def is_padded(self) -> bool:
        """Whether any tap of any pixel falls outside of the image."""
        return any(self.reach(tap, 0, self.output) != (0, self.output) for tap in range(self.kernel))

    @property
    def always_reaches(self) -> bool:
        """Whether every pixel has at least one tap in the image."""
        reached = [False] * self.output
        for tap in range(self.kernel):
            low, high = self.reach(tap, 0, self.output)
            reached[low:high] = [True] * (high - low)
        return all(reached)

    def valid_taps(self, builder: FunctionBuilder, pixel: Integer) -> tuple[Register, Register]:
        """First tap of a pixel that lies in the image, and the number of such taps (not above 0 for none)."""
        b = builder
        if not self.is_padded:
            return b.integer(0), b.integer(self.kernel)
        start = b.subtract(b.multiply(pixel, self.stride), self.before)
        first = b.divide(b.maximum(b.subtract(self.dilation - 1, start), 0), self.dilation)
        room = b.maximum(b.subtract(self.input - 1 + self.dilation, start), 0)
        last = b.minimum(b.divide(room, self.dilation), self.kernel)
        return first, b.subtract(last, first)


@dataclass(frozen=True)
class Run:
    """Consecutive kernel columns that reach the same pixels [low, high) of a tile."""

    first: int
    count: int
    low: int
    high: int


@dataclass(frozen=True)
class Tile:
    """So many neighbouring output pixels, and what the kernel columns reach of them."""

    pixels: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class TileRow:
    """``count`` equal tiles side by side, the first of them at pixel ``start``."""

    tile: Tile
    start: int
    count: int


def tile_at(axis: Axis, start: int, pixels: int) -> Tile:
    """The tile of so many pixels at ``start``."""
    reaches = [axis.reach(tap, start, pixels) for tap in range(axis.kernel)]
    runs = []
    for (low, high), taps in groupby(range(axis.kernel), lambda tap: reaches[tap]):
        members = list(taps)
        if low < high:
            runs.append(Run(members[0], len(members), low, high))
    return Tile(pixels, tuple(runs))


def cut(axis: Axis, pixels: int) -> list[TileRow]:
    """Cut a row of output pixels into tiles of at most ``pixels``, about equal ones."""
    count = -(-axis.output // pixels)
    small, larger = divmod(axis.output, count)
    rows: list[TileRow] = []
    start = 0
    for index in range(count):
        size = small + (index < larger)
        tile = tile_at(axis, start, size)
        if rows and rows[-1].tile == tile:
            rows[-1] = TileRow(tile, rows[-1].start, rows[-1].count + 1)
        else:
            rows.append(TileRow(tile, start, 1))
        start += size
    return rows
