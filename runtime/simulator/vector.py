"""Vector instructions of the functional engine, and the one that makes weights of a map."""

import numpy as np
from numpy.typing import NDArray

from ..isa.attention import TOTAL_BYTES, MoveWeights, RequantizeMean, Weigh
from ..isa.layouts import NormalizationParameters
from ..isa.matrix import MapWindows
from ..isa.normalization import Normalize
from ..isa.resize import INTERPOLATION_BITS, Points, ResizeLinear, ResizeNearest
from ..isa.vector import (
    WIDE_TABLE_SIDE,
    Elementwise,
    LookUp,
    MapInstruction,
    Pool,
    PoolKind,
    Requantize,
    RequantizeSum,
    RequantizeWide,
)
from ..machines.machine import CHANNEL_BLOCK, MAPS_UNIT, WEIGHT_UNIT
from . import arithmetic
from .arithmetic import LOWEST, VectorRecord, pool_average, pool_sum, round_shift
from .memory import LARGEST_IMAGE, Memory, box, map_inside

_OCTAVE, _BITS, _LARGEST = 256, 8, 127
_TABLE = np.rint(np.exp2(-np.arange(_OCTAVE) / _OCTAVE) * (_LARGEST << _BITS)).astype(np.int64)


def _map(
    memory: Memory, start: int, item: MapInstruction, pitches: tuple[int, int], blocks: int | None = None
) -> NDArray[np.int8]:
    """View of a feature map of the size of an instruction's output, or of so many blocks: int8 [rows, columns,
    channels]."""
    shape = (item.height, item.width, (blocks or item.blocks) * CHANNEL_BLOCK)
    return box(memory.maps, start * MAPS_UNIT, shape, (pitches[0] * MAPS_UNIT, pitches[1] * MAPS_UNIT, 1), np.int8)


def _output(memory: Memory, item: MapInstruction) -> NDArray[np.int8]:
    pitches = item.destination_row_pitch, item.destination_pixel_pitch
    return _map(memory, item.destination, item, pitches, item.written_blocks)


def by_byte(table: NDArray[np.uint8]) -> NDArray[np.int8]:
    """A table of 256 bytes, entry v + 128 for int8 v, reordered so that v as an unsigned byte is the index."""
    return np.roll(table, 128).view(np.int8)


def requantize(memory: Memory, item: Requantize, parameters: tuple[NDArray[np.int32], NDArray[np.float32]]) -> None:
    """Execute RQ, RQA, RQM or RQW."""
    bias, multiplier = parameters
    total = memory.accumulated(item.accumulator, item.height * item.width, item.blocks) + bias
    is_wide, residual = isinstance(item, RequantizeWide), None
    if isinstance(item, RequantizeSum) and item.adds:
        place = item.source, item, (item.source_row_pitch, item.source_pixel_pitch)
        added = of_pairs(_pairs(memory, *place)) if is_wide else _map(memory, *place).astype(np.int16)
        steps = (added - item.source_zero).astype(np.float32)
        residual = np.multiply(steps, item.residual_factor, out=steps).reshape(total.shape)
    quotient = quotients(memory, item).reshape(-1, 1) if isinstance(item, RequantizeMean) else None
    into, dtype = (item.zero_point, item.low, item.high), np.int32 if is_wide else np.int8
    value = arithmetic.requantize(total, multiplier, *into, residual, quotient, dtype, item.below_zero)
    end = item.blocks * CHANNEL_BLOCK
    value[:, end - item.unused :] = value[:, end - CHANNEL_BLOCK : end - item.unused] if item.doubled else 0
    if is_wide:
        _write_pairs(memory, item, value.reshape(item.height, item.width, item.blocks, CHANNEL_BLOCK))
    else:
        _output(memory, item)[...] = value.reshape(item.height, item.width, -1)


