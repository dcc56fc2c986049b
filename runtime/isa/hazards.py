"""Who touched the bytes of each memory last: the rule that assembler and verifier share.

Two accesses conflict if they share a byte and one of them writes. Scratchpads are small and touched by every
instruction: what is kept of them is the last position of each stream for every unit, the grain in which they are
written, so that a unit is shared or not as a whole. Regions of DRAM are large and touched by few instructions: the
accesses themselves are kept, and one is compared with those whose range of bytes meets its own.

A box is a set: the bytes at ``start`` plus a multiple of every stride, and the ``run`` bytes from there on. Two boxes
share a byte if a sum of multiples of their strides equals the distance of their starts, give or take the runs. Strides
that both have count once, and the multiples of the others are enumerated from the largest stride down, each only as
far as the smaller ones can make up for it: a few steps for boxes of one feature map, whatever their sizes.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import ResourceError
from tilewright.limits import DEVICE_COMPARISONS

from ..machines.machine import Machine
from .accesses import MemoryAccess, Space, end_of
from .layouts import SCRATCHPAD_UNITS, scratchpad_bytes
from .program import Region, RegionKind

_RECENT = 32
"""Accesses of a stream to a scratchpad that are looked at one by one before all of its units are."""

_POSITION = np.dtype(np.int32)
"""Of positions in a stream."""

_STEPS = 1 << 12
"""Multiples that one comparison tries before it takes the boxes for overlapping, which is safe for a proof."""


class Box:
    """Bytes of one memory in their simplest form: strides fall, are larger than ``run``, and their counts than 1.

    Attributes:
        stop: one past the last byte.
        shape: counts of the steps, then the run.
        strides: bytes from element to element along each dimension of ``shape``.
        apart: the same in an array of int32 that has an element for each byte.
    """

    __slots__ = ("apart", "run", "shape", "start", "steps", "stop", "strides")

    def __init__(self, start: int, steps: tuple[tuple[int, int], ...], run: int) -> None:
        self.start, self.steps, self.run = start, steps, run
        self.stop = end_of(start, steps, run)
        self.shape = (*[count for count, _ in steps], run)
        self.strides = (*[stride for _, stride in steps], 1)
        self.apart = tuple([_POSITION.itemsize * stride for stride in self.strides])

    def moved(self, distance: int) -> "Box":
        """The box so many bytes further on."""
        return Box(self.start + distance, self.steps, self.run)

    def in_units(self, unit: int) -> "Box":
        """The units of so many bytes that the box touches, counted in units.

        Strides must be multiples of the unit; :func:`divides` says whether they are."""
        return _in_units(self.start, self.steps, self.run, unit)

    def divides(self, unit: int) -> bool:
        """Whether every stride is a multiple of the unit."""
        return not any(stride % unit for _, stride in self.steps)


def simplest(start: int, steps: Collection[tuple[int, int]], run: int) -> Box:
    """The box of runs at ``start`` plus multiples of the strides, given as (count, stride) in any order."""
    kept: list[tuple[int, int]] = []
    for stride, count in sorted([(stride, count) for count, stride in steps if count > 1 and stride]):
        if not kept and stride <= run:
            run += (count - 1) * stride
        elif kept and stride == kept[-1][1] * kept[-1][0]:
            kept[-1] = (kept[-1][0] * count, kept[-1][1])
        else:
            kept.append((count, stride))
    return Box(start, tuple(kept[::-1]), run)


def _in_units(start: int, steps: Collection[tuple[int, int]], run: int, unit: int) -> Box:
    return simplest(
        start // unit, [(count, stride // unit) for count, stride in steps], -(-(start % unit + run) // unit)
    )


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes of one memory share a byte; exact, except that it says yes where finding out takes too long."""
    if a.start >= b.stop or b.start >= a.stop:
        return False
    if not a.steps and not b.steps:
        return True
    multiples = {stride: (1 - count, 0) for count, stride in a.steps}
    for count, stride in b.steps:
        multiples[stride] = (multiples.get(stride, (0, 0))[0], count - 1)
    terms = [(stride, *multiples[stride]) for stride in sorted(multiples, reverse=True)]
    # What the terms after each can add at least and at most.
    rest = [(0, 0)]
    for stride, low, high in reversed(terms):
        rest.append((rest[-1][0] + low * stride, rest[-1][1] + high * stride))
    rest = rest[-2::-1]
    return _reaches(b.start - a.start, terms, rest, (1 - b.run, a.run - 1))


