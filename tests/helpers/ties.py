"""Sums of quantised tensors, which onnxruntime rounds differently from one processor to the next."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tilewright.ir.types import TensorType

NEAR = Fraction(1, 1 << 14)
"""How near to a tie, in steps of the result, the exact sum must lie where a difference by one is allowed."""


def exact_sum(stored: Sequence[int], types: Sequence[TensorType], y: TensorType, sign: int = 1) -> Fraction:
    """The sum, or difference, of two stored integers in steps of ``y``, zero point included, without any rounding."""
    total = Fraction(0)
    for value, type, factor in zip(stored, types, (1, sign), strict=True):
        assert type.quant is not None
        total += factor * Fraction(type.quant.scale[0]) * (value - type.quant.zero_point[0])
    assert y.quant is not None
    return total / Fraction(y.quant.scale[0]) + y.quant.zero_point[0]


def is_near_tie(exact: Fraction) -> bool:
    """Whether the number lies within :data:`NEAR` of the middle between two integers."""
    return abs(exact - exact.__floor__() - Fraction(1, 2)) <= NEAR


def count_allowed_differences(
    found: np.ndarray,
    expected: np.ndarray,
    stored: Sequence[np.ndarray],
    types: Sequence[TensorType],
    y: TensorType,
    sign: int = 1,
) -> int:
    """Elements in which two results of a sum differ. Fails unless each differs by one and its sum is near a tie."""
    a, b = (np.broadcast_to(array, found.shape) for array in stored)
    differing = np.argwhere(found != expected)
    for place in map(tuple, differing):
        exact = exact_sum((int(a[place]), int(b[place])), types, y, sign)
        assert abs(int(found[place]) - int(expected[place])) == 1, (found[place], expected[place], float(exact))
        assert is_near_tie(exact), (found[place], expected[place], float(exact))
    return len(differing)
