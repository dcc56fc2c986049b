"""The normalisation of the functional engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..isa.layouts import NormalizationParameters
from ..isa.normalization import Normalize
from ..machines.machine import CHANNEL_BLOCK, MAPS_UNIT
from . import vector
from .memory import Memory, box


def normalize(memory: Memory, item: Normalize, parameters: NormalizationParameters) -> None:
    """Execute NRM. Sums of products have 25 bits with their sign, those of squares 62."""
    every = item.blocks * CHANNEL_BLOCK
    channels = every - item.unused

    def map(start: int, row: int, pixel: int) -> NDArray[np.int8]:
        pitches = row * MAPS_UNIT, pixel * MAPS_UNIT, 1
        return box(memory.maps, start * MAPS_UNIT, (item.height, item.width, every), pitches, np.int8)

    def numbers(start: int, row: int, pixel: int) -> NDArray[np.int32]:
        if not item.wide:
            return map(start, row, pixel)[..., :channels].astype(np.int32)
        pairs = vector.pairs(memory, start, (item.height, item.width, item.blocks), (row, pixel))
        return vector.of_pairs(pairs).reshape(item.height, item.width, every)[..., :channels]

    factors = [parameters.multiplier, parameters.skip_multiplier]
    if item.wide:
        factors = [each.astype(np.int32) << 23 >> 23 for each in factors]
    source = numbers(item.source, item.source_row_pitch, item.source_pixel_pitch)
    value = (source - item.source_zero) * factors[0][:channels]
    if item.sum:
        skip = numbers(item.skip, item.skip_row_pitch, item.skip_pixel_pitch)
        value += (skip - item.skip_zero) * factors[1][:channels]
    if item.centred:
        total = value.sum(-1, keepdims=True, dtype=np.int64)
        mean = total // channels
        twice = 2 * (total - mean * channels)
        mean += (twice > channels) | ((twice == channels) & (mean & 1 == 1))
        value -= mean.astype(np.int32)
    squares = np.square(value, dtype=np.int64).sum(-1, keepdims=True).astype(np.float32)
    one = np.float32(1)
    quotient = one / np.sqrt(np.maximum(squares + item.added, one))
    result = value.astype(np.float32)
    np.multiply(result, parameters.gain[:channels], out=result)
    np.multiply(result, quotient, out=result)
    np.add(result, parameters.offset[:channels], out=result)
    np.rint(np.clip(result, item.low - item.zero_point, item.high - item.zero_point, out=result), out=result)
    target = map(item.destination, item.destination_row_pitch, item.destination_pixel_pitch)
    target[..., :channels] = result.astype(np.int16) + item.zero_point
    target[..., channels:] = 0
