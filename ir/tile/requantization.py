"""Operators that make maps of accumulators, alone or with a map that is added before anything is rounded."""

from typing import ClassVar, NamedTuple

import numpy as np

from tilewright.errors import IRError

from .. import arithmetic
from ..core import Value
from ..layout import CHANNEL_BLOCK
from ..op import Operator, operator
from ..types import TensorType
from .types import TILE_OPERATORS, TileType, placed_map, tile, written

LOWEST, HIGHEST = -128, 127


class RequantizeOperands(NamedTuple):
    """Accumulators, bias and multipliers, the map that is added, if any, and where the result goes; it may be that."""

    x: Value
    parameters: Value
    residual: Value | None = None
    into: Value | None = None


@operator("tile_requantize", TILE_OPERATORS)
class Requantize(Operator[RequantizeOperands]):
    """Accumulators as a map: ``arithmetic.requantize`` of the sum with the bias, or with a map ``requantize_sum``.

    Attributes:
        zero_point: added after rounding.
        residual_zero, residual_factor: what is taken off the map that is added, and what is multiplied with then.
        slope: what negative numbers are multiplied with before they are rounded, above 0 and at most 1.
        doubled: whether what half a block of accumulators becomes is also the other half.
    """

    BOUNDS: ClassVar[tuple[int, int]] = LOWEST, HIGHEST

    zero_point: int
    low: int
    high: int
    residual_zero: int = 0
    residual_factor: float = 0.0
    slope: float = 1.0
    doubled: bool = False

    def result(self, sums: TileType) -> tuple[int, ...]:
        """The shape of the map."""
        return (*sums.shape[:-1], sums.shape[-1] * (1 + self.doubled))

    def infer(
        self, x: TensorType, parameters: TensorType, residual: TensorType | None, into: TensorType | None
    ) -> TensorType:
        source = tile(x, "accumulators", "what is requantised")
        lanes, shape = tile(parameters, "parameters", "its scale", 2, source.cluster), self.result(source)
        if lanes.shape != (2, source.shape[-1]):
            raise IRError("every channel has a bias and a multiplier", expected=source.shape[-1], found=lanes)
        if self.doubled and 2 * source.shape[-1] != CHANNEL_BLOCK:
            raise IRError("no half of a block is doubled", expected=CHANNEL_BLOCK // 2, found=source)
        lowest, highest = self.BOUNDS
        if not lowest <= self.low <= self.high <= highest:
            raise IRError("the clamp is none", expected=f"{lowest} to {highest}, in order", found=[self.low, self.high])
        if residual is not None:
            added = tile(residual, "maps", "what is added", cluster=source.cluster)
            if added.shape != shape:
                raise IRError("what is added has another shape than the result", expected=list(shape), found=added)
        if not lowest <= self.residual_zero <= highest:
            raise IRError("the zero point is none", expected=f"{lowest} to {highest}", found=self.residual_zero)
        if not 0 <= self.residual_factor <= arithmetic.RESIDUAL_FACTOR_LIMIT:
            expected = f"0 to {arithmetic.RESIDUAL_FACTOR_LIMIT:.0f}"
            raise IRError("the factor of what is added is none", expected=expected, found=self.residual_factor)
        if not 0 < self.slope <= 1:
            raise IRError("the slope is none", expected="above 0, at most 1", found=self.slope)
        return placed_map(shape, source.cluster, into)

    def reference(
        self, x: np.ndarray, parameters: np.ndarray, residual: np.ndarray | None, into: np.ndarray | None
    ) -> np.ndarray:
        rounded = self.rounded(x, parameters, residual)
        return written(np.concatenate([rounded] * (1 + self.doubled), -1), into)

    def rounded(self, x: np.ndarray, parameters: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
        """The integers of the map."""
        total, multiplier = x + parameters[0].astype(np.int32), parameters[1].astype(np.float32)
        bounds = self.zero_point, self.low, self.high
        if residual is None and self.slope == 1:
            return arithmetic.requantize(total, multiplier, *bounds)
        added = np.asarray(self.residual_zero) if residual is None else residual
        factor = np.float32(self.residual_factor)
        return arithmetic.requantize_sum(total, multiplier, added, self.residual_zero, factor, *bounds, self.slope)
