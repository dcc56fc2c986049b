"""The memories of one run of a device program, and views of the boxes that instructions read and write."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import InputError

from ..isa.encoding import Space
from ..isa.matrix import WindowAxis
from ..isa.program import Program, RegionKind
from ..machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, Machine

# What memories hold before a program writes them: not zero, so that reading too early shows.
POISON = 0xA5


class Memory:
    """Scratchpads of a cluster and the DRAM regions of a program, as bytes; accumulators as int32.

    Args:
        machine: gives the sizes.
        program: gives the regions.
        contents: uint8 arrays for constant and input regions by name, used in place, of the size of the region.

    Raises:
        InputError: a constant or input region is missing, or has the wrong size.
    """

    def __init__(self, machine: Machine, program: Program, contents: Mapping[str, NDArray[np.uint8]]) -> None:
        self.maps = np.full(machine.maps_bytes, POISON, np.uint8)
        self.weights = np.full(machine.weight_bytes, POISON, np.uint8)
        self.accumulators = np.full(machine.accumulator_bytes, POISON, np.uint8).view(np.int32)
        self.parameters = np.full(machine.parameter_bytes, POISON, np.uint8)
        self.lines = {Space.WEIGHTS: self.weights, Space.PARAMETERS: self.parameters}
        self.regions: list[NDArray[np.uint8]] = []
        # The last gathered input of a matrix instruction, for the next one that needs the same.
        self.gathered: NDArray[np.float32] | None = None
        for region in program.regions:
            if region.kind in (RegionKind.CONSTANT, RegionKind.INPUT):
                self.regions.append(region_bytes(region.name, region.size, contents))
            else:
                self.regions.append(np.full(region.size, POISON, np.uint8))

    def accumulated(self, start: int, pixels: int, blocks: int) -> NDArray[np.int32]:
        """Accumulators from the address ``start`` of an instruction, int32 [pixels, blocks * 16], without a copy."""
        first, channels = start * ACCUMULATOR_UNIT // 4, blocks * CHANNEL_BLOCK
        return self.accumulators[first : first + pixels * channels].reshape(pixels, channels)


def region_bytes(name: str, size: int, contents: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The contents given for a region, checked.

    Raises:
        InputError: none given, not a flat array of bytes, or the wrong size.
    """
    data = contents.get(name)
    if data is None:
        raise InputError(f"device program: nothing is given for region {name!r}", expected=f"{size} bytes")
    if data.dtype != np.uint8 or data.ndim != 1 or data.size != size:
        raise InputError(
            f"device program: region {name!r} is given the wrong bytes",
            expected=f"uint8[{size}]",
            found=f"{data.dtype}{list(data.shape)}",
        )
    return np.ascontiguousarray(data)


def box(
    memory: NDArray[np.uint8], start: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: type = np.uint8
) -> NDArray:
    """A view of bytes: ``shape`` elements of a one-byte type at ``start``, ``strides`` in bytes."""
    return np.ndarray(shape, dtype, memory, start, strides)


def windowed_map(
    memory: Memory, start: int, axes: tuple[WindowAxis, WindowAxis], pitches: tuple[int, int], channels: int, fill: int
) -> NDArray[np.int8]:
    """A feature map from the first to the last row and column of any window: int8 [rows, columns, channels].

    A view of the scratchpad where no window leaves the map, else a copy with ``fill`` around.

    Args:
        start: address of pixel (0, 0), in bytes.
        pitches: from row to row and from pixel to pixel, in bytes.
    """
    vertical, horizontal = axes
    rows, columns = vertical.inside, horizontal.inside
    spans, shape = (vertical.span, horizontal.span), (len(rows), len(columns), channels)
    corner = start + rows.start * pitches[0] + columns.start * pitches[1]
    if shape[:2] == spans:
        return box(memory.maps, corner, shape, (*pitches, 1), np.int8)
    padded = np.full((*spans, channels), fill, np.int8)
    if rows and columns:
        top, left = rows.start - vertical.origin, columns.start - horizontal.origin
        inside = box(memory.maps, corner, shape, (*pitches, 1), np.int8)
        padded[top : top + shape[0], left : left + shape[1]] = inside
    return padded
