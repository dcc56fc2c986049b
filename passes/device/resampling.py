"""Resizes as the device does them: rows and columns that advance in equal steps, and what they read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.arithmetic import INTERPOLATION_BITS, neighbours
from ...ir.core import Op
from ...ir.feature_map import map_shape
from ...ir.ops.resize import Resize
from ...ir.resampling import FRACTION_BITS, linear_points, nearest_indices, nearest_steps
from ...runtime.machines.machine import INTERPOLATION_LIMIT, RESIZE_LIMIT


class Axis(NamedTuple):
    """Rows or columns of a resize.

    Attributes:
        positions: for each of the result, the element of the operand that it repeats; of a resize that interpolates,
            the point of it in units of 2^-11, not yet moved into the operand.
        extent: elements of the operand.
        interpolates: whether they are points.
    """

    positions: np.ndarray
    extent: int
    interpolates: bool

    def part(self, first: int, count: int) -> Axis:
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

        Those of a resize that interpolates are 2^-27 of an element, of others 2^-16.
        """
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
