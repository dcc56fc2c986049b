"""Geometry of windows that slide over an image: what a row of output pixels reads, without any padding in memory.

Along x, where kernels are unrolled, taps that fall outside of the image are left out when generating: a row is cut
into tiles, and each kernel column knows which pixels of a tile it reaches. Along y the valid rows of the kernel are
a range that is computed for each output row.
"""

from collections.abc import Sequence
from itertools import pairwise

from tilewright.immutable import Immutable

from ....ir.layout import QUAD
from ....ir.windows import WindowAxis
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.types import Register

ALL = (1 << QUAD) - 1
"""Every element of a step is in the image."""


Reach = tuple[Register, Register]
"""First tap of a pixel that lies in the image, and the number of such taps (not above 0 for none)."""


class Axis(WindowAxis):
    """One spatial dimension of a window operator, for kernels to walk along."""

    @staticmethod
    def line(extent: int) -> "Axis":
        """A dimension along which output pixels see one input pixel each."""
        return Axis(extent, extent, 1, 1, 1, 0)

    @property
    def is_pointwise(self) -> bool:
        """Whether output pixels see one input pixel each."""
        return self.kernel == self.stride == 1 and self.before == 0 and self.input == self.output

    @property
    def always_reaches(self) -> bool:
        """Whether every pixel has at least one tap in the image."""
        unseen = self.output
        for tap in self.seen_taps():
            # Later taps are seen by earlier pixels.
            low, high = self.reach(tap)
            if high < unseen:
                return False
            unseen = low
            if not unseen:
                return True
        return False

    def coordinate(self, b: FunctionBuilder, pixel: Integer, tap: Integer = 0) -> Register:
        """Where the tap of an output pixel reads; outside of the image where that is padded."""
        first = b.subtract(b.multiply(pixel, self.stride), self.before)
        return b.add(first, b.multiply(tap, self.dilation))

    def valid_taps(self, b: FunctionBuilder, pixel: Integer) -> Reach:
        """The taps of a pixel that lie in the image."""
        if not self.is_padded:
            return b.integer(0), b.integer(self.kernel)
        start = self.coordinate(b, pixel)
        first = b.divide(b.maximum(b.subtract(self.dilation - 1, start), 0), self.dilation)
        room = b.maximum(b.subtract(self.input - 1 + self.dilation, start), 0)
        last = b.minimum(b.divide(room, self.dilation), self.kernel)
        return first, b.subtract(last, first)


def walked(windows: Sequence[WindowAxis]) -> tuple[Axis, ...]:
    """The spatial dimensions of an operator's windows."""
    return tuple(Axis(**vars(axis)) for axis in windows)


def rows_and_columns(axes: tuple[Axis, ...], *, turns: bool = True) -> tuple[Axis, Axis] | None:
    """The spatial dimensions as those of an image, of one row if there is one; ``None`` for more than two of them.
    ``turns``: an image of one column is taken as one of one row, which lies in memory alike: tiles are cut from
    rows."""
    if len(axes) == 1:
        return Axis.line(1), axes[0]
    if len(axes) != 2:
        return None
    return (axes[1], axes[0]) if turns and axes[1] == Axis.line(1) else (axes[0], axes[1])


class PixelTile(Immutable):
    """So many neighbouring output pixels, and what the kernel reaches of the image from them.
    ``columns``: for each step along a kernel row and each pixel, a bit for each element read that is in the image. A
    step is one tap (``ALL`` or 0), or four neighbouring ones."""

    pixels: int
    columns: tuple[tuple[int, ...], ...]

    @staticmethod
    def at(axis: Axis, start: int, pixels: int, *, neighbours: bool) -> "PixelTile":
        """The tile of so many pixels at ``start``; a step is four ``neighbours``, or one tap."""

        def is_inside(tap: int) -> list[bool]:
            low, high = axis.reach(tap, start, pixels)
            return [low <= pixel < high for pixel in range(pixels)]

        taps = range(0, axis.kernel, QUAD if neighbours else 1)
        if neighbours:
            steps = [zip(*(is_inside(tap + i) for i in range(QUAD)), strict=True) for tap in taps]
            columns = (tuple(sum(bit << i for i, bit in enumerate(bits)) for bits in step) for step in steps)
        else:
            columns = (tuple(ALL * bit for bit in is_inside(tap)) for tap in taps)
        return PixelTile(pixels, tuple(columns))


class TileRow(Immutable):
    """``count`` equal tiles side by side, the first of them at pixel ``start``."""

    tile: PixelTile
    start: int
    count: int


def cut(axis: Axis, pixels: int, *, neighbours: bool = False, counted: Axis | None = None) -> list[TileRow]:
    """Cut a row of output pixels into tiles of at most ``pixels``, about equal ones; see :meth:`PixelTile.at`.
    ``counted``: the same windows over another image: what they reach of it is also equal in the tiles of a run."""
    axes = (axis,) if counted is None else (axis, counted)
    count = -(-axis.output // pixels)
    small, larger = divmod(axis.output, count)

    def start(index: int) -> int:
        return index * small + min(index, larger)

    def tile_of(pixel: int) -> int:
        beyond = pixel - start(larger)
        return pixel // (small + 1) if beyond < 0 else larger + beyond // small

    # Tiles can differ from those before them only where some tap enters or leaves the image.
    firsts = {0, larger}
    for each in axes:
        for edge in {edge for tap in range(each.kernel + QUAD) for edge in each.reach(tap)}:
            index = (
                min(edge // (small + 1), larger) if edge < start(larger) else larger + (edge - start(larger)) // small
            )
            firsts |= {index, index + 1}
    bounds = [*sorted(first for first in firsts if first < count), count]
    rows: list[TileRow] = []
    last: list[PixelTile] = []
    for first, end in pairwise(bounds):
        size = small + (first < larger)
        tiles = [PixelTile.at(each, start(first), size, neighbours=neighbours) for each in axes]
        if tiles == last:
            rows[-1] = TileRow(tiles[0], rows[-1].start, rows[-1].count + end - first)
        else:
            rows.append(TileRow(tiles[0], start(first), end - first))
        last = tiles
    return rows
