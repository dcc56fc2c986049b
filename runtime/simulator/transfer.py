"""Load and store instructions of the functional engine."""

from __future__ import annotations

import numpy as np

from ..isa.transfer import LINE, LoadLines, LoadMaps, Store
from ..machine import MAPS_UNIT
from .memory import Memory, box

_FLIP = np.uint8(0x80)


def load_maps(memory: Memory, item: LoadMaps) -> None:
    """Execute LDM."""
    units = -(-item.run // MAPS_UNIT)
    strides = (item.map_stride_z * MAPS_UNIT, item.map_stride_y * MAPS_UNIT, 1)
    shape = (item.planes, item.rows, units * MAPS_UNIT)
    target = box(memory.maps, item.destination * MAPS_UNIT, shape, strides)
    if shape != (item.count_z, item.count_y, item.run):
        target[...] = np.uint8(item.pad_value & 0xFF)
    inside = target[
        item.pad_top : item.pad_top + item.count_z, item.pad_left : item.pad_left + item.count_y, : item.run
    ]
    source = box(memory.regions[item.region], item.offset, inside.shape, (item.dram_stride_z, item.dram_stride_y, 1))
    if item.flip:
        np.bitwise_xor(source, _FLIP, out=inside)
    else:
        inside[...] = source


def store(memory: Memory, item: Store) -> None:
    """Execute ST."""
    shape = (item.count_z, item.count_y, item.run)
    source = box(
        memory.maps, item.source * MAPS_UNIT, shape, (item.map_stride_z * MAPS_UNIT, item.map_stride_y * MAPS_UNIT, 1)
    )
    target = box(memory.regions[item.region], item.offset, shape, (item.dram_stride_z, item.dram_stride_y, 1))
    if item.flip:
        np.bitwise_xor(source, _FLIP, out=target)
    else:
        target[...] = source


def load_lines(memory: Memory, item: LoadLines) -> None:
    """Execute LDW or LDP."""
    start, first, size = item.offset * LINE, item.destination * LINE, item.length * LINE
    memory.lines[item.SPACE][first : first + size] = memory.regions[item.region][start : start + size]
