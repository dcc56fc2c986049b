"""Resampling as an arithmetic rule, which hardware can follow without a table."""

from __future__ import annotations

import numpy as np

from .core import Op
from .ops.resize import Resize

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
