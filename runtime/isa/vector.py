"""Instructions of the vector unit (queue VEC): accumulators to maps, and maps to maps."""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np

from ..machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, MAPS_ADDRESS_BITS, MAPS_UNIT, PARAMETER_UNIT
from .accesses import MemoryAccess, Space
from .encoding import FIRST, LAST, Instruction, Queue, Violation, bits, flag, instruction
from .matrix import MapWindows, map_reads, ring_violations

REQUANTIZE_BLOCK_BYTES = 2 * PARAMETER_UNIT
RECORD_BYTES = PARAMETER_UNIT
TABLE_BYTES = 256
WIDE_TABLE_SIDE = 360
WIDE_TABLE_BYTES = 2 * 4 * WIDE_TABLE_SIDE
RESIDUAL_FACTOR_BITS = 0x47800000
"""65536 as binary32; the bit patterns of numbers that are not negative are in the order of the numbers."""
ONE_BITS = 0x3F800000


class PoolKind(IntEnum):
    """What POOL makes of a window."""

    MAXIMUM = 0
    AVERAGE = 1
    SUM = 2
    WIDE_MAXIMUM = 3

    @property
    def is_maximum(self) -> bool:
        """Whether no numbers are needed for it."""
        return self in (PoolKind.MAXIMUM, PoolKind.WIDE_MAXIMUM)


class ElementwiseKind(IntEnum):
    """What ELT makes of two elements."""

    ADD = 0
    MULTIPLY = 1
    MAXIMUM = 2
    MINIMUM = 3
    WIDE_MULTIPLY = 4


def map_access(
    cluster: int, start: int, size: tuple[int, int, int], pitches: tuple[int, int], write: bool
) -> MemoryAccess:
    """The access to a map of rows, columns and blocks with distances from row to row and from pixel to pixel."""
    height, width, blocks = size
    steps = ((height, pitches[0] * MAPS_UNIT), (width, pitches[1] * MAPS_UNIT))
    return MemoryAccess(Space.MAPS, start * MAPS_UNIT, steps, blocks * CHANNEL_BLOCK, write, cluster=cluster)


def _parameters(cluster: int, start: int, size: int) -> MemoryAccess:
    return MemoryAccess(Space.PARAMETERS, start * PARAMETER_UNIT, (), size, False, cluster=cluster)


