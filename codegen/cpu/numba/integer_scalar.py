"""Quantised arithmetic on single numbers, for kernels that numba compiles; every operation rounds on its own."""

from __future__ import annotations

import numba
import numpy as np

_njit = numba.njit(error_model="numpy")


@_njit
def clamped(value, zero, low, high):
    """A float that is a whole number, brought into the range and the zero point added; NaN gives ``low``."""
    least, most = np.float32(low - zero), np.float32(high - zero)
    return np.int32(most if value > most else value if value > least else least) + np.int32(zero)


@_njit
def quantized(x, scale, zero, low, high):
    """A real number as a stored integer."""
    return clamped(np.rint(np.float32(x) / np.float32(scale)), zero, low, high)


@_njit
def dequantized(x, scale, zero):
    """A stored integer as a float32."""
    return np.float32(np.int32(np.int32(x) - np.int32(zero))) * np.float32(scale)


NAMES: tuple[tuple[str, object], ...] = tuple((f.__name__, f) for f in (clamped, quantized, dequantized))
