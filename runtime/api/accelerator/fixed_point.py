"""Numbers in 16-bit fixed point, as the device of the Accelerator API has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = -(2**15), 2**15 - 1


def to_fixed(array: np.ndarray, fraction_bits: int) -> NDArray[np.int16]:
    """The nearest 16-bit numbers with so many fraction bits, ties to even; what does not fit is saturated."""
    scaled = np.rint(np.asarray(array, np.float64) * 2.0**fraction_bits)
    return np.clip(scaled, LEAST, MOST).astype(np.int16)


def saturated(array: np.ndarray, fraction_bits: int) -> int:
    """How many numbers do not fit 16 bits with so many fraction bits."""
    scaled = np.rint(np.asarray(array, np.float64) * 2.0**fraction_bits)
    return int(np.count_nonzero((scaled < LEAST) | (scaled > MOST)))


def to_float(array: np.ndarray, fraction_bits: int) -> NDArray[np.float32]:
    """What fixed-point numbers stand for."""
    return (array * 2.0**-fraction_bits).astype(np.float32)


def shifted(array: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Divided by ``2**bits`` and rounded to the nearest, ties upward; a negative number of bits multiplies, saturating.

    Args:
        bits: at most 62.

    Source: the rounding shift of accumulators in fixed-point hardware, which adds half and drops bits.
    """
    if bits <= 0:
        limit = 1 << (62 + bits)
        return np.clip(array, -limit, limit) << -bits
    return (array + (1 << (bits - 1))) >> bits


def narrowed(array: NDArray[np.int64]) -> NDArray[np.int16]:
    """Saturated to 16 bits."""
    return np.clip(array, LEAST, MOST).astype(np.int16)


def product(a: np.ndarray, b: np.ndarray) -> NDArray[np.int64]:
    """The matrix product of 16-bit numbers, exact.

    In binary64, which holds every sum of fewer than 2**23 products of 31 bits.
    """
    return np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
