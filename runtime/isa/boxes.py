"""Strided boxes of bytes: whether two of them share one, and which units of a memory one of them touches.

A box is a set: the bytes at ``start`` plus a multiple of every stride, and the ``run`` bytes from there on. Two boxes
share a byte if a sum of multiples of their strides equals the distance of their starts, give or take the runs. Strides
that both have count once, and the multiples of the others are enumerated from the largest stride down, each only as
far as the smaller ones can make up for it: a few steps for boxes of one feature map, whatever their sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_STEPS = 1 << 12
"""Multiples that one comparison tries before it takes the boxes for overlapping, which is safe for a proof."""


class Box(NamedTuple):
    """Bytes of one memory in their simplest form: strides fall, are larger than ``run``, and their counts than 1."""

    start: int
    steps: tuple[tuple[int, int], ...]
    run: int

    @property
    def stop(self) -> int:
        """One past the last byte."""
        return self.start + sum((count - 1) * stride for count, stride in self.steps) + self.run

    @property
    def shape(self) -> tuple[int, ...]:
        """Counts of the steps, then the run."""
        return (*(count for count, _ in self.steps), self.run)

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from element to element along each dimension of ``shape``."""
        return (*(stride for _, stride in self.steps), 1)

    def in_units(self, unit: int) -> Box:
        """The units of so many bytes that the box touches, counted in units.

        Strides must be multiples of the unit; :func:`divides` says whether they are.
        """
        first = self.start // unit
        run = -(-(self.start % unit + self.run) // unit)
        return simplest(first, ((count, stride // unit) for count, stride in self.steps), run)

    def divides(self, unit: int) -> bool:
        """Whether every stride is a multiple of the unit."""
        return all(stride % unit == 0 for _, stride in self.steps)


def simplest(start: int, steps: Iterable[tuple[int, int]], run: int) -> Box:
    """The box of runs at ``start`` plus multiples of the strides, given as (count, stride) in any order."""
    kept: list[tuple[int, int]] = []
    for stride, count in sorted((stride, count) for count, stride in steps if count > 1 and stride):
        if not kept and stride <= run:
            run += (count - 1) * stride
        elif kept and stride == kept[-1][0] * kept[-1][1]:
            kept[-1] = (kept[-1][0], kept[-1][1] * count)
        else:
            kept.append((stride, count))
    return Box(start, tuple((count, stride) for stride, count in reversed(kept)), run)


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes of one memory share a byte; exact, except that it says yes where finding out takes too long."""
    if a.start >= b.stop or b.start >= a.stop:
        return False
    if not a.steps and not b.steps:
        return True
    multiples: dict[int, tuple[int, int]] = {}
    for count, stride in a.steps:
        multiples[stride] = (1 - count, 0)
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
