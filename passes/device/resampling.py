"""Resizes as the device does them: rows and columns that advance in equal steps, and what they read."""

from typing import NamedTuple

import numpy as np

from ...ir.arithmetic import INTERPOLATION_BITS, neighbours
from ...ir.core import Op
from ...ir.feature_map import map_shape
from ...ir.ops.resize import Resize
from ...runtime.machines.machine import INTERPOLATION_LIMIT, RESIZE_LIMIT

FRACTION_BITS = 16


def nearest_indices(op: Op[Resize]) -> tuple[np.ndarray, np.ndarray]:
    """For each row and each column of a nearest resize of a map, the row and column of the operand that it repeats."""
    shape = op.operands.x.type.shape
    found = [op.operator.taps(d, shape[d])[0][:, 0] for d in range(2, len(shape))]
    rows = found[-2] if len(found) > 1 else np.zeros(1, np.int64)
    return rows, found[-1]


def linear_points(op: Op[Resize]) -> tuple[np.ndarray, np.ndarray]:
    """For each row and each column of a linear resize of a map, the point of the operand in units of 2^-11."""
    shape = op.operands.x.type.shape
    found = [op.operator.fixed_points(d, shape[d]) for d in range(2, len(shape))]
    rows = found[-2] if len(found) > 1 else np.zeros(1, np.int64)
    return rows, found[-1]


def nearest_steps(indices: np.ndarray, step_limit: int) -> tuple[int, int] | None:
    """(step, origin), both from 0, with ``indices[i] - indices[0] == (i * step + origin) >> 16``; ``None`` if none are.

    Args:
        indices: int64, at least one.
        step_limit: largest step allowed.

    For a given step, the origins that suit all indices form an interval whose length is a concave function of the
    step: halving the range of steps by its slope finds the longest.
    """
    first = (indices.astype(np.int64) - int(indices[0])) << FRACTION_BITS
    position = np.arange(len(indices), dtype=np.int64)

    def origins(step: int) -> tuple[int, int]:
        offsets = first - position * step
        return max(int(offsets.max()), 0), int(offsets.min()) + (1 << FRACTION_BITS) - 1

    def length(step: int) -> int:
        low, high = origins(step)
        return high - low

    low, high = 0, step_limit
    while low < high:
        middle = (low + high) // 2
        if length(middle) < length(middle + 1):
            low = middle + 1
        else:
            high = middle
    lowest, highest = origins(low)
    return (low, lowest) if lowest <= highest else None


class Axis(NamedTuple):
    """Rows or columns of a resize.
    ``positions``: for each of the result, the element of the operand that it repeats; of a resize that interpolates,
    the point of it in units of 2^-11, not yet moved into the operand.
    ``extent``: elements of the operand.
    ``interpolates``: whether they are points."""

    positions: np.ndarray
    extent: int
    interpolates: bool

    def part(self, first: int, count: int) -> "Axis":
        """Some of the result."""
        return self._replace(positions=self.positions[first : first + count])

    @property
    def reads(self) -> tuple[int, int]:
        """The first element that is read, and how many, from one to the last."""
        first = last = self.positions
        if self.interpolates:
            first, last, _ = neighbours(self.positions, self.extent)
        return int(first[0]), int(last[-1] - first[0]) + 1

    @property
    def steps(self) -> tuple[int, int] | None:
        """Step and origin, from the first element that is read on, in the units of the instruction; None if none are.

        Those of a resize that interpolates are 2^-27 of an element, of others 2^-16."""
        limit = INTERPOLATION_LIMIT if self.interpolates else RESIZE_LIMIT
        found = nearest_steps(self.positions, limit)
        if found is None or not self.interpolates:
            return found
        step, origin = found
        origin += int(self.positions[0]) - (self.reads[0] << INTERPOLATION_BITS) << FRACTION_BITS
        return (step, origin) if abs(origin) <= INTERPOLATION_LIMIT else None

    def most_read(self, step: int, outputs: np.ndarray) -> np.ndarray:
        """Elements that so many outputs read, at most."""
        bits = FRACTION_BITS + (INTERPOLATION_BITS if self.interpolates else 0)
        reach = -(-((outputs - 1) * step) >> bits) + (2 if self.interpolates else 1)
        return np.minimum(reach, self.extent)


def resize_axes(op: Op[Resize]) -> tuple[Axis, Axis]:
    """Rows and columns of a resize of a map, nearest or linear."""
    interpolates = op.operator.mode != "nearest"
    source = map_shape(op.inputs[0].type)
    rows, columns = linear_points(op) if interpolates else nearest_indices(op)
    return Axis(rows, source.height, interpolates), Axis(columns, source.width, interpolates)
