"""The memories of one run of a device program, and views of the boxes that instructions read and write."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import InputError

from ..isa.program import Program, RegionKind
from ..machine import Machine

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
        self.regions: list[NDArray[np.uint8]] = []
        # The last gathered input of a matrix instruction, for the next one that needs the same.
        self.gathered: NDArray[np.float32] | None = None
        for region in program.regions:
            if region.kind in (RegionKind.CONSTANT, RegionKind.INPUT):
                self.regions.append(region_bytes(region.name, region.size, contents))
            else:
                self.regions.append(np.full(region.size, POISON, np.uint8))


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
