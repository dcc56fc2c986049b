"""The instruction that normalises the pixels of a map."""

from collections.abc import Iterator

import numpy as np

from ..machines.machine import CHANNEL_BLOCK, MAPS_ADDRESS_BITS, PARAMETER_UNIT
from .accesses import MemoryAccess, Space
from .encoding import FIRST, Queue, Violation, bits, flag, instruction
from .vector import MapInstruction, map_access

NORMALIZE_BLOCK_BYTES = 3 * PARAMETER_UNIT
LARGEST_BITS = 0x7F7FFFFF
"""The largest number as binary32."""


@instruction("NRM", 27, Queue.VEC)
class Normalize(MapInstruction):
    """Divide what the channels of a pixel, or of all pixels, differ from their mean by, by its root mean square.

    For every pixel (y, x), of C = blocks * 16 - unused channels o: `v[o] = (a - source_zero) * multiplier[o]`, with
    `sum` plus `(b - skip_zero) * skip_multiplier[o]`, where a is the byte at `source + y * source_row_pitch +
    x * source_pixel_pitch + o` and b that at `skip + y * skip_row_pitch + x * skip_pixel_pitch + o`. With `centred`,
    m is the mean of all v, rounded to nearest even, otherwise 0. `d[o] = v[o] - m`, and q is the sum of their
    squares, all exact: it has 64 bits with its sign and wraps; the compiler proves that it does not. With a `group`
    m and q are of all pixels together, and of every so many channels their own. `n = binary32(binary32(q) + epsilon)`
    or 1 if that is less, `r = binary32(1 / binary32(sqrt(n)))`,
    `p = binary32(binary32(binary32(binary32(d[o]) * gain[o]) * r) + offset[o])`. The byte at `destination +
    y * destination_row_pitch + x * destination_pixel_pitch + o` becomes the low … high clamp of
    (round(p) + zero_point), or 0 if o is one of the last `unused`. Multipliers, gain and offset come from the
    normalisation parameters at `parameters`; `epsilon` is the bit pattern of a binary32 that is not negative. The
    output may lie where a map lies that is read. With `wide`, a and b are numbers of 16 bits in two blocks for each
    block of channels, as RQW says, and of multipliers the lower 9 bits count, with their sign."""

    source: int = bits(MAPS_ADDRESS_BITS, "map, pixel (0, 0)", unit="16 B", after=FIRST)
    source_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the map", unit="16 B")
    source_pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the map", unit="16 B")
    skip: int = bits(MAPS_ADDRESS_BITS, "map that is added, pixel (0, 0)", unit="16 B", default=0)
    skip_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the map that is added", unit="16 B", default=0)
    skip_pixel_pitch: int = bits(
        MAPS_ADDRESS_BITS, "from pixel to pixel of the map that is added", unit="16 B", default=0
    )
    parameters: int = bits(12, "normalisation parameters", unit="64 B")
    source_zero: int = bits(8, "zero point of the map", signed=True, default=0)
    skip_zero: int = bits(8, "zero point of the map that is added", signed=True, default=0)
    zero_point: int = bits(9, "zero point of the output, added after rounding", signed=True, default=0)
    low: int = bits(8, "lower clamp", signed=True, default=-128)
    high: int = bits(8, "upper clamp", signed=True, default=127)
    unused: int = bits(4, "channels at the end of the last block that there are not", default=0)
    epsilon: int = bits(32, "added to the sum of squares, as binary32")
    group: int = bits(16, "channels that are taken together, with all pixels; 0: all, pixel by pixel", default=0)
    sum: int = flag("add the second map")
    centred: int = flag("take the mean off")
    wide: int = flag("the maps that are read have 16 bits an element, in two blocks")

    @property
    def added(self) -> np.float32:
        """`epsilon` as the number that it is."""
        return np.uint32(self.epsilon).view(np.float32)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Maps, parameters, output map."""
        size = self.height, self.width, self.blocks << self.wide
        start, length = self.parameters * PARAMETER_UNIT, self.blocks * NORMALIZE_BLOCK_BYTES
        skip = map_access(cluster, self.skip, size, (self.skip_row_pitch, self.skip_pixel_pitch), False)
        return (
            map_access(cluster, self.source, size, (self.source_row_pitch, self.source_pixel_pitch), False),
            *([skip] if self.sum else []),
            MemoryAccess(Space.PARAMETERS, start, (), length, False, cluster=cluster),
            *super().accesses(cluster),
        )

    def violations(self) -> Iterator[Violation]:
        """Groups are whole, numbers are some, the second map is there or is not, pixels do not overlap."""
        channels = self.blocks * CHANNEL_BLOCK - self.unused
        if self.group and channels % self.group:
            yield Violation("group", self.group, f"0 or a divisor of the channels ({channels})")
        if self.low > self.high:
            yield Violation("low", self.low, f"at most high ({self.high})")
        if self.epsilon > LARGEST_BITS:
            rule = f"a binary32 that is not negative and finite: at most {LARGEST_BITS}"
            yield Violation("epsilon", self.epsilon, rule)
        for name in ("skip", "skip_row_pitch", "skip_pixel_pitch", "skip_zero") if not self.sum else ():
            if getattr(self, name):
                yield Violation(name, getattr(self, name), "0 without a second map")
        yield from super().violations()