def _reaches(
    distance: int, terms: list[tuple[int, int, int]], rest: list[tuple[int, int]], target: tuple[int, int]
) -> bool:
    """Whether the distance and a multiple of each stride, between its bounds, add up to a number in the target."""
    last, tried = len(terms) - 1, 0
    pending = [(0, distance)]
    while pending:
        index, sum_ = pending.pop()
        stride, low, high = terms[index]
        least, most = rest[index]
        first = max(low, -((sum_ + most - target[0]) // stride))
        final = min(high, (target[1] - sum_ - least) // stride)
        if first > final:
            continue
        if index == last:
            return True
        tried += final - first + 1
        if tried > _STEPS:
            return True
        pending += [(index + 1, sum_ + multiple * stride) for multiple in range(first, final + 1)]
    return False


def touched_units(box: Box, unit: int) -> NDArray[np.intp]:
    """The units of so many bytes that a box touches, for boxes whose strides are no multiples of the unit."""
    first = box.start // unit
    span = np.zeros(-(-box.stop // unit) * unit - first * unit, np.bool_)
    np.ndarray(box.shape, np.bool_, span, box.start - first * unit, box.strides)[...] = True
    return first + np.flatnonzero(span.reshape(-1, unit).any(axis=1))


@lru_cache(1 << 16)
def box_of(access: MemoryAccess) -> Box:
    """The bytes of an access."""
    return simplest(access.start, access.steps, access.run)


@lru_cache(1 << 16)
def units_of(access: MemoryAccess) -> Box | NDArray[np.intp]:
    """The units of a scratchpad that an access touches: a box counted in units, or their numbers if they are none."""
    unit = SCRATCHPAD_UNITS[access.space]
    if not any(stride % unit for _, stride in access.steps):
        return _in_units(access.start, access.steps, access.run, unit)
    box = box_of(access)
    return box.in_units(unit) if box.divides(unit) else touched_units(box, unit)


def part(of: NDArray, units: Box | NDArray[np.intp]) -> NDArray:
    """These elements of an array that has one for every unit; a view where that can be."""
    if not isinstance(units, Box):
        return of[units]
    if not units.steps:
        return of[units.start : units.stop]
    size = of.itemsize
    # Positions are asked for most: their strides are at hand.
    strides = units.apart if size == _POSITION.itemsize else tuple([size * stride for stride in units.strides])
    return np.ndarray(units.shape, of.dtype, of, units.start * size, strides)


class LastTouch:
    """What instructions did to each memory, so far as a later one may have to wait for it.

    Positions count the instructions of a stream from 1; 0 is none. Regions that nothing writes are left out.
    ``machine``: gives the sizes of the scratchpads.
    ``regions``: DRAM regions by index.
    ``comparisons``: how many pairs of accesses to DRAM may be compared, if programs are not to be trusted."""

    def __init__(self, machine: Machine, regions: Iterable[Region], comparisons: int | None = None) -> None:
        self._units = {space: size // SCRATCHPAD_UNITS[space] for space, size in scratchpad_bytes(machine).items()}
        self._written = [region.kind not in (RegionKind.CONSTANT, RegionKind.INPUT) for region in regions]
        # By memory, those of each stream: the ones that write, then all.
        self._touches: dict[tuple[int, ...], tuple[list[_OfStream], list[_OfStream]]] = {}
        self._known: dict[tuple[tuple[int, ...], int, bool], _InScratchpad | _InRegion] = {}
        self._budget = comparisons

    def conflicts(self, stream: int, accesses: Iterable[MemoryAccess], known: Sequence[int]) -> list[int]:
        """For each stream, the last position whose instruction must precede one with these accesses.

        ``known``: for each stream, the position up to which that is settled.
        Returns what is known, or a later position, for each stream; for the own one what is known."""
        latest = list(known)
        for access in accesses:
            units = None
            for other, touches in self._touches.get(access.memory, _NONE)[access.write]:
                settled = latest[other]
                if touches.newest <= settled or other == stream:
                    continue
                if isinstance(touches, _InScratchpad):
                    units = units_of(access) if units is None else units
                    latest[other] = touches.latest(units, settled)
                else:
                    latest[other], compared = touches.latest(box_of(access), settled)
                    self._count(compared)
        return latest

    def _count(self, compared: int) -> None:
        if self._budget is not None:
            self._budget -= compared
            if self._budget < 0:
                raise ResourceError(
                    "the accesses of the device program to DRAM lie too close together to tell them apart",
                    expected=f"at most {DEVICE_COMPARISONS} {DEVICE_COMPARISONS.what}",
                )

    def record(self, stream: int, position: int, accesses: Iterable[MemoryAccess]) -> None:
        """Note that the instruction at ``position`` (from 1) of ``stream`` makes these accesses."""
        for access in accesses:
            memory, write = access.memory, access.write
            touches = self._known.get((memory, stream, write))
            if touches is None:
                if access.space == Space.DRAM and not self._written[access.region]:
                    continue
                touches = _InRegion() if access.space == Space.DRAM else _InScratchpad(self._units[access.space])
                self._known[memory, stream, write] = touches
                for each in self._touches.setdefault(memory, ([], []))[write ^ 1 :]:
                    each.append((stream, touches))
            touches.record(access, position)


class _InScratchpad:
    """Reads, or writes, of one scratchpad by one stream."""

    def __init__(self, units: int) -> None:
        self.newest = 0
        self._last = np.zeros(units, _POSITION)
        # Position, first unit, one past the last, and whether all between them are touched.
        self._recent: deque[tuple[int, int, int, bool]] = deque(maxlen=_RECENT)

    def latest(self, units: Box | NDArray[np.intp], known: int) -> int:
        """The last position that touched one of these units, or what is known if that is later."""
        if isinstance(units, Box):
            # Most are far from what is not settled yet, or touch for sure what was touched last.
            first, stop, is_whole = units.start, units.stop, not units.steps
            for position, start, end, is_all in self._recent:
                if position <= known:
                    return known
                if first < end and start < stop:
                    # What has no gaps is touched by a box whose first or last unit lies in it, as is any box by one
                    # that has its first or last unit in common.
                    if first == start or stop == end:
                        return position
                    if (is_all and (start <= first or stop <= end)) or (is_whole and (first <= start or end <= stop)):
                        return position
                    break
            else:
                if len(self._recent) < _RECENT:
                    return known
        return max(known, int(np.maximum.reduce(part(self._last, units), axis=None)))

    def record(self, access: MemoryAccess, position: int) -> None:
        units = units_of(access)
        if isinstance(units, Box):
            part(self._last, units)[...] = position
            self._recent.appendleft((position, units.start, units.stop, not units.steps))
        else:
            self._last[units] = position
            self._recent.appendleft((position, int(units[0]), int(units[-1]) + 1, False))
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
        many accesses had to be compared with it."""
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


_OfStream = tuple[int, _InScratchpad | _InRegion]
"""A stream, and what it touches."""

_NONE: tuple[list[_OfStream], list[_OfStream]] = [], []
"""Of a memory that nothing has touched."""
