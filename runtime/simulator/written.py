"""Which bytes a program has written so far, so that reading any other can be refused before anything runs.

Scratchpads, scratch and outputs hold nothing when a program starts; the host fills constants and inputs. There are no
exceptions for the channels that pad a map to whole blocks: a load either fills them or reads what a store wrote there.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from tilewright.blocks import cached_property
from tilewright.errors import ResourceError
from tilewright.limits import DEVICE_MARKED, DEVICE_WRITTEN

from ..isa.accesses import MemoryAccess, Space
from ..isa.hazards import Box, box_of, part, units_of
from ..isa.layouts import SCRATCHPAD_UNITS, scratchpad_bytes
from ..isa.program import Region, RegionKind
from ..machines.machine import Machine


class Written:
    """What is known to be written, for every unit of the scratchpads and of the ranges of DRAM that are touched.
    ``machine``: gives the sizes of the scratchpads.
    ``regions``: DRAM regions by index.
    ``accesses``: all that there will be.
    Raises ResourceError: they touch more of DRAM, or have more to mark and to look up there, than the limits allow."""

    def __init__(self, machine: Machine, regions: Sequence[Region], accesses: Iterable[MemoryAccess]) -> None:
        filled = [region.kind in (RegionKind.CONSTANT, RegionKind.INPUT) for region in regions]
        boxes: dict[int, list[Box]] = {}
        for access in accesses:
            if access.space == Space.DRAM and not filled[access.region]:
                boxes.setdefault(access.region, []).append(box_of(access))
        self._regions = {region: _Ranges(found) for region, found in boxes.items()}
        for limit, found in (
            (DEVICE_WRITTEN, sum(ranges.units for ranges in self._regions.values())),
            (DEVICE_MARKED, sum(ranges.work for ranges in self._regions.values())),
        ):
            if found > limit:
                raise ResourceError(
                    "the device program touches too much DRAM to prove that it reads only what it wrote",
                    expected=f"at most {limit} {limit.what}",
                    found=found,
                )
        self._sizes = {space: size // SCRATCHPAD_UNITS[space] for space, size in scratchpad_bytes(machine).items()}
        self._marks: dict[tuple[int, ...], NDArray[np.bool_]] = {}

    def missing(self, access: MemoryAccess) -> tuple[int, int] | None:
        """The first bytes of a read that nobody has written, as (first, stop), at most to the end of a run."""
        if access.space == Space.DRAM and access.region not in self._regions:
            return None
        marks, units, unit = self._find(access)
        seen = part(marks, units)
        if seen.all():
            return None
        if isinstance(units, Box):
            gap = np.argwhere(~seen)[0]
            first = units.start + int(gap @ np.array(units.strides))
            ahead = seen[tuple(gap[:-1])][gap[-1] :]
            count = int(np.argmax(ahead)) if ahead.any() else len(ahead)
        else:
            first, count = int(units[np.argmin(seen)]), 1
        return self._bytes(access, first * unit, (first + count) * unit)

    def record(self, access: MemoryAccess) -> None:
        """Mark a write."""
        marks, units, _ = self._find(access)
        if isinstance(units, Box):
            part(marks, units)[...] = True
        else:
            marks[units] = True

    def _find(self, access: MemoryAccess) -> tuple[NDArray[np.bool_], Box | NDArray[np.intp], int]:
        """Marks of the memory of an access, where it lies in them, and bytes for each."""
        if access.space == Space.DRAM:
            ranges = self._regions[access.region]
            return ranges.marks, ranges.locate(box_of(access)), ranges.unit
        marks = self._marks.get(access.memory)
        if marks is None:
            marks = self._marks[access.memory] = np.zeros(self._sizes[access.space], np.bool_)
        return marks, units_of(access), SCRATCHPAD_UNITS[access.space]

    def _bytes(self, access: MemoryAccess, first: int, stop: int) -> tuple[int, int]:
        if access.space == Space.DRAM:
            moved = self._regions[access.region].moved(box_of(access))
            first, stop = first + moved, stop + moved
        return max(first, access.start), min(stop, access.stop)


class _Ranges:
    """The ranges of a region that accesses touch, put one after the other, in units that divide all of them."""

    def __init__(self, boxes: list[Box]) -> None:
        numbers = (number for box in boxes for number in (box.start, box.run, *box.strides[:-1]))
        self.unit = math.gcd(*numbers)
        starts: list[int] = []
        stops: list[int] = []
        for first, stop in sorted({(box.start, box.stop) for box in boxes}):
            if stops and first <= stops[-1]:
                stops[-1] = max(stops[-1], stop)
            else:
                starts.append(first)
                stops.append(stop)
        sizes = [stop - first for first, stop in zip(starts, stops, strict=True)]
        self._starts = np.array(starts)
        self._places = [0, *accumulate(sizes)]
        self.units = self._places[-1] // self.unit
        self.work = sum(math.prod(box.shape) for box in boxes) // self.unit

    @cached_property
    def marks(self) -> NDArray[np.bool_]:
        """One for every unit."""
        return np.zeros(self.units, np.bool_)

    def moved(self, box: Box) -> int:
        """Bytes from where a box is marked to where it lies."""
        index = int(np.searchsorted(self._starts, box.start, "right")) - 1
        return int(self._starts[index]) - self._places[index]

    def locate(self, box: Box) -> Box:
        """Where a box is marked, in units."""
        return box.moved(-self.moved(box)).in_units(self.unit)
