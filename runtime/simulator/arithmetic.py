"""The quantised arithmetic of the device, fast: the same numbers as the integer statements of the ISA document.

A binary32 product of an int32 rounded to binary32 with the multiplier is mode F of requantisation, because the
multiplier has 24 significant bits; float64 holds every sum of the integer rules exactly. A test compares all of it
with the slow statements that define the meaning.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

VectorRecord = dict[str, "int | np.float32"]
LOWEST, HIGHEST = -128, 127
ONE = np.float32(1)


def requantize(
    accumulator: NDArray[np.int32],
    multiplier: NDArray[np.float32],
    zero_point: int,
    low: int,
    high: int,
    residual: NDArray[np.float32] | None = None,
    quotient: NDArray[np.float32] | None = None,
    dtype: type[np.signedinteger] = np.int8,
    slope: np.float32 = ONE,
) -> NDArray[np.signedinteger]:
    """Mode F: ``clamp(round(binary32(binary32(a) * m)) + zero_point)``, of ``binary32(… + residual)`` with a residual,
    and of ``binary32(… * quotient)`` with a quotient, or where that is negative ``binary32(… * slope)``.

    Args:
        accumulator: int32 [..., channels], bias included.
        multiplier: float32 [channels].
        zero_point: added after rounding.
        low, high: clamp, within int8 or int16.
        residual: of the shape of the accumulators, finite.
        quotient: of each pixel, finite and not 0.
        dtype: of the result.
        slope: above 0, at most 1.
    """
    value = accumulator.astype(np.float32)
    np.multiply(value, multiplier, out=value)
    if residual is not None:
        np.add(value, residual, out=value)
    if quotient is not None:
        np.multiply(value, quotient, out=value)
    if slope != 1:
        np.maximum(value, value * slope, out=value)
    # Clamping first keeps the sum with the zero point exact and costs nothing: rounding is monotone.
    np.maximum(value, np.float32(low - zero_point), out=value)
    np.minimum(value, np.float32(high - zero_point), out=value)
    np.rint(value, out=value)
    np.add(value, np.float32(zero_point), out=value)
    return value.astype(dtype)


def round_shift(value: NDArray[Any], shift: NDArray[Any] | int) -> NDArray[Any]:
    """``value / 2^shift`` to nearest, ties to even, of integers with a bit to spare beyond the shift."""
    floor = value >> shift
    twice = (value - (floor << shift)) * 2 + (floor & 1)
    # Half of a step is up from an odd number alone.
    return floor + (twice > 1 << shift)


def pool_sum(total: NDArray[np.int32], record: VectorRecord) -> NDArray[np.int8]:
    """Mode F on sums of ``x - zero_a``, int32 of any shape."""
    factor = np.array([record["multiplier"]], np.float32)
    return requantize(total, factor, int(record["zero_output"]) + int(record["offset"]), LOWEST, HIGHEST)


def pool_average(total: NDArray[np.float32], count: NDArray[np.float32], record: VectorRecord) -> NDArray[np.int8]:
    """Binary32 sums divided by the window size and the output scale, zero point added, rounded, shifted, clamped."""
    value = total / count
    np.divide(value, np.float32(record["scale_output"]), out=value)
    np.add(value, np.float32(record["zero_output"]), out=value)
    np.rint(value, out=value)
    return _clamp(value, int(record["offset"]), LOWEST, HIGHEST)


def elementwise_table(kind: int, record: VectorRecord, low: int, high: int) -> NDArray[np.int8]:
    """All results of ELT for one record: int8 [256, 256], by the two inputs as unsigned bytes.
    ``kind``: 0 add, 1 multiply, 2 maximum, 3 minimum."""
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
    a, b = (values - int(record["zero_a"]))[:, None], (values - int(record["zero_b"]))[None, :]
    if kind == 1:
        product = (a * b).astype(np.float32)
        scaled = product * np.float32(record["multiplier"]) + np.float32(record["zero_output"])
        return _clamp(np.rint(scaled), int(record["offset"]), low, high)
    left, right = a * int(record["multiplier_a"]), b * int(record["multiplier_b"])
    combined = (left + right) if kind == 0 else (np.maximum if kind == 2 else np.minimum)(left, right)
    exact = np.ldexp(combined.astype(np.float64), -int(record["shift"])) + int(record["zero_output"])
    return _clamp(np.rint(exact), int(record["offset"]), low, high)


def _clamp(value: NDArray[np.floating], offset: int, low: int, high: int) -> NDArray[np.int8]:
    return (np.clip(value, low - offset, high - offset) + offset).astype(np.int8)