class MapInstruction(Instruction):
    """An instruction that makes a feature map."""

    destination: int = bits(MAPS_ADDRESS_BITS, "output map, pixel (0, 0)", unit="16 B")
    height: int = bits(12, "output rows", minimum=1)
    width: int = bits(12, "output columns", minimum=1)
    blocks: int = bits(12, "channels", unit="16", minimum=1)
    destination_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the output map", unit="16 B")
    destination_pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the output map", unit="16 B")

    @property
    def written_blocks(self) -> int:
        """Blocks of 16 channels that a pixel of the output map takes."""
        return self.blocks

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Output map."""
        pitches = (self.destination_row_pitch, self.destination_pixel_pitch)
        return (map_access(cluster, self.destination, (self.height, self.width, self.written_blocks), pitches, True),)

    def violations(self) -> Iterator[Violation]:
        """Written pixels do not overlap."""
        pixel, row = self.written_blocks, self.written_blocks + (self.width - 1) * self.destination_pixel_pitch
        if self.width > 1 and self.destination_pixel_pitch < pixel:
            rule = f"written pixels do not overlap: at least {pixel}"
            yield Violation("destination_pixel_pitch", self.destination_pixel_pitch, rule)
        if self.height > 1 and self.destination_row_pitch < row:
            rule = f"written rows do not overlap: at least {row}"
            yield Violation("destination_row_pitch", self.destination_row_pitch, rule)


class MapToMap(MapInstruction):
    """An instruction that makes a feature map of another."""

    source: int = bits(MAPS_ADDRESS_BITS, "input map, pixel (0, 0)", unit="16 B", after=FIRST)
    source_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the input map", unit="16 B", after="blocks")
    source_pixel_pitch: int = bits(
        MAPS_ADDRESS_BITS, "from pixel to pixel of the input map", unit="16 B", after="destination_row_pitch"
    )

    def copied(self, cluster: int, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[MemoryAccess, ...]:
        """Input map, from the first to the last of these rows and columns, and output map."""
        start = self.source + rows[0] * self.source_row_pitch + columns[0] * self.source_pixel_pitch
        size = (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1, self.blocks)
        read = map_access(cluster, start, size, (self.source_row_pitch, self.source_pixel_pitch), False)
        return read, *super().accesses(cluster)


@instruction("RQ", 16, Queue.VEC)
class Requantize(MapInstruction):
    """Turn int32 accumulators into an int8 feature map.

    For every pixel (y, x) and channel o: `a = acc[(y * width + x) * blocks * 16 + o] + bias[o]` in int32,
    `p = binary32(binary32(a) * multiplier[o])`, `v = low … high clamp of (round(p) + zero_point)`, where binary32
    rounds to nearest even with 24 significant bits and round rounds to nearest even. The byte at
    `destination + y * destination_row_pitch + x * destination_pixel_pitch + o` becomes v, or 0 if o is one of the last
    `unused`, for eight of which half of the lanes of a block take another pixel. Bias and multiplier come from
    the requantise parameters at `parameters`. A `slope` that is not 0 is the bit pattern of a binary32 up to 1: a
    negative p becomes `binary32(p * slope)` before it is rounded. With `doubled` the second half of the last block is
    not 0, but what the first half becomes."""

    accumulator: int = bits(14, "first accumulator", unit="64 B", after=FIRST)
    parameters: int = bits(12, "requantise parameters", unit="64 B")
    zero_point: int = bits(9, "zero point of the output, added after rounding", signed=True, default=0)
    low: int = bits(8, "lower clamp", signed=True, default=-128)
    high: int = bits(8, "upper clamp", signed=True, default=127)
    unused: int = bits(4, "channels at the end of the last block that become 0", default=0)
    slope: int = bits(
        32, "what negative numbers are multiplied with, as binary32; 0 is 1", maximum=ONE_BITS, default=0, after=LAST
    )
    doubled: int = bits(1, "write the first half of the last block a second time", default=0, after=LAST)

    @property
    def below_zero(self) -> np.float32:
        """What negative numbers are multiplied with."""
        return np.uint32(self.slope or ONE_BITS).view(np.float32)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Accumulators, parameters, output map."""
        size = self.height * self.width * self.blocks * ACCUMULATOR_UNIT
        return (
            MemoryAccess(Space.ACCUMULATORS, self.accumulator * ACCUMULATOR_UNIT, (), size, False, cluster=cluster),
            _parameters(cluster, self.parameters, self.blocks * REQUANTIZE_BLOCK_BYTES),
            *super().accesses(cluster),
        )

    def violations(self) -> Iterator[Violation]:
        """Clamps are ordered, half a block is written twice, written pixels do not overlap."""
        if self.low > self.high:
            yield Violation("low", self.low, f"at most high ({self.high})")
        if self.doubled and 2 * self.unused != CHANNEL_BLOCK:
            yield Violation("doubled", self.doubled, f"0 unless {CHANNEL_BLOCK // 2} channels are unused")
        yield from super().violations()


