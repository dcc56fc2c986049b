"""Half precision on processors that only store it: conversions by integer arithmetic, rounding to nearest even.

Kernels hold half floats as their bits, u16.
"""

from __future__ import annotations

import numba
import numpy as np

_njit = numba.njit(error_model="numpy")

_SCALE = np.float32(2.0**112)  # between the exponent biases 15 and 127
_OVERFLOW = np.uint32(0x477FF000)  # 65520, the smallest float that rounds to infinity
_SMALLEST_NORMAL = np.uint32(0x38800000)  # 2**-14
_INFINITY = np.uint32(0x7F800000)


@_njit
def half_to_single(h):
    """The float32 of the same value."""
    magnitude = np.uint32(h & np.uint16(0x7FFF)) << np.uint32(13)
    sign = np.uint32(h & np.uint16(0x8000)) << np.uint32(16)
    if magnitude >= np.uint32(0x0F800000):
        result = np.uint32(magnitude | _INFINITY)
    else:
        # As float32 bits this is the value times 2**-112, half's subnormal numbers included.
        result = np.float32(np.uint32(magnitude).view(np.float32) * _SCALE).view(np.uint32)
    return np.uint32(result | sign).view(np.float32)


@_njit
def single_to_half(x):
    """The nearest half float."""
    b = np.float32(x).view(np.uint32)
    sign = np.uint32((b >> np.uint32(16)) & np.uint32(0x8000))
    a = np.uint32(b & np.uint32(0x7FFFFFFF))
    if a > _INFINITY:
        result = np.uint32(0x7E00)
    elif a >= _OVERFLOW:
        result = np.uint32(0x7C00)
    elif a >= _SMALLEST_NORMAL:
        r = np.uint32(a - np.uint32(0x38000000))
        result = np.uint32((r + np.uint32(0xFFF) + ((r >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13))
    else:
        # The last bit of floats from 0.5 to 1 is half's smallest number, so the addition rounds as needed.
        shifted = np.float32(np.uint32(a).view(np.float32) + np.float32(0.5)).view(np.uint32)
        result = np.uint32(shifted - np.uint32(0x3F000000))
    return np.uint16(result | sign)


@_njit
def double_to_half(x):
    """The nearest half float, rounded once."""
    near = np.float32(x)
    b = np.float32(near).view(np.uint32)
    if np.float64(near) == x or x != x:
        return single_to_half(near)
    # Toward zero, with a last bit that says something was cut: the second rounding then cannot err.
    if abs(np.float64(near)) > abs(x):
        b = np.uint32(b - np.uint32(1))
    return single_to_half(np.uint32(b | np.uint32(1)).view(np.float32))
