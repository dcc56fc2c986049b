"""Instructions of the vector unit that give maps other extents: pixels copied, and pixels interpolated."""

from typing import NamedTuple

from .accesses import MemoryAccess
from .encoding import Queue, bits, instruction
from .vector import MapToMap

INTERPOLATION_BITS = 11
"""Fraction of a point between two pixels."""


@instruction("RSZ", 20, Queue.VEC)
class ResizeNearest(MapToMap):
    """Copy pixels by a nearest-neighbour rule.

    Output pixel (y, x) is input pixel (floor((y * step_height + origin_height) / 2^16),
    floor((x * step_width + origin_width) / 2^16)). With steps of 2^16 and origins of 0 it is a copy."""

    step_height: int = bits(20, "input rows an output row", unit="2^-16", default=1 << 16)
    step_width: int = bits(20, "input columns an output column", unit="2^-16", default=1 << 16)
    origin_height: int = bits(20, "input row of output row 0", unit="2^-16", default=0)
    origin_width: int = bits(20, "input column of output column 0", unit="2^-16", default=0)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Input map from the first to the last pixel that is copied, output map."""
        top, left = self.origin_height >> 16, self.origin_width >> 16
        bottom = (self.height - 1) * self.step_height + self.origin_height >> 16
        right = (self.width - 1) * self.step_width + self.origin_width >> 16
        return self.copied(cluster, (top, bottom), (left, right))


class Points(NamedTuple):
    """Where the rows, or columns, of RSL lie on its input map."""

    outputs: int
    step: int
    origin: int
    extent: int

    def at(self, index: int) -> int:
        """The point of an output row or column, moved into the map, in units of 2^-11."""
        return min(max(index * self.step + self.origin >> 16, 0), self.extent - 1 << INTERPOLATION_BITS)

    @property
    def reach(self) -> tuple[int, int]:
        """The first and the last row or column that is read."""
        first, last = self.at(0) >> INTERPOLATION_BITS, self.at(self.outputs - 1) >> INTERPOLATION_BITS
        return first, min(last + 1, self.extent - 1)


@instruction("RSL", 22, Queue.VEC)
class ResizeLinear(MapToMap):
    """Interpolate a feature map between its pixels.

    Output row y lies at p = floor((y * step_height + origin_height) / 2^16), but at least 0 and at most
    (input_height - 1) * 2^11: between input rows i = floor(p / 2^11) and i + 1, or i alone if that is the last, with
    the fraction f = p - i * 2^11. Column x lies at a point with the fraction g likewise, between j and j + 1. Of the
    pixels a at (i, j), b at (i, j + 1), c at (i + 1, j) and d at (i + 1, j + 1), channel by channel:
    `v = round_shift((2^11 - f) * ((2^11 - g) * a + g * b) + f * ((2^11 - g) * c + g * d), 22)`, exact integers and one
    rounding to nearest even by the shift."""

    input_height: int = bits(12, "rows of the input map", minimum=1, after="blocks")
    input_width: int = bits(12, "columns of the input map", minimum=1, after="input_height")
    step_height: int = bits(31, "input rows an output row", unit="2^-27", default=1 << 27)
    step_width: int = bits(31, "input columns an output column", unit="2^-27", default=1 << 27)
    origin_height: int = bits(32, "input row of output row 0", unit="2^-27", signed=True, default=0)
    origin_width: int = bits(32, "input column of output column 0", unit="2^-27", signed=True, default=0)

    @property
    def rows(self) -> Points:
        """Where output rows lie."""
        return Points(self.height, self.step_height, self.origin_height, self.input_height)

    @property
    def columns(self) -> Points:
        """Where output columns lie."""
        return Points(self.width, self.step_width, self.origin_width, self.input_width)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Input map from the first to the last pixel that counts, output map."""
        return self.copied(cluster, self.rows.reach, self.columns.reach)