@instruction("RQA", 23, Queue.VEC)
class RequantizeSum(Requantize):
    """Turn int32 accumulators and a feature map into an int8 feature map, their sum.

    As RQ with one rounding for the sum: with p of RQ and the byte b of the input map at `source + y * source_row_pitch
    + x * source_pixel_pitch + o`, `r = binary32((b - source_zero) * source_multiplier)` and `v = low … high clamp of
    (round(binary32(p + r)) + zero_point)`; with a slope it is the sum that is multiplied. `source_multiplier` is the
    bit pattern of a binary32 from 0 to 65536. The output may lie where the input map lies."""

    source: int = bits(MAPS_ADDRESS_BITS, "input map, pixel (0, 0)", unit="16 B")
    source_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the input map", unit="16 B")
    source_pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the input map", unit="16 B")
    source_zero: int = bits(8, "zero point of the input map", signed=True)
    source_multiplier: int = bits(32, "of what is added, as binary32")

    @property
    def adds(self) -> bool:
        """Whether the input map is read."""
        return True

    @property
    def residual_factor(self) -> np.float32:
        """`source_multiplier` as the number that it is."""
        return np.uint32(self.source_multiplier).view(np.float32)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Accumulators, parameters, input map, output map."""
        *read, written = super().accesses(cluster)
        size, pitches = (self.height, self.width, self.written_blocks), (self.source_row_pitch, self.source_pixel_pitch)
        return *read, *([map_access(cluster, self.source, size, pitches, False)] if self.adds else []), written

    def violations(self) -> Iterator[Violation]:
        """As RQ, and the multiplier is a number from 0 to 65536."""
        if self.source_multiplier > RESIDUAL_FACTOR_BITS:
            rule = f"a binary32 from 0 to 65536: at most {RESIDUAL_FACTOR_BITS}"
            yield Violation("source_multiplier", self.source_multiplier, rule)
        yield from super().violations()


@instruction("RQW", 26, Queue.VEC)
class RequantizeWide(RequantizeSum):
    """Turn int32 accumulators, with `sum` and a feature map of 16 bits, into a feature map of 16 bits.

    As RQ, or with `sum` as RQA, `slope` included, with integers of 16 bits, in two blocks for each block of channels: v
    is 256 times the byte of the first, and 128, and the byte of the second, which become `floor(v / 256)` and
    `v modulo 256 - 128`; so does the number that is added. `blocks` counts blocks of accumulators."""

    zero_point: int = bits(16, "zero point of the output, added after rounding", signed=True, default=0)
    low: int = bits(16, "lower clamp", signed=True, default=-(2**15))
    high: int = bits(16, "upper clamp", signed=True, default=2**15 - 1)
    source: int = bits(MAPS_ADDRESS_BITS, "input map, pixel (0, 0)", unit="16 B", default=0)
    source_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the input map", unit="16 B", default=0)
    source_pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the input map", unit="16 B", default=0)
    source_zero: int = bits(16, "zero point of the input map", signed=True, default=0)
    source_multiplier: int = bits(32, "of what is added, as binary32", default=0)
    sum: int = flag("add the input map")

    @property
    def adds(self) -> bool:
        """Whether the input map is read."""
        return bool(self.sum)

    @property
    def written_blocks(self) -> int:
        """Blocks of a pixel of the maps."""
        return 2 * self.blocks


@instruction("POOL", 17, Queue.VEC)
class Pool(MapToMap):
    """Reduce windows of a feature map, channel by channel.

    The window of output pixel (oy, ox) are the input pixels (oy * stride_height + ky + row_origin,
    ox * stride_width + kx + column_origin) that lie inside the input map; every window has at least one. With a `ring`
    of r rows, row iy lies where row iy modulo r would without one; all rows that are read must be in it.
    Kind 0: their maximum. Kind 1, average, all in binary32 with one rounding an operation, pixels in row-major order:
    `s = 0`, then `s = s + scale_a * (x - zero_a)` for each; `q = s / n / scale_output + zero_output`, where n is the
    number of pixels, or kernel_height * kernel_width with `include_pad`; the result is `round(q) + offset`. Kind 2,
    sum: `round(binary32(binary32(sum of (x - zero_a)) * multiplier)) + zero_output + offset`. Results are clamped to
    -128 … 127. Zero points, scales and multiplier come from the record at `parameters`. Kind 3: the maximum of a map of
    16 bits, of which two blocks hold the bytes of one: the larger byte of the first, and where these are equal of the
    second, decides about both. The last `unused` channels become 0 instead, for eight of which half of the lanes of a
    block take another pixel. Of one pixel, kinds 0 and 2 take several taps at once where its channels leave lanes."""

    kernel_height: int = bits(8, "window rows", minimum=1, after="blocks")
    kernel_width: int = bits(8, "window columns", minimum=1, after="kernel_height")
    stride_height: int = bits(5, "input rows from output row to output row", minimum=1, default=1, after="kernel_width")
    stride_width: int = bits(
        5, "input columns from output column to output column", minimum=1, default=1, after="stride_height"
    )
    input_height: int = bits(12, "rows of the input map", minimum=1, after="stride_width")
    input_width: int = bits(12, "columns of the input map", minimum=1, after="input_height")
    row_origin: int = bits(13, "input row of output row 0", signed=True, default=0, after="input_width")
    column_origin: int = bits(13, "input column of output column 0", signed=True, default=0, after="row_origin")
    parameters: int = bits(12, "vector record; 0 for a maximum", unit="64 B", default=0)
    ring: int = bits(12, "rows of the ring that holds the input map; 0 is none", default=0)
    unused: int = bits(4, "channels at the end of the last block that become 0", default=0)
    kind: int = flag("0 maximum, 1 average, 2 sum, 3 maximum of 16 bits", width=2)
    include_pad: int = flag("average: divide by the size of the kernel")

    @property
    def axes(self) -> tuple[MapWindows, MapWindows]:
        """Rows and columns."""
        return (
            MapWindows(
                *(self.row_origin, self.height, self.stride_height, self.kernel_height, 1, self.input_height, self.ring)
            ),
            MapWindows(self.column_origin, self.width, self.stride_width, self.kernel_width, 1, self.input_width),
        )

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Input map, record, output map."""
        pitches = (self.source_row_pitch * MAPS_UNIT, self.source_pixel_pitch * MAPS_UNIT)
        source = map_reads(cluster, self.source * MAPS_UNIT, self.axes, pitches, self.blocks * CHANNEL_BLOCK)
        if PoolKind(self.kind).is_maximum:
            return (*source, *super().accesses(cluster))
        return (*source, _parameters(cluster, self.parameters, RECORD_BYTES), *super().accesses(cluster))

    def violations(self) -> Iterator[Violation]:
        """No empty window, a ring that holds what is read, pairs of blocks, written pixels do not overlap."""
        yield from ring_violations(self.axes[0])
        if self.kind == PoolKind.WIDE_MAXIMUM and self.blocks % 2:
            yield Violation("blocks", self.blocks, "even for a map of 16 bits")
        if self.kind == PoolKind.WIDE_MAXIMUM and self.unused:
            yield Violation("unused", self.unused, "0 for a map of 16 bits")
        if self.include_pad and self.kind != PoolKind.AVERAGE:
            yield Violation("include_pad", self.include_pad, "0 unless kind is 1")
        if PoolKind(self.kind).is_maximum and self.parameters:
            yield Violation("parameters", self.parameters, "0 for a maximum")
        for name, axis in zip(("row_origin", "column_origin"), self.axes, strict=True):
            if axis.origin + axis.taps <= 0 or axis.origin + (axis.windows - 1) * axis.stride >= axis.extent:
                yield Violation(name, axis.origin, "every window has a pixel inside the input map")
        yield from super().violations()


