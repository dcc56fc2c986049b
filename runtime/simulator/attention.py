"""Instructions of attention of the functional engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..isa.attention import TOTAL_BYTES, MoveWeights, RequantizeMean, Weigh
from ..machines.machine import CHANNEL_BLOCK, MAPS_UNIT, WEIGHT_UNIT
from .arithmetic import round_shift
from .memory import Memory, box

_OCTAVE, _BITS, _LARGEST = 256, 8, 127
_TABLE = np.rint(np.exp2(-np.arange(_OCTAVE) / _OCTAVE) * (_LARGEST << _BITS)).astype(np.int64)


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
    """Execute SFM. Everything is whole numbers: 32 bits times 25, and what a mask adds, stay within 57."""
    height, width, keys = item.height, item.width, item.blocks * CHANNEL_BLOCK
    scores = memory.accumulated(item.accumulator, height * width, item.blocks).astype(np.int64)
    scores = scores.reshape(height, width, keys) * item.multiplier
    seen = np.broadcast_to(np.arange(keys) < keys - item.unused, scores.shape)
    if item.masked:
        pitches = item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT, 1
        mask = box(memory.maps, item.source * MAPS_UNIT, scores.shape, pitches, np.int8)
        seen = seen & (mask != -128)
        scores += (mask.astype(np.int64) - item.mask_zero) * item.mask_multiplier
    if item.causal:
        seen = seen & (np.arange(keys) <= item.first + np.arange(height)[:, None, None])
    z = round_shift(scores, np.asarray(item.shift))
    top = np.where(seen, z, np.iinfo(np.int64).min // 2).max(-1, keepdims=True)
    below = np.where(seen, top - z, 0)
    weights = round_shift(_TABLE[below % _OCTAVE], np.minimum(_BITS + below // _OCTAVE, 62))
    weights[~seen] = 0
    pitches = item.destination_row_pitch * MAPS_UNIT, item.destination_pixel_pitch * MAPS_UNIT, 1
    target = box(memory.maps, item.destination * MAPS_UNIT, (height, width, keys + CHANNEL_BLOCK), pitches)
    target[..., :keys] = weights
    target[..., keys:] = 0
    target[..., keys : keys + TOTAL_BYTES] = weights.sum(-1, keepdims=True).astype("<i4").view(np.uint8)


def quotients(memory: Memory, item: RequantizeMean) -> NDArray[np.float32]:
    """What RQM multiplies each pixel with: 1 over the sum of its weights."""
    pitches = item.source_row_pitch * MAPS_UNIT, item.source_pixel_pitch * MAPS_UNIT, 1
    data = box(memory.maps, item.source * MAPS_UNIT, (item.height, item.width, TOTAL_BYTES), pitches)
    total = np.ascontiguousarray(data).view("<i4")
    return np.float32(1) / np.maximum(total, 1).astype(np.float32)
