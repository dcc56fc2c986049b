"""Functions of single numbers that kernels may call; numba compiles them into each.

Kernels hold half floats as their bits, u16, and compute with them as float32. Quantised arithmetic follows
:mod:`tilewright.ir.arithmetic`; every operation rounds on its own.
"""

import numpy as np


def smaller(a, b):
    """NaN if one is NaN."""
    return a if a < b or a != a else b


def larger(a, b):
    """NaN if one is NaN."""
    return a if a > b or a != a else b


def divide_integers(a, b):
    """Quotient cut toward zero; 0 of a division by zero."""
    if b == 0:
        return a - a
    if b == -1:
        return a - a - a
    quotient = a // b
    if a != quotient * b and (a < 0) != (b < 0):
        # Added to a literal, which is signed, 64 bits without sign would become a float64.
        quotient += np.uint8(1)
    return quotient


def real_quotient(a, b):
    """Quotient in double precision, which cut is exact for dividends below 2^53; no matter what by 0 and -1."""
    return np.float64(a) / (np.float64(b) if b != 0 and b != -1 else 1.0)


def divide_long(a, b):
    """Quotient of 64-bit integers cut toward zero; no matter what by 0 and -1."""
    if a > -(1 << 53) and a < 1 << 53:
        return np.int64(real_quotient(a, b))
    return divide_integers(a, b)


def cut_quotient(a, b, quotient):
    """The quotient cut toward zero, which is given unless by 0 or -1; 0 of a division by zero."""
    return a - a if b == 0 else a - a - a if b == -1 else quotient


def truncated_remainder(a, b, quotient):
    """Remainder of integers with the sign of the dividend, of a quotient cut toward zero; 0 of a division by zero."""
    return a - a if b == 0 or b == -1 else a - quotient * b


def remainder(a, b, quotient):
    """Remainder with the sign of the divisor, likewise."""
    cut = truncated_remainder(a, b, quotient)
    return cut + b if cut != 0 and (cut < 0) != (b < 0) else cut


_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_LAST_BITS = 1.5 * 2.0**52
_BIAS = np.int64(1023 << 52)


def hyperbolic_tangent(x):
    """In double precision, by m / (m + 2) with m = e^(2x) - 1, of which a Taylor series makes what no power of two is.

    There is no call in it, so that LLVM computes several at a time."""
    doubled = -2.0 * min(abs(x), 20.0)
    shifted = doubled * 1.4426950408889634 + _LAST_BITS
    whole = shifted - _LAST_BITS
    r = (doubled - whole * _LN2_HIGH) - whole * _LN2_LOW
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r * r + r
    scale = np.int64((np.float64(shifted).view(np.int64) << np.int64(52)) + _BIAS).view(np.float64)
    m = scale * p + (scale - 1.0)
    y = m / (m + 2.0)
    return x if abs(x) < 1e-8 or x != x else y if x < 0 else -y


def to_int32(x):
    """The fraction dropped; the smallest integer for what does not fit."""
    return np.int32(x) if -2147483648.0 <= np.trunc(x) < 2147483648.0 else np.int32(-2147483648)


def to_int64(x):
    """The fraction dropped; the smallest integer for what does not fit."""
    fits = -9223372036854775808.0 <= x < 9223372036854775808.0
    return np.int64(x) if fits else np.int64(-9223372036854775808)


def to_uint64(x):
    """The fraction dropped; beyond the range what :func:`tilewright.ir.ops.shape.truncate` says."""
    if x >= 9223372036854775808.0:
        return np.uint64(to_int64(np.float64(x) - 9223372036854775808.0)) ^ np.uint64(1 << 63)
    return np.uint64(to_int64(x))


_SCALE = np.float32(2.0**112)  # between the exponent biases 15 and 127
_OVERFLOW = np.uint32(0x477FF000)  # 65520, the smallest float that rounds to infinity
_SMALLEST_NORMAL = np.uint32(0x38800000)  # 2**-14
_INFINITY = np.uint32(0x7F800000)


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


def single_to_half(x):
    """The nearest half float."""
    b = np.float32(x).view(np.uint32)
    sign = np.uint32((b >> np.uint32(16)) & np.uint32(0x8000))
    a = np.uint32(b & np.uint32(0x7FFFFFFF))
    if a > _INFINITY:
        # What tells NaNs apart stays, as far as there is room for it.
        result = np.uint32(np.uint32(0x7C00) | max((a >> np.uint32(13)) & np.uint32(0x3FF), np.uint32(1)))
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


def clamped(value, zero, low, high):
    """A float that is a whole number, brought into the range and the zero point added; NaN gives ``low``."""
    least, most = np.float32(low - zero), np.float32(high - zero)
    return np.int32(most if value > most else value if value > least else least) + np.int32(zero)


def quantized(x, scale, zero, low, high):
    """A real number as a stored integer."""
    return clamped(np.rint(np.float32(x) / np.float32(scale)), zero, low, high)


def dequantized(x, scale, zero):
    """A stored integer as a float32."""
    return np.float32(np.int32(np.int32(x) - np.int32(zero))) * np.float32(scale)


_ROUNDING = np.float32(1.5 * 2.0**23)


def stored_form(value, low, high, zero):
    """A number at the scale of the result as stored integer; the bounds are less the zero point.

    Adding 1.5 * 2^23 leaves the nearest integer, ties to even. It has 32 bits: to 64, AVX2 converts numbers one by one.
    """
    value = min(max(value, np.float32(low)), np.float32(high))
    return np.int32((value + _ROUNDING) - _ROUNDING) + zero


def leaky(value, slope):
    """A number, below zero times a slope of up to 1."""
    return max(value, value * slope)


def from_front(index, extent):
    """The index counted from the front, -1 if it is out of range."""
    if index < 0:
        index += extent
    return index if 0 <= index < extent else -1


def first_inside(start, step):
    """The first multiple of ``step`` that takes ``start`` to 0 or above."""
    return 0 if start >= 0 else (step - 1 - start) // step


def last_inside(start, step, extent, count):
    """The first multiple of ``step`` that takes ``start`` to ``extent`` or above, ``count`` at most."""
    return max(0, min(count, (extent - start + step - 1) // step))


def taps(output, before, end, kernel, stride, dilation, first):
    """How many taps of a window lie from ``first`` to ``end``."""
    start = output * stride - before
    return max(0, last_inside(start, dilation, end, kernel) - first_inside(start - first, dilation))


def cubic_weight(s, tap):
    """The weight of one of four elements around a point ``s`` behind the second; Keys' kernel with -0.75."""
    t = np.float32(1) - s if tap == 2 else s
    if tap == 1 or tap == 2:
        return (np.float32(1.25) * t - np.float32(2.25)) * t * t + np.float32(1)
    t = s + np.float32(1) if tap == 0 else np.float32(2) - s
    return ((np.float32(-0.75) * t + np.float32(3.75)) * t - np.float32(6)) * t + np.float32(3)
