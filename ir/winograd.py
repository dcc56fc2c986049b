"""Winograd's minimal filtering: tiles of a convolution by few multiplications, after sums over inputs and weights.

F(m x m, 3 x 3) computes m x m outputs of a 3 x 3 window of stride 1 from n x n inputs, n = m + 2, as

    outputs (weights g weights' * inputs d inputs') outputs'

with n * n products of elements instead of 9 * m * m, where the transforms of all channels' inputs and weights are done
once, and the sum over input channels comes before the last transform (Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016; Toom and Cook's evaluation of polynomials at the points 0, p, -p, ..., infinity).

The points of F(4 x 4) are the square roots of 1/2 and 2 and not 1 and 2, which leaves a fifth of the rounding error:
about 2e-6 of the largest output for 256 channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

WINDOW = 3
"""Extent of the windows."""


@dataclass(frozen=True)
class Winograd:
    """The transforms of F(m x m, 3 x 3).

    Attributes:
        points: where polynomials are evaluated beside 0 and infinity, each stands for its opposite too.
    """

    points: tuple[float, ...]

    @property
    def tile(self) -> int:
        """m, outputs along an axis."""
        return self.extent - WINDOW + 1

    @property
    def extent(self) -> int:
        """n, inputs and products along an axis."""
        return 2 * len(self.points) + 2

    @property
    def _finite(self) -> list[float]:
        return [0.0, *(sign * point for point in self.points for sign in (1, -1))]

    @cached_property
    def inputs(self) -> np.ndarray:
        """float64 [n, n]; the rows of opposite points follow each other and differ in the signs of odd columns."""
        finite, rows = self._finite, np.zeros((self.extent, self.extent))
        for index in range(self.extent):
            roots = [point for other, point in enumerate(finite) if other != index]
            # Rounding makes what cancels exactly zero, far below single precision.
            polynomial = np.round(np.poly(roots)[::-1], 12)
            rows[index, : len(polynomial)] = polynomial
        return rows

    @cached_property
    def weights(self) -> np.ndarray:
        """float64 [n, 3]."""
        finite = self._finite
        rows = [
            [point**k / math.prod(point - other for other in finite if other != point) for k in range(WINDOW)]
            for point in finite
        ]
        return np.array([*rows, [0.0] * (WINDOW - 1) + [1.0]])

    @cached_property
    def outputs(self) -> np.ndarray:
        """float64 [m, n]; the columns of opposite points follow each other and differ in the signs of odd rows."""
        return np.array([[*(p**k for p in self._finite), float(k == self.tile - 1)] for k in range(self.tile)])

    def transformed(self, blocks: np.ndarray) -> np.ndarray:
        """Weights in the order of ``o16i16`` transformed, in that of the algorithm's layout; see :mod:`.layout`.

        They are of the same element type, and the same bytes on every machine.
        """
        outputs, inputs, *_, inner, outer = blocks.shape
        taps = np.ascontiguousarray(np.moveaxis(blocks, (2, 3), (0, 1)), np.float64)
        found = np.empty((outputs, self.extent, self.extent, inputs, inner, outer), blocks.dtype)
        for i, row in enumerate(self.weights):
            line = _weighted(row, taps)
            for j, column in enumerate(self.weights):
                found[:, i, j] = _weighted(column, line)
        return found


def _weighted(factors: np.ndarray, arrays: np.ndarray) -> np.ndarray:
    """A sum in a fixed order: what libraries make of matrix products depends on the processor."""
    return sum((factor * array for factor, array in zip(factors, arrays, strict=True) if factor), np.zeros(()))


WINOGRAD = {
    "f2o16i16": Winograd((1.0,)),
    "f4o16i16": Winograd((math.sqrt(0.5), math.sqrt(2.0))),
}
"""By the layout of weights that are transformed for it, see :mod:`tilewright.ir.layout`."""