@instruction("ELT", 18, Queue.VEC)
class Elementwise(MapInstruction):
    """Combine two feature maps element by element.

    With `A = a - zero_a` and `B = b - zero_b`: kind 0, add: `v = round_shift(A * multiplier_a + B * multiplier_b +
    zero_output * 2^shift, shift)`, exact integers and one rounding to nearest even by the shift. Kinds 2 and 3,
    maximum and minimum: as add, with the larger (smaller) of the two products instead of their sum. Kind 1, multiply:
    `v = round(binary32(binary32(binary32(A * B) * multiplier) + zero_output))`. The result is `v + offset`, clamped to
    `low … high`. The values come from the record at `parameters`. A pitch of 0 repeats a row or pixel of an input,
    which broadcasts. Kind 4, multiply, of maps of 16 bits, of which two blocks hold the bytes of one, as RQW says:
    `round(binary32(binary32(a * b) * multiplier))`, clamped to -2^15 … 2^15 - 1."""

    source_a: int = bits(MAPS_ADDRESS_BITS, "first input map, pixel (0, 0)", unit="16 B", after=FIRST)
    source_b: int = bits(MAPS_ADDRESS_BITS, "second input map, pixel (0, 0)", unit="16 B", after="source_a")
    row_pitch_a: int = bits(MAPS_ADDRESS_BITS, "from row to row of the first input", unit="16 B", after="blocks")
    row_pitch_b: int = bits(MAPS_ADDRESS_BITS, "from row to row of the second input", unit="16 B", after="row_pitch_a")
    pixel_pitch_a: int = bits(
        MAPS_ADDRESS_BITS, "from pixel to pixel of the first input", unit="16 B", after="destination_row_pitch"
    )
    pixel_pitch_b: int = bits(
        MAPS_ADDRESS_BITS, "from pixel to pixel of the second input", unit="16 B", after="pixel_pitch_a"
    )
    parameters: int = bits(12, "vector record", unit="64 B")
    low: int = bits(8, "lower clamp", signed=True, default=-128)
    high: int = bits(8, "upper clamp", signed=True, default=127)
    kind: int = flag("0 add, 1 multiply, 2 maximum, 3 minimum, 4 multiply of 16 bits", width=3)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Two input maps, record, output map."""
        size = (self.height, self.width, self.blocks)
        return (
            map_access(cluster, self.source_a, size, (self.row_pitch_a, self.pixel_pitch_a), False),
            map_access(cluster, self.source_b, size, (self.row_pitch_b, self.pixel_pitch_b), False),
            _parameters(cluster, self.parameters, RECORD_BYTES),
            *super().accesses(cluster),
        )

    def violations(self) -> Iterator[Violation]:
        """Known kind, pairs of blocks of 16 bits and no clamps of 8, clamps in order, written pixels do not overlap."""
        if self.kind > ElementwiseKind.WIDE_MULTIPLY:
            yield Violation("kind", self.kind, "0 to 4")
        if self.kind == ElementwiseKind.WIDE_MULTIPLY:
            if self.blocks % 2:
                yield Violation("blocks", self.blocks, "even for a map of 16 bits")
            if (self.low, self.high) != (-128, 127):
                yield Violation("low", self.low, "-128, with high 127, for a map of 16 bits")
        if self.low > self.high:
            yield Violation("low", self.low, f"at most high ({self.high})")
        yield from super().violations()


@instruction("LUT", 19, Queue.VEC)
class LookUp(MapToMap):
    """Replace every element by its entry in a table of 256 int8: element v becomes the byte at `table + v + 128`.

    Any unary function of a quantised value, and any change of scale and zero point, is such a table.

    With `wide`, of maps of 16 bits, of which two blocks hold the bytes of one, as RQW says, results lie between two of
    720 int32 K of the table. Of the number v, let m = v and s = 0, or m = -1 - v and s = 360 where v is negative;
    `e = max(bits of m - 6, 0)`, `i = s + 32 * e + floor(m / 2^e)` and `f = m modulo 2^e`. The result is
    `round_shift(K[i] * (2^e - f) + K[i + 1] * f, e + 2)`, exact integers and one rounding to nearest even by the shift,
    clamped to -2^15 … 2^15 - 1. K has 20 bits, with its sign; the upper 12 are not read."""

    table: int = bits(12, "table of 256 bytes, with `wide` of 2880", unit="64 B")
    wide: int = flag("interpolate, of maps of 16 bits")

    @property
    def table_bytes(self) -> int:
        """Of the table."""
        return WIDE_TABLE_BYTES if self.wide else TABLE_BYTES

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Input map, table, output map."""
        size = (self.height, self.width, self.blocks)
        return (
            map_access(cluster, self.source, size, (self.source_row_pitch, self.source_pixel_pitch), False),
            _parameters(cluster, self.table, self.table_bytes),
            *super().accesses(cluster),
        )

    def violations(self) -> Iterator[Violation]:
        """Pairs of blocks of 16 bits, written pixels do not overlap."""
        if self.wide and self.blocks % 2:
            yield Violation("blocks", self.blocks, "even for a map of 16 bits")
        yield from super().violations()
