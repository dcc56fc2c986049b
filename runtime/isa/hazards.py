"""Who touched the bytes of each memory last: the rule that assembler and verifier share.

Two accesses conflict if they share a byte and one of them writes. Scratchpads are small and touched by every
instruction: what is kept of them is the last position of each stream for every unit, the grain in which they are
written, so that a unit is shared or not as a whole. Regions of DRAM are large and touched by few instructions: the
accesses themselves are kept, and one is compared with those whose range of bytes meets its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import ResourceError
from tilewright.limits import DEVICE_COMPARISONS

from ..machines.machine import Machine
from .boxes import Box, overlap, simplest, touched_units
from .encoding import MemoryAccess, Space
from .memories import SCRATCHPAD_UNITS, scratchpad_bytes
from .program import Region, RegionKind


@lru_cache(1 << 14)
def box_of(access: MemoryAccess) -> Box:
    """The bytes of an access."""
    return simplest(access.start, access.steps, access.run)


@lru_cache(1 << 14)
def units_of(access: MemoryAccess) -> Box | NDArray[np.intp]:
    """The units of a scratchpad that an access touches: a box counted in units, or their numbers if they are none."""
    box, unit = box_of(access), SCRATCHPAD_UNITS[access.space]
    return box.in_units(unit) if box.divides(unit) else touched_units(box, unit)


def part(of: NDArray, units: Box | NDArray[np.intp]) -> NDArray:
    """These elements of an array that has one for every unit; a view where that can be."""
    if not isinstance(units, Box):
        return of[units]
    if not units.steps:
        return of[units.start : units.start + units.run]
    size = of.itemsize
    return np.ndarray(units.shape, of.dtype, of, units.start * size, tuple(size * stride for stride in units.strides))


class LastTouch:
    """What instructions did to each memory, so far as a later one may have to wait for it.

    Positions count the instructions of a stream from 1; 0 is none. Regions that nothing writes are left out.

    Args:
        machine: gives the sizes of the scratchpads.
        regions: DRAM regions by index.
        comparisons: how many pairs of accesses to DRAM may be compared, if programs are not to be trusted.
    """

    def __init__(self, machine: Machine, regions: Iterable[Region], comparisons: int | None = None) -> None:
        self._units = {space: size // SCRATCHPAD_UNITS[space] for space, size in scratchpad_bytes(machine).items()}
        self._written = [region.kind not in (RegionKind.CONSTANT, RegionKind.INPUT) for region in regions]
        self._touches: dict[tuple[int, ...], dict[tuple[int, bool], _InScratchpad | _InRegion]] = {}
        self._budget = comparisons

    def conflicts(self, stream: int, accesses: Iterable[MemoryAccess], known: Sequence[int]) -> list[int]:
        """For each stream, the last position whose instruction must precede one with these accesses.

        Args:
            stream: the one of the instruction.
            accesses: what it touches.
            known: for each stream, the position up to which that is settled.

        Returns:
            What is known, or a later position, for each stream; for the own one what is known.

        Raises:
            ResourceError: there is too much to compare.
        """
        latest = list(known)
        for access in accesses:
            for (other, wrote), touches in self._touches.get(access.memory, {}).items():
                if other != stream and (wrote or access.write) and touches.newest > latest[other]:
                    latest[other] = self._latest(touches, access, latest[other])
        return latest

    def _latest(self, touches: _InScratchpad | _InRegion, access: MemoryAccess, known: int) -> int:
        if isinstance(touches, _InScratchpad):
            return touches.latest(units_of(access), known)
        position, compared = touches.latest(box_of(access), known)
        if self._budget is not None:
            self._budget -= compared
            if self._budget < 0:
                raise ResourceError(
                    "the accesses of the device program to DRAM lie too close together to tell them apart",
                    expected=f"at most {DEVICE_COMPARISONS} {DEVICE_COMPARISONS.what}",
                )
        return position

    def record(self, stream: int, position: int, accesses: Iterable[MemoryAccess]) -> None:
        """Note that the instruction at ``position`` (from 1) of ``stream`` makes these accesses."""
        for access in accesses:
            if access.space == Space.DRAM and not self._written[access.region]:
                continue
            memory = self._touches.setdefault(access.memory, {})
            touches = memory.get((stream, access.write))
            if touches is None:
                new = _InRegion() if access.space == Space.DRAM else _InScratchpad(self._units[access.space])
                touches = memory[stream, access.write] = new
            touches.record(access, position)


class _InScratchpad:
    """Reads, or writes, of one scratchpad by one stream."""

    def __init__(self, units: int) -> None:
        self.newest = 0
        self._last = np.zeros(units, np.int32)

    def latest(self, units: Box | NDArray[np.intp], known: int) -> int:
        """The last position that touched one of these units, or what is known if that is later."""
        return max(known, int(part(self._last, units).max()))

    def record(self, access: MemoryAccess, position: int) -> None:
        units = units_of(access)
        if isinstance(units, Box):
            part(self._last, units)[...] = position
        else:
            self._last[units] = position
        self.newest = position


class _InRegion:
    """Reads, or writes, of one region of DRAM by one stream."""

    def __init__(self) -> None:
        self.newest = 0
        self._positions: list[int] = []
        self._boxes: list[Box] = []
        self._ranges = np.zeros((2, 64), np.int64)

    def latest(self, box: Box, known: int) -> tuple[int, int]:
        """The last position after what is known whose access shares a byte with the box, else what is known; and how
        many accesses had to be compared with it.
        """
        count = len(self._boxes)
        first = bisect_right(self._positions, known)
        starts, stops = self._ranges[:, first:count]
        near = np.flatnonzero((starts < box.stop) & (stops > box.start))
        for compared, index in enumerate(reversed(near.tolist())):
            if overlap(box, self._boxes[first + index]):
                return self._positions[first + index], compared + 1
        return known, len(near)

    def record(self, access: MemoryAccess, position: int) -> None:
        box, count = box_of(access), len(self._boxes)
        if count == self._ranges.shape[1]:
            self._ranges = np.concatenate([self._ranges, np.zeros_like(self._ranges)], axis=1)
        self._ranges[:, count] = box.start, box.stop
        self._positions.append(position)
        self._boxes.append(box)
        self.newest = position
