"""Instructions of the multiply-accumulate array (queue MAC): maps and weights in, int32 accumulators out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, MAPS_ADDRESS_BITS, MAPS_UNIT, WEIGHT_UNIT
from .accesses import MemoryAccess, Space
from .encoding import Instruction, Queue, Violation, bits, flag, instruction


class MapWindows(NamedTuple):
    """Windows along one axis of a feature map of ``extent`` rows or columns; ``origin`` is tap 0 of the first one.

    Row r of a map in a ring of so many rows lies where row r modulo ``ring`` would without one; 0 is no ring."""

    origin: int
    windows: int
    stride: int
    taps: int
    dilation: int
    extent: int
    ring: int = 0

    @property
    def span(self) -> int:
        """Rows or columns from the first tap of the first window to the last tap of the last one."""
        return (self.windows - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    @property
    def inside(self) -> range:
        """The part of the span that lies inside the map, in coordinates of the map; empty if none does."""
        return range(max(self.origin, 0), min(self.origin + self.span, self.extent))

    @property
    def pieces(self) -> tuple[range, ...]:
        """Where the part inside the map lies: as rows or columns of the scratchpad, in pieces without a jump."""
        inside = self.inside
        if not self.ring or not inside:
            return (inside,) if inside else ()
        first = inside.start % self.ring
        ahead = range(first, min(first + len(inside), self.ring))
        return (ahead, range(len(inside) - len(ahead))) if len(ahead) < len(inside) else (ahead,)

    def reach(self, tap: int) -> tuple[slice, int]:
        """The windows whose tap ``tap`` lies inside the map, and the row or column that it reads in the first."""
        start = self.origin + tap * self.dilation
        first = max(-(start // self.stride), 0)
        stop = min((self.extent - 1 - start) // self.stride + 1, self.windows)
        return slice(first, max(first, stop)), start + first * self.stride

    def part(self, first: int, windows: int) -> MapWindows:
        """The axis of ``windows`` windows from the one numbered ``first``."""
        return self._replace(origin=self.origin + first * self.stride, windows=windows)


def axes(item: MatrixInstruction) -> tuple[MapWindows, MapWindows]:
    """Rows and columns."""
    return (
        MapWindows(
            *(item.row_origin, item.output_height, item.stride_height),
            *(item.kernel_height, item.dilation_height, item.input_height, item.ring),
        ),
        MapWindows(
            *(item.column_origin, item.output_width, item.stride_width),
            *(item.kernel_width, item.dilation_width, item.input_width),
        ),
    )


def map_reads(
    cluster: int, start: int, both: tuple[MapWindows, MapWindows], pitches: tuple[int, int], pixel: int
) -> tuple[MemoryAccess, ...]:
    """What windows read of a map at ``start``; distances from row to row and pixel to pixel, and all else, in bytes."""
    columns = both[1].inside
    if not columns:
        return ()
    return tuple(
        MemoryAccess(
            *(Space.MAPS, start + rows.start * pitches[0] + columns.start * pitches[1]),
            *(((len(rows), pitches[0]), (len(columns), pitches[1])), pixel, False),
            cluster=cluster,
        )
        for rows in both[0].pieces
    )


def ring_violations(rows: MapWindows) -> Iterator[Violation]:
    """A ring holds all rows that an instruction reads."""
    if rows.ring and len(rows.inside) > rows.ring:
        yield Violation("ring", rows.ring, f"at least the {len(rows.inside)} rows that are read, or 0")


def _weights(item: MatrixInstruction, cluster: int) -> MemoryAccess:
    return MemoryAccess(Space.WEIGHTS, item.weights * WEIGHT_UNIT, (), item.weight_bytes, False, cluster=cluster)


def _accumulators(item: MatrixInstruction, cluster: int, blocks: int) -> MemoryAccess:
    """The sums that are written."""
    size = item.output_height * item.output_width * blocks * ACCUMULATOR_UNIT
    return MemoryAccess(Space.ACCUMULATORS, item.accumulator * ACCUMULATOR_UNIT, (), size, True, cluster=cluster)


class MatrixInstruction(Instruction):
    """A convolution, dense or depthwise: windows of a map times weights, into accumulators."""

    source: int = bits(MAPS_ADDRESS_BITS, "input map, pixel (0, 0)", unit="16 B")
    weights: int = bits(14, "weights, layout of dense weights", unit="64 B")
    accumulator: int = bits(14, "first accumulator", unit="64 B")
    output_height: int = bits(12, "output rows", minimum=1)
    output_width: int = bits(12, "output columns", minimum=1)
    kernel_height: int = bits(5, "kernel rows", minimum=1, default=1)
    kernel_width: int = bits(5, "kernel columns", minimum=1, default=1)
    stride_height: int = bits(5, "input rows from output row to output row", minimum=1, default=1)
    stride_width: int = bits(5, "input columns from output column to output column", minimum=1, default=1)
    dilation_height: int = bits(5, "input rows from tap to tap", minimum=1, default=1)
    dilation_width: int = bits(5, "input columns from tap to tap", minimum=1, default=1)
    input_height: int = bits(12, "rows of the input map", minimum=1)
    input_width: int = bits(12, "columns of the input map", minimum=1)
    row_origin: int = bits(13, "input row of tap 0 of output row 0", signed=True, default=0)
    column_origin: int = bits(13, "input column of tap 0 of output column 0", signed=True, default=0)
    pad_value: int = bits(8, "value read outside the map: the zero point of x", signed=True, default=0)
    row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the map", unit="16 B")
    pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the map", unit="16 B", minimum=1)
    weight_zero: int = bits(8, "zero point of the weights", signed=True, default=0)
    ring: int = bits(12, "rows of the ring that holds the input map; 0 is none", default=0)
    unused: int = bits(4, "output channels at the end of the last block that are left out", default=0)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights read."""
        raise NotImplementedError(type(self).__name__)

    def violations(self) -> Iterator[Violation]:
        """A ring holds what is read."""
        if self.ring:
            yield from ring_violations(axes(self)[0])


