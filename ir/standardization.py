"""The meaning of a normalisation of quantised tensors, as :mod:`tilewright.ir.arithmetic` has that of all else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Integers

MULTIPLIER_BITS = 15
"""Of the multipliers of what is normalised, without their sign."""

CHANNELS_LIMIT = 1 << 13
"""So many squares of 25 bits and a sign add up within 64 bits."""


class Standardization(NamedTuple):
    """What a normalisation multiplies with and adds, by channel.

    Attributes:
        multipliers: of each operand, int64 of 15 bits and a sign, [channels].
        gain, offset: of the results, float32 [channels].
        epsilon: added to the sum of squares.
    """

    multipliers: tuple[NDArray[np.int64], ...]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    epsilon: np.float32


def standardization(
    steps: Sequence[NDArray[np.float64]],
    scale: NDArray[np.float32],
    b: NDArray[np.float32],
    scale_y: np.float32,
    epsilon: float,
) -> Standardization:
    """The integers and binary32 numbers of a normalisation of real numbers.

    The unit of the sum is a power of two, the smallest for which the multipliers have 15 bits.

    Args:
        steps: what a step of each operand stands for, [channels].
        scale, b: of the standardised numbers, [channels].
        scale_y: of the result.
        epsilon: added to the variance.

    Raises:
        ValueError: a number is none, or there are too many channels.
    """
    count = len(scale)
    if count > CHANNELS_LIMIT:
        raise ValueError(f"sums of {count} squares may leave 64 bits: at most {CHANNELS_LIMIT} channels")
    largest = float(max(np.abs(each).max() for each in steps))
    if not math.isfinite(largest):
        raise ValueError("the factors of what is normalised are no numbers")
    shift = MULTIPLIER_BITS - math.frexp(largest)[1]
    # What rounds up to the next power of two takes a bit more.
    shift -= round(math.ldexp(largest, shift)) >> MULTIPLIER_BITS
    multipliers = tuple(np.rint(np.ldexp(each, shift)).astype(np.int64) for each in steps)
    with np.errstate(all="ignore"):  # what is infinite is refused
        gain = (scale.astype(np.float64) * math.sqrt(count) / float(scale_y)).astype(np.float32)
        offset = (b.astype(np.float64) / float(scale_y)).astype(np.float32)
        added = np.ldexp(np.float64(count * epsilon), 2 * shift).astype(np.float32)
    if not (np.isfinite(gain).all() and np.isfinite(offset).all() and np.isfinite(added) and added >= 0):
        raise ValueError("what is normalised, or the result, has steps that are too small beside its factors")
    return Standardization(multipliers, gain, offset, np.float32(added))


def standardized(
    total: Integers, by: Standardization, centred: bool, zero_point: int, low: int, high: int
) -> NDArray[np.int64]:
    """Sums over their root mean square along the last dimension, at the scale of the output.

    The mean is rounded to an integer, the sum of the squares of what the numbers differ from it by is exact; then the
    rest in binary32, one rounding each.

    Args:
        total: integers of 24 bits and a sign, [..., channels].
        by: gain, offset and epsilon.
        centred: the mean is taken off.
        zero_point, low, high: see :func:`tilewright.ir.arithmetic.requantize`.
    """
    total = np.asarray(total, np.int64)
    if centred:
        total = total - rounded_quotient(total.sum(-1, keepdims=True), total.shape[-1])
    squares = np.square(total).sum(-1, keepdims=True).astype(np.float32)
    one = np.float32(1)
    factor = one / np.sqrt(np.maximum(squares + by.epsilon, one))
    with np.errstate(over="ignore"):  # what is infinite is clamped
        result = total.astype(np.float32) * by.gain * factor + by.offset
    return np.clip(np.rint(result), low - zero_point, high - zero_point).astype(np.int64) + zero_point


def rounded_quotient(value: Integers, divisor: int) -> NDArray[np.int64]:
    """``value / divisor`` rounded to nearest, ties to even; of a positive divisor."""
    floor = np.asarray(value, np.int64) // divisor
    twice = 2 * (value - floor * divisor)
    return floor + ((twice > divisor) | ((twice == divisor) & (floor & 1 == 1)))