def _write_pairs(memory: Memory, item: MapInstruction, numbers: NDArray[np.int32]) -> None:
    """Write the output of numbers of 16 bits [rows, columns, blocks of both bytes, 16]."""
    pitches = item.destination_row_pitch, item.destination_pixel_pitch
    _pairs(memory, item.destination, item, pitches)[...] = _in_pairs(numbers)


def pairs(memory: Memory, start: int, size: tuple[int, int, int], pitches: tuple[int, int]) -> NDArray[np.int8]:
    """View of a map of 16 bits, of so many rows, columns and blocks of both bytes: int8 [*size, 2, 16]."""
    steps = (pitches[0] * MAPS_UNIT, pitches[1] * MAPS_UNIT, 2 * CHANNEL_BLOCK, CHANNEL_BLOCK, 1)
    return box(memory.maps, start * MAPS_UNIT, (*size, 2, CHANNEL_BLOCK), steps, np.int8)


def _pairs(memory: Memory, start: int, item: MapInstruction, pitches: tuple[int, int]) -> NDArray[np.int8]:
    """The same of the size of an output."""
    return pairs(memory, start, (item.height, item.width, item.written_blocks // 2), pitches)


def of_pairs(halves: NDArray[np.int8]) -> NDArray[np.int32]:
    """Numbers of 16 bits [..., 16] of the bytes of two blocks, [..., 2, 16]."""
    return 256 * halves[..., 0, :].astype(np.int32) + halves[..., 1, :] + 128


def _in_pairs(numbers: NDArray[np.int32]) -> NDArray[np.int8]:
    """The inverse of :func:`of_pairs`."""
    return np.stack([numbers >> 8, (numbers & 255) - 128], axis=-2).astype(np.int8)


def pool(memory: Memory, item: Pool, record: VectorRecord | None) -> None:
    """Execute POOL, a tap at a time in row-major order, as many channels at once as are cheap to widen."""
    vertical, horizontal = item.axes
    rows, columns = vertical.inside, horizontal.inside
    pitches = (item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT)
    shape = (len(rows), len(columns), item.blocks * CHANNEL_BLOCK)
    source = map_inside(memory, item.source * MAPS_UNIT, item.axes, pitches, shape[2])
    is_wide = item.kind == PoolKind.WIDE_MAXIMUM
    # The output may overlap the input, so it is written last.
    result = np.full((item.height, item.width, shape[2]), LOWEST, np.int8)
    least = CHANNEL_BLOCK * (1 + is_wide)
    step = max(LARGEST_IMAGE // (len(rows) * len(columns) * least), 1) * least
    for first in range(0, shape[2], step):
        channels = slice(first, first + step)
        if record is None:
            part, of = source[:, :, channels], result[:, :, channels]
            of[...] = _wide_maximum(item, part) if is_wide else _reduce(item, part, of, np.maximum)
            continue
        image = source[:, :, channels].astype(np.int32) - int(record["zero_a"])
        if item.kind == PoolKind.SUM:
            result[:, :, channels] = pool_sum(_sum(item, image), record)
        else:
            scaled = image.astype(np.float32)
            np.multiply(scaled, np.float32(record["scale_a"]), out=scaled)
            result[:, :, channels] = pool_average(_sum(item, scaled), _counts(item), record)
    result[:, :, shape[2] - item.unused :] = 0
    _output(memory, item)[...] = result


def _wide_maximum(item: Pool, source: NDArray[np.int8]) -> NDArray[np.int8]:
    """The largest numbers of 16 bits in pairs of blocks."""
    halves = source.reshape(*source.shape[:2], -1, 2, CHANNEL_BLOCK)
    numbers = of_pairs(halves).reshape(*source.shape[:2], -1)
    total = np.full((item.height, item.width, numbers.shape[2]), np.iinfo(np.int16).min, np.int32)
    found = _reduce(item, numbers, total, np.maximum)
    return _in_pairs(found.reshape(*found.shape[:2], -1, CHANNEL_BLOCK)).reshape(*found.shape[:2], -1)


def _sum(item: Pool, image: NDArray) -> NDArray:
    return _reduce(item, image, np.zeros((item.height, item.width, image.shape[2]), image.dtype), np.add)


def _reduce(item: Pool, image: NDArray, total: NDArray, combine: np.ufunc) -> NDArray:
    """Combine with ``total`` what lies in each window of the part of the map that windows reach."""
    vertical, horizontal = item.axes
    first_row, first_column = vertical.inside.start, horizontal.inside.start
    across = [horizontal.reach(column) for column in range(item.kernel_width)]
    for row in range(item.kernel_height):
        rows, top = vertical.reach(row)
        line = image[top - first_row :: item.stride_height][: rows.stop - rows.start]
        for columns, left in across:
            taps = line[:, left - first_column :: item.stride_width][:, : columns.stop - columns.start]
            part = total[rows, columns]
            combine(part, taps, out=part)
    return total


def _counts(item: Pool) -> NDArray[np.float32]:
    if item.include_pad:
        return np.full((1, 1, 1), item.kernel_height * item.kernel_width, np.float32)
    rows, columns = (_taps_inside(axis) for axis in item.axes)
    return (rows[:, None] * columns[None, :])[:, :, None]


def _taps_inside(axis: MapWindows) -> NDArray[np.float32]:
    """How many taps of each window lie inside the map."""
    first = axis.origin + np.arange(axis.windows) * axis.stride
    return (np.minimum(first + axis.taps, axis.extent) - np.maximum(first, 0)).astype(np.float32)


def elementwise(memory: Memory, item: Elementwise, table: NDArray[np.int8]) -> None:
    """Execute ELT through the table of all 65,536 results of its record."""
    a = _map(memory, item.source_a, item, (item.row_pitch_a, item.pixel_pitch_a)).view(np.uint8)
    b = _map(memory, item.source_b, item, (item.row_pitch_b, item.pixel_pitch_b)).view(np.uint8)
    index = a.astype(np.uint16)
    np.left_shift(index, np.uint16(8), out=index)
    np.bitwise_or(index, b, out=index)
    _output(memory, item)[...] = table.reshape(-1)[index]


def look_up(memory: Memory, item: LookUp, table: NDArray[np.int8]) -> None:
    """Execute LUT."""
    source = _map(memory, item.source, item, (item.source_row_pitch, item.source_pixel_pitch))
    _output(memory, item)[...] = table[source.view(np.uint8)]


def multiply_wide(memory: Memory, item: Elementwise, record: VectorRecord) -> None:
    """Execute ELT on maps of 16 bits."""
    a = of_pairs(_pairs(memory, item.source_a, item, (item.row_pitch_a, item.pixel_pitch_a)))
    b = of_pairs(_pairs(memory, item.source_b, item, (item.row_pitch_b, item.pixel_pitch_b)))
    factor = np.array([record["multiplier"]], np.float32)
    _write_pairs(memory, item, arithmetic.requantize(a * b, factor, 0, -(2**15), 2**15 - 1, dtype=np.int32))


def interpolate(memory: Memory, item: LookUp, knots: NDArray[np.int32]) -> None:
    """Execute LUT on maps of 16 bits. The exponent of a number of single precision tells how many bits it has."""
    number = of_pairs(_pairs(memory, item.source, item, (item.source_row_pitch, item.source_pixel_pitch)))
    below = number >> 31
    magnitude = number ^ below
    length = np.maximum((magnitude.astype(np.float32).view(np.int32) >> 23) - 132, 0)
    first = (length << 5) + (magnitude >> length) - below * WIDE_TABLE_SIDE
    least = knots[first]
    total = (least << length) + (knots[first + 1] - least) * (magnitude & (1 << length) - 1)
    _write_pairs(memory, item, np.clip(arithmetic.round_shift(total, length + 2), -(2**15), 2**15 - 1))


def resize_nearest(memory: Memory, item: ResizeNearest) -> None:
    """Execute RSZ."""
    rows = np.arange(item.height, dtype=np.int64) * item.step_height + item.origin_height >> 16
    columns = np.arange(item.width, dtype=np.int64) * item.step_width + item.origin_width >> 16
    shape = (int(rows[-1]) + 1, int(columns[-1]) + 1, item.blocks * CHANNEL_BLOCK)
    strides = (item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT, 1)
    source = box(memory.maps, item.source * MAPS_UNIT, shape, strides, np.int8)
    _output(memory, item)[...] = source[rows[:, None], columns[None, :]]


def resize_linear(memory: Memory, item: ResizeLinear) -> None:
    """Execute RSL."""
    (rows, below, f), (columns, beside, g) = _neighbours(item.rows), _neighbours(item.columns)
    shape = (int(below[-1]) + 1, int(beside[-1]) + 1, item.blocks * CHANNEL_BLOCK)
    strides = (item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT, 1)
    source = box(memory.maps, item.source * MAPS_UNIT, shape, strides, np.int8)
    whole = np.int32(1 << INTERPOLATION_BITS)

    def between(row: NDArray[np.int32]) -> NDArray[np.int32]:
        line = source[row].astype(np.int32)
        return line[:, columns] * (whole - g)[:, None] + line[:, beside] * g[:, None]

    # Sums have 7 + 22 bits and a sign.
    total = between(rows) * (whole - f)[:, None, None] + between(below) * f[:, None, None]
    _output(memory, item)[...] = arithmetic.round_shift(total, 2 * INTERPOLATION_BITS)


def _neighbours(points: Points) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """For each row or column, those before and behind it and the fraction of the way."""
    exact = np.arange(points.outputs, dtype=np.int64) * points.step + points.origin >> 16
    inside = np.clip(exact, 0, points.extent - 1 << INTERPOLATION_BITS)
    first = inside >> INTERPOLATION_BITS
    fraction = inside - (first << INTERPOLATION_BITS)
    last = np.minimum(first + 1, points.extent - 1)
    return first.astype(np.int32), last.astype(np.int32), fraction.astype(np.int32)


def move_weights(memory: Memory, item: MoveWeights) -> None:
    """Execute MVW."""
    channels, start = item.blocks * CHANNEL_BLOCK, item.destination * WEIGHT_UNIT
    pitches = item.pixel_pitch * MAPS_UNIT, 1
    source = box(memory.maps, item.source * MAPS_UNIT, (item.pixels, channels), pitches)
    filled = np.zeros((item.padded_pixels, channels), np.uint8)
    filled[: item.pixels] = source
    if item.turned:
        moved = filled.reshape(-1, CHANNEL_BLOCK, channels).transpose(0, 2, 1)
    else:
        moved = filled.reshape(-1, item.blocks, CHANNEL_BLOCK).transpose(1, 0, 2)
    memory.weights[start : start + filled.size] = moved.reshape(-1)


def weigh(memory: Memory, item: Weigh) -> None:
    """Execute SFM. But for shares all is whole numbers: 32 bits times 25, and what a mask adds, stay within 57."""
    height, width, keys = item.height, item.width, item.blocks * CHANNEL_BLOCK
    scores = memory.accumulated(item.accumulator, height * width, item.blocks).astype(np.int64)
    scores = scores.reshape(height, width, keys) * (1 if item.shares else item.multiplier)
    seen = np.broadcast_to(np.arange(keys) < keys - item.unused, scores.shape)
    if item.masked:
        mask = _map(memory, item.source, item, (item.source_row_pitch, item.source_pixel_pitch))
        seen = seen & (mask != -128)
        scores += (mask.astype(np.int64) - item.mask_zero) * item.mask_multiplier
    if item.causal:
        seen = seen & (np.arange(keys) <= item.first + np.arange(height)[:, None, None])
    weights = _shares(np.where(seen, scores, 0)) if item.shares else _exponentials(scores, seen, item.shift)
    weights[~seen] = 0
    target = _output(memory, item)
    target[..., :keys] = weights
    target[..., keys:] = 0
    target[..., keys : keys + TOTAL_BYTES] = weights.sum(-1, keepdims=True).astype("<i4").view(np.int8)


def _exponentials(scores: NDArray[np.int64], seen: NDArray[np.bool_], shift: int) -> NDArray[np.int64]:
    z = round_shift(scores, np.asarray(shift))
    top = np.where(seen, z, np.iinfo(np.int64).min // 2).max(-1, keepdims=True)
    below = np.where(seen, top - z, 0)
    return round_shift(_TABLE[below % _OCTAVE], np.minimum(_BITS + below // _OCTAVE, 62))


def _shares(scores: NDArray[np.int64]) -> NDArray[np.int64]:
    top = np.maximum(scores.max(-1, keepdims=True), 1).astype(np.float32)
    return np.rint(np.maximum(scores, 0).astype(np.float32) * (np.float32(_LARGEST) / top)).astype(np.int64)


def quotients(memory: Memory, item: RequantizeMean) -> NDArray[np.float32]:
    """What RQM multiplies each pixel with: 1 over the sum of its weights."""
    pitches = item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT, 1
    data = box(memory.maps, item.source * MAPS_UNIT, (item.height, item.width, TOTAL_BYTES), pitches)
    total = np.ascontiguousarray(data).view("<i4")
    return np.float32(1) / np.maximum(total, 1).astype(np.float32)


def normalize(memory: Memory, item: Normalize, parameters: NormalizationParameters) -> None:
    """Execute NRM. Sums of products have 25 bits with their sign, those of squares 64, and wrap."""
    every = item.blocks * CHANNEL_BLOCK
    channels = every - item.unused

    def numbers(start: int, row: int, pixel: int) -> NDArray[np.int32]:
        if not item.wide:
            return _map(memory, start, item, (row, pixel))[..., :channels].astype(np.int32)
        both = pairs(memory, start, (item.height, item.width, item.blocks), (row, pixel))
        return of_pairs(both).reshape(item.height, item.width, every)[..., :channels]

    factors = [parameters.multiplier, parameters.skip_multiplier]
    if item.wide:
        factors = [each.astype(np.int32) << 23 >> 23 for each in factors]
    source = numbers(item.source, item.source_row_pitch, item.source_pixel_pitch)
    value = (source - item.source_zero) * factors[0][:channels]
    if item.sum:
        skip = numbers(item.skip, item.skip_row_pitch, item.skip_pixel_pitch)
        value += (skip - item.skip_zero) * factors[1][:channels]
    value = value.reshape(item.height * item.width, -1, item.group or channels)
    axes = (0, 2) if item.group else (2,)
    if item.centred:
        count = value.shape[2] * (len(value) if item.group else 1)
        total = value.sum(axes, keepdims=True, dtype=np.int64)
        mean = total // count
        twice = 2 * (total - mean * count)
        mean += (twice > count) | ((twice == count) & (mean & 1 == 1))
        value -= mean.astype(np.int32)
    squares = np.square(value, dtype=np.int64).sum(axes, keepdims=True).astype(np.float32)
    one = np.float32(1)
    quotient = one / np.sqrt(np.maximum(squares + item.added, one))
    result = value.astype(np.float32)
    np.multiply(result, parameters.gain[:channels].reshape(result.shape[1:]), out=result)
    np.multiply(result, quotient, out=result)
    np.add(result, parameters.offset[:channels].reshape(result.shape[1:]), out=result)
    np.rint(np.clip(result, item.low - item.zero_point, item.high - item.zero_point, out=result), out=result)
    target = _output(memory, item)
    target[..., :channels] = result.astype(np.int16).reshape(*target.shape[:2], channels) + item.zero_point
    target[..., channels:] = 0
