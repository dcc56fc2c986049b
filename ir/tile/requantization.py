"""Operators that make maps of accumulators, alone or with a map that is added before anything is rounded."""

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from .. import arithmetic
from ..core import Value
from ..op import Operator, operator
from ..types import TensorType
from .types import TILE_OPERATORS, placed_map, tile, written

LOWEST, HIGHEST = -128, 127

Added = tuple[np.ndarray, int, np.float32]
"""Integers, their zero point, and what they are multiplied with."""


class RequantizeOperands(NamedTuple):
    """Accumulators, bias and multipliers, and where the result goes."""

    x: Value
    parameters: Value
    into: Value | None = None


@operator("tile_requantize", TILE_OPERATORS)
class Requantize(Operator[RequantizeOperands]):
    """Accumulators as a map: ``arithmetic.requantize`` of the sum with the bias.

    Attributes:
        zero_point: added after rounding.
        low, high: clamp.
        slope: what negative numbers are multiplied with before they are rounded, above 0 and at most 1.
    """

    zero_point: int
    low: int
    high: int
    slope: float = 1.0

    def infer(self, x: TensorType, parameters: TensorType, into: TensorType | None) -> TensorType:
        source = tile(x, "accumulators", "what is requantised")
        lanes = tile(parameters, "parameters", "its scale", 2, source.cluster)
        if lanes.shape != (2, source.shape[-1]):
            raise IRError("every channel has a bias and a multiplier", expected=source.shape[-1], found=lanes)
        if not LOWEST <= self.low <= self.high <= HIGHEST:
            raise IRError("the clamp is none", expected="-128 to 127, in order", found=[self.low, self.high])
        if not 0 < self.slope <= 1:
            raise IRError("the slope is none", expected="above 0, at most 1", found=self.slope)
        return placed_map(source.shape, source.cluster, into)

    def reference(self, x: np.ndarray, parameters: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        bias, multiplier = parameters[0].astype(np.int32), parameters[1].astype(np.float32)
        return written(self.rounded(x + bias, multiplier), into)

    def rounded(self, total: np.ndarray, multiplier: np.ndarray, added: Added | None = None) -> np.ndarray:
        """Integers of sums, alone or with what is added, its zero point and its factor."""
        bounds = self.zero_point, self.low, self.high
        if added is None and self.slope == 1:
            return arithmetic.requantize(total, multiplier, *bounds)
        added = added or (np.zeros((), np.int64), 0, np.float32(0))
        return arithmetic.requantize_sum(total, multiplier, *added, *bounds, self.slope)


class RequantizeSumOperands(NamedTuple):
    """Accumulators, bias and multipliers, the map that is added, and where the result goes; it may be that map."""

    x: Value
    parameters: Value
    residual: Value
    into: Value | None = None


@operator("tile_requantize_sum", TILE_OPERATORS)
class RequantizeSum(Operator[RequantizeSumOperands]):
    """Accumulators and a map as a map: ``arithmetic.requantize_sum`` of the sum with the bias.

    Attributes:
        zero_point, low, high, slope: see :class:`Requantize`.
        residual_zero, residual_factor: what is taken off the map that is added, and what is multiplied with then.
    """

    zero_point: int
    low: int
    high: int
    residual_zero: int
    residual_factor: float
    slope: float = 1.0

    def infer(self, x: TensorType, parameters: TensorType, residual: TensorType, into: TensorType | None) -> TensorType:
        result = self.alone.infer(x, parameters, into)
        source = tile(x, "accumulators", "what is requantised")
        added = tile(residual, "maps", "what is added", cluster=source.cluster)
        if added.shape != x.shape:
            raise IRError("what is added has another shape than the sums", expected=list(x.shape), found=added)
        if not LOWEST <= self.residual_zero <= HIGHEST:
            raise IRError("the zero point is none", expected="-128 to 127", found=self.residual_zero)
        if not 0 <= self.residual_factor <= arithmetic.RESIDUAL_FACTOR_LIMIT:
            expected = f"0 to {arithmetic.RESIDUAL_FACTOR_LIMIT:.0f}"
            raise IRError("the factor of what is added is none", expected=expected, found=self.residual_factor)
        return result

    def reference(
        self, x: np.ndarray, parameters: np.ndarray, residual: np.ndarray, into: np.ndarray | None
    ) -> np.ndarray:
        bias, multiplier = parameters[0].astype(np.int32), parameters[1].astype(np.float32)
        added = residual, self.residual_zero, np.float32(self.residual_factor)
        return written(self.alone.rounded(x + bias, multiplier, added), into)

    @property
    def alone(self) -> Requantize:
        """The same without a map that is added."""
        return Requantize(self.zero_point, self.low, self.high, self.slope)
