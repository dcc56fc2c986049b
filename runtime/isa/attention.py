"""Instructions of attention: a map as weights of the array (queue LW), and what the vector unit makes of scores."""

from collections.abc import Iterator

from ..machines.machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, MAPS_ADDRESS_BITS, MAPS_UNIT, WEIGHT_UNIT
from .accesses import MemoryAccess, Space
from .encoding import FIRST, LAST, Instruction, Queue, Violation, bits, flag, instruction
from .vector import MapInstruction, Requantize, map_access

SHIFT_LIMIT = 40
"""Bits of scores that are rounded away."""

TOTAL_BYTES = 4
"""Of the sum of the weights of a pixel."""


@instruction("MVW", 10, Queue.LW)
class MoveWeights(Instruction):
    """Copy pixels of the maps scratchpad to the weight scratchpad, as dense weights of a kernel of one row and column.

    Pixel p lies at `source + p * pixel_pitch` and has `blocks` times 16 channels. Without `turned`, pixels are input
    channels and channels output channels: the byte at `destination + (b * P + p) * 16 + j` becomes channel 16 * b + j
    of pixel p, where P is `pixels` rounded up to a multiple of 16, and 0 for p from `pixels` on. With `turned`, pixels
    are output channels and channels input channels: the byte at
    `destination + (floor(p / 16) * blocks * 16 + c) * 16 + p mod 16` becomes channel c of pixel p, and 0 for p from
    `pixels` to P - 1."""

    source: int = bits(MAPS_ADDRESS_BITS, "first byte in the maps scratchpad", unit="16 B")
    destination: int = bits(14, "first line of the weight scratchpad", unit="64 B")
    pixels: int = bits(12, "pixels", minimum=1)
    blocks: int = bits(10, "channels", unit="16", minimum=1)
    pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the map", unit="16 B")
    turned: int = flag("pixels are output channels, not input channels")

    @property
    def padded_pixels(self) -> int:
        """Pixels with those of zeros that fill the last block."""
        return -(-self.pixels // CHANNEL_BLOCK) * CHANNEL_BLOCK

    @property
    def moved_bytes(self) -> int:
        """Bytes written."""
        return self.padded_pixels * self.blocks * CHANNEL_BLOCK

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Pixels of a map, weights."""
        run, steps = self.blocks * CHANNEL_BLOCK, ((self.pixels, self.pixel_pitch * MAPS_UNIT),)
        start = self.destination * WEIGHT_UNIT
        return (
            MemoryAccess(Space.MAPS, self.source * MAPS_UNIT, steps, run, False, cluster=cluster),
            MemoryAccess(Space.WEIGHTS, start, (), self.moved_bytes, True, cluster=cluster),
        )


@instruction("SFM", 24, Queue.VEC)
class Weigh(MapInstruction):
    """Turn scores, int32 accumulators, into weights of a softmax: 127 for the largest of a pixel, not divided yet.

    For every pixel (y, x) and key o, `z = round_shift(acc[(y * width + x) * blocks * 16 + o] * multiplier +
    m * mask_multiplier, shift)`, exact but for the one rounding to nearest even. With `masked`, m is the byte at
    `source + y * source_row_pitch + x * source_pixel_pitch + o` less `mask_zero`, otherwise 0. Key o is seen unless it
    is one of the last `unused`, that byte is -128, or o is larger than `first + y` and `causal` is set. With Z the
    largest z of the pixel that is seen and d = Z - z, the byte at `destination + y * destination_row_pitch +
    x * destination_pixel_pitch + o` becomes `round_shift(T[d mod 256], 8 + floor(d / 256))` if the key is seen, else 0,
    where T[i] is 127 * 2^(8 - i / 256) rounded to nearest. The 16 bytes behind the last block become the sum of these
    weights, an int32, and zeros. A `source_row_pitch` of 0 repeats a row of the mask.

    With `shares`, weights are in proportion to what of the accumulators is above 0: with A the largest of the pixel
    that is seen, or 1 if that is less, `rint(binary32(binary32(max(acc, 0)) * binary32(127 / binary32(A))))`. There is
    no mask then, and `multiplier` and `shift` are 0."""

    accumulator: int = bits(14, "first accumulator", unit="64 B", after=FIRST)
    source: int = bits(MAPS_ADDRESS_BITS, "mask, pixel (0, 0)", unit="16 B", default=0)
    source_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the mask", unit="16 B", default=0)
    source_pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the mask", unit="16 B", default=0)
    multiplier: int = bits(25, "of scores", signed=True)
    mask_multiplier: int = bits(31, "of the mask", default=0)
    mask_zero: int = bits(8, "zero point of the mask", signed=True, default=0)
    shift: int = bits(6, "bits that are rounded away")
    first: int = bits(12, "last key that row 0 sees", default=0)
    unused: int = bits(4, "keys at the end of the last block that there are not", default=0)
    masked: int = flag("a mask is added to the scores")
    causal: int = flag("rows see the keys up to one, the next row one more")
    shares: int = flag("weights are shares of what is above 0, not of exponentials")

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Accumulators, mask, weights."""
        size = self.height * self.width * self.blocks * ACCUMULATOR_UNIT
        extents = self.height, self.width, self.blocks
        mask = map_access(cluster, self.source, extents, (self.source_row_pitch, self.source_pixel_pitch), False)
        return (
            MemoryAccess(Space.ACCUMULATORS, self.accumulator * ACCUMULATOR_UNIT, (), size, False, cluster=cluster),
            *([mask] if self.masked else []),
            *super().accesses(cluster),
        )

    @property
    def written_blocks(self) -> int:
        """With that of the sum."""
        return self.blocks + 1

    def violations(self) -> Iterator[Violation]:
        """No more bits are rounded away than there are, a mask is there or is not, shares have no factor, pixels do not
        overlap."""
        if self.shift > SHIFT_LIMIT:
            yield Violation("shift", self.shift, f"at most {SHIFT_LIMIT}")
        mask = ("source", "source_row_pitch", "source_pixel_pitch", "mask_multiplier", "mask_zero")
        for name in mask if not self.masked else ():
            if getattr(self, name):
                yield Violation(name, getattr(self, name), "0 without a mask")
        for name in ("masked", "multiplier", "shift") if self.shares else ():
            if getattr(self, name):
                yield Violation(name, getattr(self, name), "0 where weights are shares")
        yield from super().violations()


@instruction("RQM", 25, Queue.VEC)
class RequantizeMean(Requantize):
    """Turn int32 accumulators into an int8 feature map: weighted sums over the sums of their weights.

    As RQ, with `p = binary32(binary32(binary32(a) * multiplier[o]) * binary32(1 / binary32(n)))`, where n is the int32
    in the first four bytes at `source + y * source_row_pitch + x * source_pixel_pitch`, or 1 if that is less. `slope`
    is 0, as the quotient takes its multiplier."""

    source: int = bits(MAPS_ADDRESS_BITS, "sum of the weights of pixel (0, 0)", unit="16 B")
    source_row_pitch: int = bits(MAPS_ADDRESS_BITS, "from row to row of the sums", unit="16 B")
    source_pixel_pitch: int = bits(MAPS_ADDRESS_BITS, "from pixel to pixel of the sums", unit="16 B")
    slope: int = bits(32, "no slope", maximum=0, default=0, after=LAST)

    def accesses(self, cluster: int) -> tuple[MemoryAccess, ...]:
        """Accumulators, parameters, sums of weights, output map."""
        *read, written = super().accesses(cluster)
        pitches = self.source_row_pitch, self.source_pixel_pitch
        return *read, map_access(cluster, self.source, (self.height, self.width, 1), pitches, False), written
