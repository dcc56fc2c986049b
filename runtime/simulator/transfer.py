"""Loads, stores, moves and messages of the functional engine."""

import numpy as np
from numpy.typing import NDArray

from ..isa.transfer import LINE, DramTransfer, LoadLines, LoadMaps, Move, Receive, Send, Store
from ..machines.machine import MAPS_UNIT
from .memory import Memory, box

_FLIP = np.uint8(0x80)


def load_maps(memory: Memory, item: LoadMaps) -> None:
    """Execute LDM."""
    source = _in_dram(memory.regions, item)
    shape = (item.count_z, item.count_y, item.units * MAPS_UNIT)
    strides = (item.map_stride_z * MAPS_UNIT, item.map_stride_y * MAPS_UNIT, 1)
    for receiver in memory.receivers(item.clusters):
        target = box(receiver.maps, item.destination * MAPS_UNIT, shape, strides)
        target[..., item.run :] = 0
        if item.flip:
            np.bitwise_xor(source, _FLIP, out=target[..., : item.run])
        else:
            target[..., : item.run] = source


def store(memory: Memory, item: Store) -> None:
    """Execute ST."""
    strides = (item.map_stride_z * MAPS_UNIT, item.map_stride_y * MAPS_UNIT, 1)
    target = _in_dram(memory.regions, item)
    source = box(memory.maps, item.source * MAPS_UNIT, target.shape, strides)
    if item.flip:
        np.bitwise_xor(source, _FLIP, out=target)
    else:
        target[...] = source


def load_lines(memory: Memory, item: LoadLines) -> None:
    """Execute LDW or LDP."""
    start, first, size = item.offset * LINE, item.destination * LINE, item.length * LINE
    for receiver in memory.receivers(item.clusters):
        receiver.lines[item.SPACE][first : first + size] = memory.regions[item.region][start : start + size]


def move(memory: Memory, item: Move) -> None:
    """Execute MOV."""
    shape = (item.count_z, item.count_y, item.run * MAPS_UNIT)
    strides = (item.source_stride_z * MAPS_UNIT, item.source_stride_y * MAPS_UNIT, 1)
    source = box(memory.maps, item.source * MAPS_UNIT, shape, strides)
    strides = (item.destination_stride_z * MAPS_UNIT, item.destination_stride_y * MAPS_UNIT, 1)
    for receiver in memory.receivers(item.clusters):
        box(receiver.maps, item.destination * MAPS_UNIT, shape, strides)[...] = source


def send(memory: Memory, item: Send, receive: Receive) -> None:
    """Execute SND, and the RCV that belongs to it."""
    source, target = _in_dram(memory.regions, item), _in_dram(memory.regions_of(item.peer), receive)
    target[...] = source.reshape(target.shape)


def _in_dram(regions: list[NDArray[np.uint8]], item: DramTransfer) -> NDArray[np.uint8]:
    """The box of a transfer that lies in DRAM: uint8 [planes, runs, bytes]."""
    strides = (item.dram_stride_z, item.dram_stride_y, 1)
    return box(regions[item.region], item.offset, (item.count_z, item.count_y, item.run), strides)
