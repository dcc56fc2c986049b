"""Numbers next to the middle between two integers, which others round differently from one processor to the next."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tilewright.ir.core import Op
from tilewright.ir.ops.quantization import Quantize, Requantize
from tilewright.ir.quantized import limits
from tilewright.ir.types import DType, TensorType

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


def before_rounding(op: Op, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    """What an op on quantised types rounds: its result in steps from 0, within the integers of its type, in float64.

    Real numbers from the integers of the operands, the operator's definition on these, and the scale of the result:
    nothing of the rules for integers. Products of scales and integers are exact in float64, their sums to 1e-12.

    Args:
        arrays: elements of the operands.
    """
    reals = [
        None if array is None or value is None else _real(array, value.type, op)
        for array, value in zip(arrays, op.operands, strict=True)
    ]
    exact = reals[0] if isinstance(op.operator, (Quantize, Requantize)) else op.operator.reference(*reals)
    assert isinstance(exact, np.ndarray) and exact.dtype == np.float64, op
    quant = op.result.type.quant
    assert quant is not None and quant.axis is None
    return np.clip(exact / quant.scale[0] + quant.zero_point[0], *limits(op.result.type))


def _real(array: np.ndarray, type: TensorType, op: Op) -> np.ndarray:
    wide = array.astype(np.float64)
    if type.dtype is DType.I32:
        # A bias, in steps of the accumulators.
        x, w = (value.type.quant for value in op.operands[:2] if value is not None)
        assert x is not None and w is not None
        return wide * (x.scale[0] * np.asarray(w.scale))
    if type.quant is None:
        return wide
    along = [1] * array.ndim
    if type.quant.axis is not None:
        along[type.quant.axis] = -1
    scale, zero = (np.asarray(each, np.float64).reshape(along) for each in (type.quant.scale, type.quant.zero_point))
    return (wide - zero) * scale
