"""Functions of integers of 16 bits, by tables of knots between which they are straight lines.

``docs/arithmetic.md`` states the rule and how far a result is from the exact one.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Integers, bit_length, dequantize, quantize, round_shift

LOWEST, HIGHEST = -(2**15), 2**15 - 1

SEGMENT_BITS = 5
"""Segments for each doubling of a magnitude, as a power of two; smaller magnitudes are knots themselves."""

FRACTION_BITS = 2
"""Of the numbers at knots, in steps of the result."""

KNOT_LIMIT = 2**19
"""Numbers at knots are within it: four times the integers of a result, so that products have 32 bits."""

SIDE = 360
"""Where the knots of negative integers begin; a side has 353, filled up so that the table has whole lines of 64."""

KNOTS = 2 * SIDE

ERROR_LIMIT = 4
"""A function that a table misses by more steps somewhere is not made one."""


def segment(x: Integers) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The first knot of the segment that holds an integer, how far it lies behind, and the length as a power of two.

    The magnitude is m = x, or -1 - x below zero; with e = max(bits of m - 6, 0) its segment is number 32 e + floor(m /
    2^e) of its side, of length 2^e."""
    x = np.asarray(x, np.int64)
    magnitude = np.where(x < 0, ~x, x)
    length = np.maximum(bit_length(magnitude) - SEGMENT_BITS - 1, 0)
    first = (length << SEGMENT_BITS) + (magnitude >> length)
    return first + np.where(x < 0, SIDE, 0), magnitude & (1 << length) - 1, length


def _positions() -> NDArray[np.int64]:
    """The integers at the knots, by number, from 0 on and from -1 down to one beyond those of 16 bits."""
    number = np.minimum(np.arange(SIDE), 352)
    length = np.maximum((number >> SEGMENT_BITS) - 1, 0)
    magnitude = (number - (length << SEGMENT_BITS)) << length
    return np.concatenate([magnitude, ~magnitude])


def knots(
    function: Callable[[NDArray[np.float32]], NDArray[np.float32]], scale: np.float32, into: np.float32
) -> NDArray[np.int32]:
    """The table of a function: what it makes of each knot, int32 in quarters of a step.
    ``function``: float32 to float32, elementwise; no number counts as the smallest.
    ``scale``, ``into``: of operand and result, whose zero points are 0."""
    with np.errstate(all="ignore"):
        found = function(dequantize(_positions(), scale, 0)) * np.float32(1 << FRACTION_BITS)
        found = np.where(np.isnan(found), np.float32(-np.inf), found)
        return quantize(found, into, 0, -KNOT_LIMIT, KNOT_LIMIT - 1).astype(np.int32)


def interpolate(x: Integers, table: Integers) -> NDArray[np.int64]:
    """Results of 16 bits: ``(K[i] * (2^e - f) + K[i + 1] * f) / 2^(e + 2)``, exact but for one rounding."""
    first, behind, length = segment(x)
    table = np.asarray(table, np.int64)
    total = (table[first] << length) + (table[first + 1] - table[first]) * behind
    return np.clip(round_shift(total, length + FRACTION_BITS), LOWEST, HIGHEST)


def largest_error(
    function: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    scale: np.float32,
    into: np.float32,
    share: float = 0.0,
) -> float:
    """By how many steps a table is wrong at most, beyond what rounding to integers is: of all integers of 16 bits.
    ``share``: of a result that may be wrong as well, which counts as `ERROR_LIMIT` steps."""
    every = np.arange(LOWEST, HIGHEST + 1)
    with np.errstate(all="ignore"):
        exact = function(dequantize(every, scale, 0)).astype(np.float64) / np.float64(into)
    exact = np.clip(np.where(np.isnan(exact), -np.inf, exact), LOWEST, HIGHEST)
    unit = np.maximum(np.abs(exact) * share / ERROR_LIMIT, 1.0)
    return float((np.abs(interpolate(every, knots(function, scale, into)) - exact) / unit).max())