@instruction("CONV", 8, Queue.MAC)
class Convolve(MatrixInstruction):
    """Convolve a feature map with a block of weights.

    For every output pixel (oy, ox) and output channel o,
    `acc[(oy * output_width + ox) * output_blocks * 16 + o]` becomes (with `accumulate`: is increased by) the sum over
    ky, kx and c of `x(oy * stride_height + ky * dilation_height + row_origin,
    ox * stride_width + kx * dilation_width + column_origin, c) * (w(o, ky, kx, c) - weight_zero)`, in int32 that
    wraps. `x(iy, ix, c)` is the int8 at `source + iy * row_pitch + ix * pixel_pitch + c` if iy is in
    `0 … input_height - 1` and ix in `0 … input_width - 1`, and `pad_value` otherwise. A negative origin is padding
    before the map; padding after it needs no field. With a `ring` of r rows, row iy lies where row iy modulo r would
    without one; all rows that are read must be in it.

    With a kernel of one row and one column it is the product of rows, the pixels, and a constant matrix. The sums of
    the last `unused` output channels are 0, as are those of the first 4 * `skipped`, so that with `accumulate` their
    accumulators stay as they are: no lane is taken for them. What is left by `skipped` lies in one half of one block:
    outputs of a block that are made of different channels of the map are several instructions, of which all but the
    first add. The weights are those of all outputs, whatever is left out.

    With `wide` a pixel of the map has two blocks for each block of input channels, which stand for integers of 16 bits:
    `x(iy, ix, c)` is 256 times the byte of the first and the byte of the second, and outside the map
    256 * `pad_value` - 128.

    `input_channels` counts blocks of 16 and `pixel_pitch` units of 16 bytes; with `packed` both count bytes and
    `dilation_width` is 1, so that the taps of a kernel row are contiguous bytes. The kernel rows of a pixel are then
    one trace: the array multiplies them one behind the other, with nothing between them."""

    output_blocks: int = bits(10, "output channels", unit="16", minimum=1, after="output_width")
    input_channels: int = bits(12, "input channels", unit="16, packed: 1", minimum=1, after="output_blocks")
    pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the map", unit="16 B, packed: B", minimum=1)
    accumulate: int = flag("add to the accumulators instead of setting them")
    packed: int = flag("count channels and pixel pitch in bytes")
    wide: int = flag("the map has 16 bits an element, in two blocks")
    skipped: int = bits(2, "output channels at the start that are left out", unit="4", default=0)

    @property
    def read(self) -> int:
        """Bytes of a pixel of the map that are read."""
        return self.channels << self.wide

    @property
    def channels(self) -> int:
        """Input channels: bytes of the weights of a tap."""
        return self.input_channels if self.packed else self.input_channels * CHANNEL_BLOCK

    @property
    def pitch(self) -> int:
        """Pixel pitch in bytes."""
        return self.pixel_pitch if self.packed else self.pixel_pitch * MAPS_UNIT

    @property
    def window(self) -> int:
        """Input channels and taps that an output pixel is made of."""
        return self.kernel_height * self.kernel_width * self.channels

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights read, those of a window rounded up to whole blocks of 16 input bytes."""
        return self.output_blocks * -(-self.window // CHANNEL_BLOCK) * CHANNEL_BLOCK**2

    @property
    def macs(self) -> int:
        """Multiplications whose result counts, padding included."""
        return self.output_height * self.output_width * self.outputs * self.window << self.wide

    @property
    def outputs(self) -> int:
        """Output channels that are computed."""
        return self.output_blocks * CHANNEL_BLOCK - self.unused - 4 * self.skipped

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Input map, weights, accumulators."""
        sums = _accumulators(self, cluster, self.output_blocks)
        return (
            *map_reads(
                *(cluster, self.source * MAPS_UNIT, axes(self)), *((self.row_pitch * MAPS_UNIT, self.pitch), self.read)
            ),
            _weights(self, cluster),
            *((sums, sums._replace(write=False)) if self.accumulate else (sums,)),
        )

    def violations(self) -> Iterator[Violation]:
        """A ring holds what is read, and a packed trace is contiguous."""
        yield from super().violations()
        first, stop = 4 * self.skipped, 4 * self.skipped + self.outputs
        if first and not first < stop <= (CHANNEL_BLOCK if 2 * first >= CHANNEL_BLOCK else CHANNEL_BLOCK // 2):
            yield Violation("skipped", self.skipped, f"0, or what is left of {stop} outputs in half of one block")
        if self.packed and self.wide:
            yield Violation("wide", self.wide, "0 in packed mode")
        if self.packed and self.dilation_width != 1 and self.kernel_width > 1:
            yield Violation("dilation_width", self.dilation_width, "1 in packed mode, where a trace is contiguous")
        if self.packed and self.pixel_pitch != self.input_channels and self.kernel_width > 1:
            yield Violation("pixel_pitch", self.pixel_pitch, f"input_channels ({self.input_channels}) in packed mode")


@instruction("DWC", 9, Queue.MAC)
class ConvolveDepthwise(MatrixInstruction):
    """Convolve every channel of a feature map, or every small group of channels, with its own kernel.

    As CONV, but output channel c sums over ky, kx and the input channels of its own group alone, which has
    g = 2^`group` channels: `x(…, c - c mod g + j) * (w(c, ky, kx, j) - weight_zero)` for j from 0 to g - 1. With
    `group` 0 that is input channel c. Accumulators are set, never added to. With `wide` the map is that of a CONV with
    `wide`, and `group` is 0."""

    weights: int = bits(14, "weights, layout of depthwise weights", unit="64 B")
    blocks: int = bits(10, "channels", unit="16", minimum=1, after="output_width")
    group: int = bits(3, "binary logarithm of the channels of a group", default=0)
    wide: int = flag("the map has 16 bits an element, in two blocks")

    @property
    def products(self) -> int:
        """Products that a sum is made of."""
        return self.kernel_height * self.kernel_width << self.group

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights read, those of a block of 16 channels rounded up to whole lines."""
        return self.blocks * -(-self.products * CHANNEL_BLOCK // WEIGHT_UNIT) * WEIGHT_UNIT

    @property
    def macs(self) -> int:
        """Multiplications, padding included."""
        return self.output_height * self.output_width * self.outputs * self.products << self.wide

    @property
    def outputs(self) -> int:
        """Channels that are computed."""
        return self.blocks * CHANNEL_BLOCK - self.unused

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Input map, weights, accumulators."""
        return (
            *map_reads(
                *(cluster, self.source * MAPS_UNIT, axes(self)),
                *((self.row_pitch * MAPS_UNIT, self.pixel_pitch * MAPS_UNIT), self.blocks * CHANNEL_BLOCK << self.wide),
            ),
            _weights(self, cluster),
            _accumulators(self, cluster, self.blocks),
        )

    def violations(self) -> Iterator[Violation]:
        """A ring holds what is read, and a block of channels whole groups."""
        yield from super().violations()
        if 1 << self.group > CHANNEL_BLOCK:
            yield Violation("group", self.group, f"at most 4, groups of {CHANNEL_BLOCK} channels")
        if self.wide and self.group:
            yield Violation("group", self.group, "0 for a map of 16 bits")
