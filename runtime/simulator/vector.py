"""Vector instructions of the functional engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..isa.matrix import WindowAxis
from ..isa.vector import Elementwise, LookUp, MapInstruction, Pool, PoolKind, Requantize, ResizeNearest
from ..machine import CHANNEL_BLOCK, MAPS_UNIT
from . import arithmetic
from .arithmetic import VectorRecord, pool_average, pool_sum
from .memory import Memory, box, windowed_map


def _map(memory: Memory, start: int, item: MapInstruction, pitches: tuple[int, int]) -> NDArray[np.int8]:
    """View of a feature map of the size of an instruction's output: int8 [rows, columns, channels]."""
    shape = (item.height, item.width, item.blocks * CHANNEL_BLOCK)
    return box(memory.maps, start * MAPS_UNIT, shape, (pitches[0] * MAPS_UNIT, pitches[1] * MAPS_UNIT, 1), np.int8)


def _output(memory: Memory, item: MapInstruction) -> NDArray[np.int8]:
    return _map(memory, item.destination, item, (item.destination_row_pitch, item.destination_pixel_pitch))


def by_byte(table: NDArray[np.uint8]) -> NDArray[np.int8]:
    """A table of 256 bytes, entry v + 128 for int8 v, reordered so that v as an unsigned byte is the index."""
    return np.roll(table, 128).view(np.int8)


def requantize(
    memory: Memory,
    item: Requantize,
    parameters: tuple[NDArray[np.int32], NDArray[np.float32]],
    table: NDArray[np.int8] | None,
) -> None:
    """Execute RQ."""
    bias, multiplier = parameters
    total = memory.accumulated(item.accumulator, item.height * item.width, item.blocks) + bias
    value = arithmetic.requantize(total, multiplier, item.zero_point, item.low, item.high)
    if table is not None:
        value = table[value.view(np.uint8)]
    target = _output(memory, item)
    target[...] = value.reshape(target.shape)


def _padded(memory: Memory, item: Pool, fill: int) -> NDArray[np.int8]:
    """The input from the first to the last row and column of any window; ``fill`` outside the map."""
    pitches = (item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT)
    return windowed_map(memory, item.source * MAPS_UNIT, item.axes, pitches, item.blocks * CHANNEL_BLOCK, fill)


def pool(memory: Memory, item: Pool, record: VectorRecord | None) -> None:
    """Execute POOL, a tap at a time in row-major order."""
    if record is None:
        _output(memory, item)[...] = _reduce(item, _padded(memory, item, -128), np.maximum)
    elif item.kind == PoolKind.SUM:
        image = _padded(memory, item, 0).astype(np.int32) - int(record["zero_a"])
        _clear_padding(item, image)
        _output(memory, item)[...] = pool_sum(_reduce(item, image, np.add), record)
    else:
        image = (_padded(memory, item, 0).astype(np.int32) - int(record["zero_a"])).astype(np.float32)
        np.multiply(image, np.float32(record["scale_a"]), out=image)
        _clear_padding(item, image)
        total = _reduce(item, image, np.add)
        _output(memory, item)[...] = pool_average(total, _counts(item), record)


def _reduce(item: Pool, image: NDArray, combine: np.ufunc) -> NDArray:
    total: NDArray | None = None
    for row in range(item.kernel_height):
        for column in range(item.kernel_width):
            part = image[
                row : row + (item.height - 1) * item.stride_height + 1 : item.stride_height,
                column : column + (item.width - 1) * item.stride_width + 1 : item.stride_width,
            ]
            # The first element is added to zero in the definition, which changes nothing.
            total = part.copy() if total is None else combine(total, part, out=total)
    assert total is not None  # kernels have at least one tap
    return total


def _clear_padding(item: Pool, image: NDArray) -> None:
    """Zero outside the map, so that padding adds nothing."""
    rows, columns = image.shape[:2]
    image[: max(-item.row_origin, 0)] = 0
    image[min(item.input_height - item.row_origin, rows) :] = 0
    image[:, : max(-item.column_origin, 0)] = 0
    image[:, min(item.input_width - item.column_origin, columns) :] = 0


def _counts(item: Pool) -> NDArray[np.float32]:
    if item.include_pad:
        return np.full((1, 1, 1), item.kernel_height * item.kernel_width, np.float32)
    rows, columns = (_taps_inside(axis) for axis in item.axes)
    return (rows[:, None] * columns[None, :])[:, :, None]


def _taps_inside(axis: WindowAxis) -> NDArray[np.float32]:
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


def resize_nearest(memory: Memory, item: ResizeNearest) -> None:
    """Execute RSZ."""
    rows = np.arange(item.height, dtype=np.int64) * item.step_height + item.origin_height >> 16
    columns = np.arange(item.width, dtype=np.int64) * item.step_width + item.origin_width >> 16
    shape = (int(rows[-1]) + 1, int(columns[-1]) + 1, item.blocks * CHANNEL_BLOCK)
    strides = (item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT, 1)
    source = box(memory.maps, item.source * MAPS_UNIT, shape, strides, np.int8)
    _output(memory, item)[...] = source[rows[:, None], columns[None, :]]
