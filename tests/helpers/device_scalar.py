"""A second interpreter, written from the text of the instruction set, one element at a time.

It shares with the engines nothing but the decoded fields: addresses, arithmetic and loops are its own, in plain
integers and single binary32 operations. Slow; for small instructions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import instruction_set as isa
import numpy as np

from tilewright.runtime.isa.vector import MapInstruction


@dataclass
class Memories:
    """Bytes of the scratchpads and regions of one run."""

    maps: bytearray
    weights: bytearray
    accumulators: bytearray
    parameters: bytearray
    regions: list[bytearray]


def signed(byte: int) -> int:
    return byte - 256 if byte >= 128 else byte


def wrap(value: int, bits: int = 32) -> int:
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def word(data: bytearray, at: int) -> int:
    return struct.unpack_from("<i", data, at)[0]


def real(data: bytearray, at: int) -> Fraction:
    return Fraction(struct.unpack_from("<f", data, at)[0])


def binary32(value: Fraction) -> Fraction:
    """Round a rational to 24 significant bits, ties to even (no subnormals are met here)."""
    if value == 0:
        return value
    exponent = 0
    magnitude = abs(value)
    while magnitude >= 1 << 24:
        magnitude, exponent = magnitude / 2, exponent + 1
    while magnitude < 1 << 23:
        magnitude, exponent = magnitude * 2, exponent - 1
    rounded = round(magnitude) * Fraction(2) ** exponent
    return rounded if value > 0 else -rounded


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def run(memory: Memories, item: isa.Instruction) -> None:
    """Execute one instruction."""
    _EXECUTE[type(item)](memory, item)


def load_maps(memory: Memories, item: isa.LoadMaps) -> None:
    region = memory.regions[item.region]
    for z in range(item.count_z):
        for y in range(item.count_y):
            target = (item.destination + z * item.map_stride_z + y * item.map_stride_y) * 16
            for x in range((item.run + 15) // 16 * 16):
                value = 0
                if x < item.run:
                    value = region[item.offset + z * item.dram_stride_z + y * item.dram_stride_y + x]
                    value ^= 0x80 if item.flip else 0
                memory.maps[target + x] = value


def store(memory: Memories, item: isa.Store) -> None:
    for z in range(item.count_z):
        for y in range(item.count_y):
            for x in range(item.run):
                value = memory.maps[(item.source + z * item.map_stride_z + y * item.map_stride_y) * 16 + x]
                target = item.offset + z * item.dram_stride_z + y * item.dram_stride_y + x
                memory.regions[item.region][target] = value ^ (0x80 if item.flip else 0)


def load_weights(memory: Memories, item: isa.LoadWeights) -> None:
    for at in range(item.length * 64):
        memory.weights[item.destination * 64 + at] = memory.regions[item.region][item.offset * 64 + at]


def load_parameters(memory: Memories, item: isa.LoadParameters) -> None:
    for at in range(item.length * 64):
        memory.parameters[item.destination * 64 + at] = memory.regions[item.region][item.offset * 64 + at]


def _accumulate(memory: Memories, at: int, value: int, accumulate: int) -> None:
    old = word(memory.accumulators, at) if accumulate else 0
    struct.pack_into("<i", memory.accumulators, at, wrap(old + value))


def convolve(memory: Memories, item: isa.Convolve) -> None:
    unit = 1 if item.packed else 16
    channels, pitch = item.input_channels * unit, item.pixel_pitch * unit
    trace = (item.kernel_height * item.kernel_width * channels + 15) // 16 * 16

    def x(iy: int, ix: int, c: int) -> int:
        if not (0 <= iy < item.input_height and 0 <= ix < item.input_width):
            return 256 * item.pad_value - 128 if item.wide else item.pad_value
        row = iy % item.ring if item.ring else iy
        pixel = item.source * 16 + row * item.row_pitch * 16 + ix * pitch
        return pair(memory, pixel, c) if item.wide else signed(memory.maps[pixel + c])

    def w(o: int, ky: int, kx: int, c: int) -> int:
        row = o // 16 * trace + (ky * item.kernel_width + kx) * channels + c
        return signed(memory.weights[item.weights * 64 + row * 16 + o % 16])

    for oy in range(item.output_height):
        for ox in range(item.output_width):
            for o in range(item.output_blocks * 16):
                total = 0
                for ky in range(item.kernel_height):
                    for kx in range(item.kernel_width):
                        iy = oy * item.stride_height + ky * item.dilation_height + item.row_origin
                        ix = ox * item.stride_width + kx * item.dilation_width + item.column_origin
                        for c in range(channels):
                            total += x(iy, ix, c) * (w(o, ky, kx, c) - item.weight_zero)
                if o >= item.output_blocks * 16 - item.unused or o < 4 * item.skipped:
                    total = 0
                at = (oy * item.output_width + ox) * item.output_blocks * 16 + o
                _accumulate(memory, item.accumulator * 64 + at * 4, total, item.accumulate)


def convolve_depthwise(memory: Memories, item: isa.ConvolveDepthwise) -> None:
    taps, group = item.kernel_height * item.kernel_width, 2**item.group
    block_bytes = (taps * group * 16 + 63) // 64 * 64
    for oy in range(item.output_height):
        for ox in range(item.output_width):
            for c in range(item.blocks * 16):
                total = 0
                for ky in range(item.kernel_height):
                    for kx in range(item.kernel_width):
                        iy = oy * item.stride_height + ky * item.dilation_height + item.row_origin
                        ix = ox * item.stride_width + kx * item.dilation_width + item.column_origin
                        tap = ky * item.kernel_width + kx
                        for j in range(group):
                            value = 256 * item.pad_value - 128 if item.wide else item.pad_value
                            if 0 <= iy < item.input_height and 0 <= ix < item.input_width:
                                row = iy % item.ring if item.ring else iy
                                at = (item.source + row * item.row_pitch + ix * item.pixel_pitch) * 16
                                channel = c // group * group + j
                                value = pair(memory, at, channel) if item.wide else signed(memory.maps[at + channel])
                            at = item.weights * 64 + c // 16 * block_bytes + (tap * group + j) * 16 + c % 16
                            total += value * (signed(memory.weights[at]) - item.weight_zero)
                if c >= item.blocks * 16 - item.unused:
                    total = 0
                at = (oy * item.output_width + ox) * item.blocks * 16 + c
                _accumulate(memory, item.accumulator * 64 + at * 4, total, 0)


def move_weights(memory: Memories, item: isa.MoveWeights) -> None:
    whole = -(-item.pixels // 16) * 16
    for p in range(whole):
        for c in range(item.blocks * 16):
            byte = memory.maps[(item.source + p * item.pixel_pitch) * 16 + c] if p < item.pixels else 0
            across = (p // 16 * item.blocks * 16 + c) * 16 + p % 16
            along = (c // 16 * whole + p) * 16 + c % 16
            memory.weights[item.destination * 64 + (across if item.turned else along)] = byte


def weigh(memory: Memories, item: isa.Weigh) -> None:
    for y in range(item.height):
        for x in range(item.width):
            found: dict[int, int] = {}
            for o in range(item.blocks * 16 - item.unused):
                at = ((y * item.width + x) * item.blocks * 16 + o) * 4
                total = word(memory.accumulators, item.accumulator * 64 + at)
                if item.shares:
                    if not item.causal or o <= item.first + y:
                        found[o] = max(total, 0)
                    continue
                total *= item.multiplier
                if item.masked:
                    at = (item.source + y * item.source_row_pitch + x * item.source_pixel_pitch) * 16 + o
                    if memory.maps[at] == 128:
                        continue
                    total += (signed(memory.maps[at]) - item.mask_zero) * item.mask_multiplier
                if not item.causal or o <= item.first + y:
                    found[o] = round(Fraction(total, 1 << item.shift))
            top = max(found.values(), default=0)
            weights = {o: top - z for o, z in found.items()}
            for o, below in weights.items():
                if item.shares:
                    share = binary32(Fraction(127) / binary32(Fraction(max(top, 1))))
                    weights[o] = round(binary32(binary32(Fraction(found[o])) * share))
                    continue
                power = round(127 * 256 * 2 ** (-(below % 256) / 256))
                weights[o] = round(Fraction(power, 1 << min(8 + below // 256, 100)))
            target = item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch
            written = [weights.get(o, 0) for o in range(item.blocks * 16)]
            written += [*struct.pack("<i", sum(weights.values())), *bytes(12)]
            memory.maps[target * 16 : target * 16 + len(written)] = bytes(written)


def scaled(memory: Memories, item: isa.Requantize | isa.RequantizeWide, y: int, x: int, o: int) -> Fraction:
    """An accumulator with its bias, times its multiplier."""
    at = item.accumulator * 64 + ((y * item.width + x) * item.blocks * 16 + o) * 4
    lane = item.parameters * 64 + o // 16 * 128 + o % 16 * 4
    total = wrap(word(memory.accumulators, at) + word(memory.parameters, lane))
    return binary32(binary32(Fraction(total)) * real(memory.parameters, lane + 64))


def activated(item: isa.Requantize | isa.RequantizeWide, number: Fraction) -> Fraction:
    """A negative number times the slope."""
    if not item.slope or number >= 0:
        return number
    return binary32(number * Fraction(struct.unpack("<f", struct.pack("<I", item.slope))[0]))


def requantize(memory: Memories, item: isa.Requantize | isa.RequantizeSum | isa.RequantizeMean) -> None:
    for y in range(item.height):
        for x in range(item.width):
            for o in range(item.blocks * 16):
                product = scaled(memory, item, y, x, o)
                if isinstance(item, isa.RequantizeSum):
                    at = (item.source + y * item.source_row_pitch + x * item.source_pixel_pitch) * 16 + o
                    factor = Fraction(struct.unpack("<f", struct.pack("<I", item.source_multiplier))[0])
                    added = binary32((signed(memory.maps[at]) - item.source_zero) * factor)
                    product = binary32(product + added)
                if isinstance(item, isa.RequantizeMean):
                    at = (item.source + y * item.source_row_pitch + x * item.source_pixel_pitch) * 16
                    product = binary32(product * binary32(1 / binary32(Fraction(max(word(memory.maps, at), 1)))))
                value = clamp(round(activated(item, product)) + item.zero_point, item.low, item.high)
                target = (item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch) * 16 + o
                if o >= item.blocks * 16 - item.unused:
                    value = memory.maps[target - 8] if item.doubled else 0
                memory.maps[target] = value & 255


def pair(memory: Memories, pixel: int, channel: int) -> int:
    """A number of 16 bits, without the 128 that its second byte is less."""
    at = pixel + channel // 16 * 32 + channel % 16
    return 256 * signed(memory.maps[at]) + signed(memory.maps[at + 16])


def requantize_wide(memory: Memories, item: isa.RequantizeWide) -> None:
    for y in range(item.height):
        for x in range(item.width):
            for o in range(item.blocks * 16):
                product = scaled(memory, item, y, x, o)
                if item.sum:
                    at = (item.source + y * item.source_row_pitch + x * item.source_pixel_pitch) * 16
                    factor = Fraction(struct.unpack("<f", struct.pack("<I", item.source_multiplier))[0])
                    added = binary32((pair(memory, at, o) + 128 - item.source_zero) * factor)
                    product = binary32(product + added)
                value = clamp(round(activated(item, product)) + item.zero_point, item.low, item.high)
                if o >= item.blocks * 16 - item.unused:
                    target = item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch
                    value = pair(memory, target * 16, o - 8) + 128 if item.doubled else 0
                put_pair(memory, item, y, x, o, value)


def normalize(memory: Memories, item: isa.Normalize) -> None:
    channels = item.blocks * 16 - item.unused
    epsilon = struct.unpack("<f", struct.pack("<I", item.epsilon))[0]

    @cache
    def lane(o: int, form: str, at: int) -> float:
        size = struct.calcsize(form)
        return struct.unpack_from(form, memory.parameters, item.parameters * 64 + o // 16 * 192 + at + o % 16 * size)[0]

    def number(pixel: int, o: int) -> int:
        return pair(memory, pixel, o) + 128 if item.wide else signed(memory.maps[pixel + o])

    def multiplier(o: int, place: int) -> int:
        found = int(lane(o, "<h", place))
        return (found + 256) % 512 - 256 if item.wide else found

    # What is normalised together, by pixel, or by group of channels.
    together: dict[tuple[int, ...], dict[tuple[int, int, int], int]] = {}
    for y, x, o in np.ndindex(item.height, item.width, channels):
        at = (item.source + y * item.source_row_pitch + x * item.source_pixel_pitch) * 16
        skip = (item.skip + y * item.skip_row_pitch + x * item.skip_pixel_pitch) * 16
        value = (number(at, o) - item.source_zero) * multiplier(o, 0)
        if item.sum:
            value += (number(skip, o) - item.skip_zero) * multiplier(o, 32)
        together.setdefault((o // item.group,) if item.group else (y, x), {})[y, x, o] = value
    results: dict[tuple[int, int, int], int] = {}
    for values in together.values():
        mean = round(Fraction(sum(values.values()), len(values))) if item.centred else 0
        squares = wrap(sum((value - mean) ** 2 for value in values.values()), 64)
        size = max(binary32(binary32(Fraction(squares)) + Fraction(epsilon)), Fraction(1))
        quotient = binary32(1 / Fraction(float(np.sqrt(np.float32(float(size))))))
        # Equal elements of a channel become equal bytes.
        known: dict[tuple[int, int], int] = {}
        for place, value in values.items():
            o = place[2]
            if (o, value) not in known:
                gain, offset = (Fraction(lane(o, "<f", at)) for at in (64, 128))
                scaled = binary32(binary32(binary32(Fraction(value - mean)) * gain) * quotient)
                known[o, value] = clamp(round(binary32(scaled + offset)) + item.zero_point, item.low, item.high)
            results[place] = known[o, value]
    for y, x, o in np.ndindex(item.height, item.width, item.blocks * 16):
        target = item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch
        memory.maps[target * 16 + o] = results.get((y, x, o), 0) & 255


@dataclass
class Record:
    """The words of a vector record, by their places."""

    zero_a: int
    zero_b: int
    zero_output: int
    offset: int
    multiplier_a: int
    multiplier_b: int
    shift: int
    scale_a: Fraction
    scale_output: Fraction
    multiplier: Fraction


def record(memory: Memories, line: int) -> Record:
    at = line * 64
    a, b, output, offset, factor_a, factor_b, shift = (word(memory.parameters, at + 4 * i) for i in range(7))
    scale_a, scale_output, factor = (real(memory.parameters, at + 4 * i) for i in (7, 8, 9))
    return Record(a, b, output, offset, factor_a, factor_b, shift, scale_a, scale_output, factor)


def pool(memory: Memories, item: isa.Pool) -> None:
    for oy in range(item.height):
        for ox in range(item.width):
            for c in range(item.blocks * 16 if item.kind < 3 else item.blocks * 8):
                window = []
                for ky in range(item.kernel_height):
                    for kx in range(item.kernel_width):
                        iy = oy * item.stride_height + ky + item.row_origin
                        ix = ox * item.stride_width + kx + item.column_origin
                        if 0 <= iy < item.input_height and 0 <= ix < item.input_width:
                            row = iy % item.ring if item.ring else iy
                            at = item.source + row * item.source_row_pitch + ix * item.source_pixel_pitch
                            wide = item.kind == 3
                            window.append(pair(memory, at * 16, c) if wide else signed(memory.maps[at * 16 + c]))
                target = item.destination + oy * item.destination_row_pitch + ox * item.destination_pixel_pitch
                if item.kind == 3:
                    at = target * 16 + c // 16 * 32 + c % 16
                    found = max(window) + 128
                    memory.maps[at], memory.maps[at + 16] = (found >> 8) & 255, (found % 256 - 128) & 255
                else:
                    is_used = c < item.blocks * 16 - item.unused
                    memory.maps[target * 16 + c] = _pooled(memory, item, window) & 255 if is_used else 0


def _pooled(memory: Memories, item: isa.Pool, window: list[int]) -> int:
    if item.kind == 0:
        return max(window)
    values = record(memory, item.parameters)
    if item.kind == 2:
        total = binary32(Fraction(sum(x - values.zero_a for x in window)))
        return clamp(round(binary32(total * values.multiplier)) + values.zero_output + values.offset, -128, 127)
    total = Fraction(0)
    for x in window:
        total = binary32(total + binary32(values.scale_a * (x - values.zero_a)))
    count = item.kernel_height * item.kernel_width if item.include_pad else len(window)
    mean = binary32(binary32(total / count) / values.scale_output)
    return clamp(round(binary32(mean + values.zero_output)) + values.offset, -128, 127)


def put_pair(memory: Memories, item: MapInstruction, y: int, x: int, o: int, value: int) -> None:
    """Write a number of 16 bits of an output."""
    target = (item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch) * 16
    target += o // 16 * 32 + o % 16
    memory.maps[target] = value // 256 & 255
    memory.maps[target + 16] = value % 256 - 128 & 255


def multiply_wide(memory: Memories, item: isa.Elementwise) -> None:
    factor = record(memory, item.parameters).multiplier
    for y in range(item.height):
        for x in range(item.width):
            for o in range(item.blocks * 8):
                a = pair(memory, (item.source_a + y * item.row_pitch_a + x * item.pixel_pitch_a) * 16, o) + 128
                b = pair(memory, (item.source_b + y * item.row_pitch_b + x * item.pixel_pitch_b) * 16, o) + 128
                product = round(binary32(binary32(Fraction(a * b)) * factor))
                put_pair(memory, item, y, x, o, clamp(product, -(2**15), 2**15 - 1))


def elementwise(memory: Memories, item: isa.Elementwise) -> None:
    if item.kind == 4:
        multiply_wide(memory, item)
        return
    values = record(memory, item.parameters)
    for y in range(item.height):
        for x in range(item.width):
            for c in range(item.blocks * 16):
                a = signed(memory.maps[(item.source_a + y * item.row_pitch_a + x * item.pixel_pitch_a) * 16 + c])
                b = signed(memory.maps[(item.source_b + y * item.row_pitch_b + x * item.pixel_pitch_b) * 16 + c])
                left, right = a - values.zero_a, b - values.zero_b
                if item.kind == 1:
                    product = binary32(binary32(Fraction(left * right)) * values.multiplier)
                    result = round(binary32(product + values.zero_output))
                else:
                    left, right = left * values.multiplier_a, right * values.multiplier_b
                    chosen = {0: left + right, 2: max(left, right), 3: min(left, right)}[item.kind]
                    result = round(Fraction(chosen, 1 << values.shift) + values.zero_output)
                target = item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch
                memory.maps[target * 16 + c] = clamp(result + values.offset, item.low, item.high) & 255


def interpolate(memory: Memories, item: isa.LookUp) -> None:
    def knot(number: int) -> int:
        return (word(memory.parameters, item.table * 64 + number * 4) + 2**19) % 2**20 - 2**19

    for y in range(item.height):
        for x in range(item.width):
            for o in range(item.blocks * 8):
                source = item.source + y * item.source_row_pitch + x * item.source_pixel_pitch
                number = pair(memory, source * 16, o) + 128
                m, side = (number, 0) if number >= 0 else (-1 - number, 360)
                e = max(m.bit_length() - 6, 0)
                first, rest = side + 32 * e + m // 2**e, Fraction(m % 2**e, 2**e)
                between = knot(first) * (1 - rest) + knot(first + 1) * rest
                put_pair(memory, item, y, x, o, clamp(round(between / 4), -(2**15), 2**15 - 1))


def look_up(memory: Memories, item: isa.LookUp) -> None:
    if item.wide:
        interpolate(memory, item)
        return
    for y in range(item.height):
        for x in range(item.width):
            for c in range(item.blocks * 16):
                source = item.source + y * item.source_row_pitch + x * item.source_pixel_pitch
                target = item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch
                value = signed(memory.maps[source * 16 + c])
                memory.maps[target * 16 + c] = memory.parameters[item.table * 64 + value + 128]


def resize_nearest(memory: Memories, item: isa.ResizeNearest) -> None:
    for y in range(item.height):
        for x in range(item.width):
            for c in range(item.blocks * 16):
                iy = (y * item.step_height + item.origin_height) // 65536
                ix = (x * item.step_width + item.origin_width) // 65536
                source = item.source + iy * item.source_row_pitch + ix * item.source_pixel_pitch
                target = item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch
                memory.maps[target * 16 + c] = memory.maps[source * 16 + c]


def resize_linear(memory: Memories, item: isa.ResizeLinear) -> None:
    def place(index: int, step: int, origin: int, extent: int) -> tuple[int, int, Fraction]:
        point = Fraction((index * step + origin) // 65536, 2048)
        point = min(max(point, Fraction(0)), Fraction(extent - 1))
        first = int(point)
        return first, min(first + 1, extent - 1), point - first

    for y in range(item.height):
        top, bottom, f = place(y, item.step_height, item.origin_height, item.input_height)
        for x in range(item.width):
            left, right, g = place(x, item.step_width, item.origin_width, item.input_width)
            target = item.destination + y * item.destination_row_pitch + x * item.destination_pixel_pitch
            for c in range(item.blocks * 16):
                total = Fraction(0)
                for row, vertical in ((top, 1 - f), (bottom, f)):
                    for column, horizontal in ((left, 1 - g), (right, g)):
                        source = item.source + row * item.source_row_pitch + column * item.source_pixel_pitch
                        total += signed(memory.maps[source * 16 + c]) * vertical * horizontal
                memory.maps[target * 16 + c] = round(total) & 255


_EXECUTE = {
    isa.LoadMaps: load_maps,
    isa.Store: store,
    isa.LoadWeights: load_weights,
    isa.LoadParameters: load_parameters,
    isa.Convolve: convolve,
    isa.ConvolveDepthwise: convolve_depthwise,
    isa.Requantize: requantize,
    isa.RequantizeSum: requantize,
    isa.RequantizeMean: requantize,
    isa.MoveWeights: move_weights,
    isa.Weigh: weigh,
    isa.RequantizeWide: requantize_wide,
    isa.Normalize: normalize,
    isa.Pool: pool,
    isa.Elementwise: elementwise,
    isa.LookUp: look_up,
    isa.ResizeLinear: resize_linear,
    isa.ResizeNearest: resize_nearest,
    isa.Barrier: lambda memory, item: None,
    isa.End: lambda memory, item: None,
}


def random_bytes(rng: np.random.Generator, size: int) -> bytearray:
    """Bytes of any value."""
    return bytearray(rng.integers(0, 256, size, np.uint8).tobytes())
