"""The meaning of the quantised arithmetic: integers first, written for the reader, not for speed.

Every rule is stated on Python or int64 integers wherever the definition allows it, and in binary32 operations, one
rounding each, where the definition is itself in binary32. Rounding is to nearest, ties to even, throughout. The rules
are those of onnxruntime's QLinear operators: equal to them in every case tried, but for addition, whose exceptions
``add`` describes. Accelerator, CPU kernels and references all answer to this file.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANT_BITS = 24
Integers = NDArray[np.integer]
Region = Any
"""An index of an array that selects a part of it, as NumPy takes them."""


def round_shift(value: Integers, shift: Integers | int) -> NDArray[np.int64]:
    """``value / 2**shift`` rounded to nearest, ties to even; int64 values, shifts of 0 to 62."""
    value, shift = np.asarray(value, np.int64), np.asarray(shift, np.int64)
    floor = value >> shift
    rest = value - (floor << shift)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    up = (rest > half) | ((rest == half) & (floor & 1 == 1))
    return floor + np.where(shift > 0, up, False)


def bit_length(value: Integers) -> NDArray[np.int64]:
    """Bits of the magnitude of int64 values: 0 for 0, 3 for 5."""
    magnitude = np.abs(np.asarray(value, np.int64))
    length = np.zeros(magnitude.shape, np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        high = magnitude >> step > 0
        length += np.where(high, step, 0)
        magnitude = np.where(high, magnitude >> step, magnitude)
    return length + (magnitude > 0)


def significant(value: Integers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Integers rounded to 24 significant bits, as (mantissa, exponent): mantissa * 2**exponent."""
    exponent = np.maximum(bit_length(value) - SIGNIFICANT_BITS, 0)
    return round_shift(value, exponent), exponent


def multiplier(scale_x: np.float32, scale_w: NDArray[np.float32], scale_y: np.float32) -> NDArray[np.float32]:
    """The requantisation multiplier of a convolution or product: float32, each operation rounded, and finite."""
    with np.errstate(over="ignore"):
        found = np.float32(scale_x) * np.asarray(scale_w, np.float32) / np.float32(scale_y)
    # As infinity it makes of all integers but 0 the ends of a range; 0 times infinity is no number.
    return np.minimum(found, np.finfo(np.float32).max)


def global_average_multiplier(scale_x: np.float32, scale_y: np.float32, count: int) -> np.float32:
    """The requantisation multiplier of a mean over ``count`` elements: as ``multiplier``."""
    with np.errstate(over="ignore"):
        found = np.float32(scale_x) / (np.float32(scale_y) * np.float32(count))
    return np.minimum(found, np.finfo(np.float32).max)


def requantize(
    accumulator: Integers, factor: NDArray[np.float32], zero_point: int, low: int, high: int
) -> NDArray[np.int64]:
    """Bring int32 accumulators to the scale of the output.

    The accumulator, bias included, is rounded to 24 significant bits; its product with the 24-bit mantissa of the
    factor is rounded to 24 significant bits again; the result is rounded to an integer, the zero point added, and the
    sum clamped. This is what onnxruntime's QLinearConv, QLinearMatMul and QLinearGlobalAveragePool compute.

    Args:
        accumulator: int32 or int64 values within int32, any shape.
        factor: float32, positive or zero, finite, broadcast against ``accumulator``.
        zero_point: of the output.
        low, high: clamp, within the range of the output type.

    Returns:
        int64 values between ``low`` and ``high``.
    """
    fraction, exponent = np.frexp(np.asarray(factor, np.float32))
    mantissa = np.ldexp(fraction, SIGNIFICANT_BITS).astype(np.int64)
    exponent = exponent.astype(np.int64) - SIGNIFICANT_BITS
    value, value_exponent = significant(np.asarray(accumulator, np.int64))
    product, product_exponent = significant(value * mantissa)
    power = exponent + value_exponent + product_exponent
    # A product of 24 bits shifted up by more than 32 is clamped anyhow, and shifted down by more than 62 it is 0.
    whole = product << np.clip(power, 0, 32)
    rounded = np.where(power >= 0, whole, round_shift(product, np.clip(-power, 0, 62)))
    return np.clip(rounded + zero_point, low, high)


RESIDUAL_FACTOR_LIMIT = 2.0**16
"""Largest factor of a residual: with it, its product is finite, and so is no sum of it what is not a number."""


def requantize_sum(
    accumulator: Integers,
    factor: NDArray[np.float32],
    residual: Integers,
    residual_zero: int,
    residual_factor: np.float32,
    zero_point: int,
    low: int,
    high: int,
    slope: float = 1.0,
) -> NDArray[np.int64]:
    """Bring int32 accumulators and 8-bit integers to the scale of the output, and round their sum to integers, once.

    As ``requantize``, with a product of the residual beside that of the accumulator: either is rounded to 24
    significant bits, and so is their sum, before that is rounded to an integer. With a slope the sum, where it is
    negative, is multiplied with it and rounded to 24 significant bits before.

    Args:
        accumulator, factor, zero_point, low, high: see ``requantize``.
        residual: broadcasts to the shape of ``accumulator``.
        residual_factor: its scale over that of the output, at most ``RESIDUAL_FACTOR_LIMIT``.
        slope: above 0, at most 1.
    """
    with np.errstate(over="ignore"):  # what is infinite is clamped
        own = np.asarray(accumulator, np.int64).astype(np.float32) * np.asarray(factor, np.float32)
    other = (np.asarray(residual, np.int64) - residual_zero).astype(np.float32) * np.float32(residual_factor)
    total = own + other
    # Of such a slope the larger one is that of the sign.
    rounded = np.rint(np.maximum(total, total * np.float32(slope)))
    return np.clip(rounded, low - zero_point, high - zero_point).astype(np.int64) + zero_point


def add_multipliers(scale_a: np.float32, scale_b: np.float32, scale_c: np.float32) -> tuple[int, int, int]:
    """Integer multipliers of an addition: (a, b, shift) with ``scale_a / scale_c`` about ``a / 2**shift``.

    The shift is the largest for which both multipliers, rounded, stay within 24 bits; at most 46: with it zero points
    of 16 bits stay within int64, and elements whose ratio would give a larger one add nothing."""
    with np.errstate(over="ignore"):  # an infinite ratio is refused below
        ratios = [float(np.float32(scale) / np.float32(scale_c)) for scale in (scale_a, scale_b)]
    shift = min(46, SIGNIFICANT_BITS - int(np.frexp(max(ratios))[1]))
    if shift < 0 or max(ratios) == np.inf:
        raise ValueError(f"the scales of an addition differ by more than 2^{SIGNIFICANT_BITS}: {ratios}")
    first, second = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
    return first, second, shift


def add(
    a: Integers, b: Integers, multipliers: tuple[int, int, int], zeros: tuple[int, int, int], low: int, high: int
) -> NDArray[np.int64]:
    """Add two quantised tensors: exact integer products and sum, one rounding.

    onnxruntime's QLinearAdd rounds in binary32 along the way, differently from one CPU to the next. The two differ,
    by one, only where the sum lies within 2^-14 of a tie.
    ``multipliers``: from ``add_multipliers``.
    ``zeros``: zero points of a, b and the output."""
    first, second, shift = multipliers
    total = (np.asarray(a, np.int64) - zeros[0]) * first + (np.asarray(b, np.int64) - zeros[1]) * second
    return np.clip(round_shift(total + (zeros[2] << shift), shift), low, high)


def multiply(
    a: Integers, b: Integers, factor: np.float32, zeros: tuple[int, int, int], low: int, high: int
) -> NDArray[np.int64]:
    """Multiply two quantised tensors, as onnxruntime's QLinearMul: in binary32, zero point added before rounding.
    ``factor``: ``multiplier`` of the three scales.
    ``zeros``: zero points of a, b and the output, the output's in the type that the model states: 128 + z of uint8 is
    not interchangeable with z of int8 here, because the sum is rounded."""
    product = (np.asarray(a, np.int64) - zeros[0]) * (np.asarray(b, np.int64) - zeros[1])
    scaled = product.astype(np.float32) * np.float32(factor) + np.float32(zeros[2])
    return np.clip(np.rint(scaled), low, high).astype(np.int64)


def average(
    window: Iterable[tuple[Region, Integers]],
    shape: tuple[int, ...],
    count: int | Integers,
    scales: tuple[np.float32, np.float32],
    zeros: tuple[int, int],
    low: int,
    high: int,
) -> NDArray[np.int64]:
    """Average the elements of pooling windows, as onnxruntime's QLinearAveragePool: in binary32, one by one.

    Args:
        window: the elements of the windows inside the tensor, in row-major order; each entry some windows, as a region
            of ``shape``, and what they hold.
        shape: of the windows.
        count: what to divide by, for all windows or each: the number of elements, or the size of the kernel if
            padding counts.
        scales: of input and output.
        zeros: zero points of input and output, the output's in the type that the model states, as in ``multiply``.
    """
    total = np.zeros(shape, np.float32)
    for region, element in window:
        total[region] += np.float32(scales[0]) * (np.asarray(element, np.int64) - zeros[0]).astype(np.float32)
    value = total / np.float32(count) / np.float32(scales[1]) + np.float32(zeros[1])
    return np.clip(np.rint(value), low, high).astype(np.int64)


INTERPOLATION_BITS = 11
"""Fraction of a point between two elements that ``interpolate`` takes: as many bits as OpenCV's resizing has."""


def fixed_points(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Points along one dimension in units of 2^-11 of the distance between elements, rounded."""
    return np.rint(np.asarray(points, np.float64) * (1 << INTERPOLATION_BITS)).astype(np.int64)


def neighbours(points: Integers, extent: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The elements before and after points of ``fixed_points``, and the fraction of the way to the second.

    Points outside are moved to the first or last of ``extent`` elements; behind the last there is that again."""
    inside = np.clip(np.asarray(points, np.int64), 0, (extent - 1) << INTERPOLATION_BITS)
    first = inside >> INTERPOLATION_BITS
    return first, np.minimum(first + 1, extent - 1), inside - (first << INTERPOLATION_BITS)


def interpolate(
    x: Integers, axes: Iterable[tuple[int, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]]
) -> NDArray[np.int64]:
    """Interpolate linearly along some dimensions: exact integer products and sums, and one rounding at the end.

    Zero points take no part, because the weights of each result add up to one.
    ``axes``: dimensions, at most four, with the ``neighbours`` of the results along each."""
    total, shift = np.asarray(x, np.int64), 0
    for axis, (first, second, fraction) in axes:
        weight = fraction.reshape([-1 if d == axis else 1 for d in range(total.ndim)])
        before, after = np.take(total, first, axis), np.take(total, second, axis)
        total = before * ((1 << INTERPOLATION_BITS) - weight) + after * weight
        shift += INTERPOLATION_BITS
    return round_shift(total, shift)


def quantize(value: NDArray[np.float32], scale: np.float32, zero_point: int, low: int, high: int) -> NDArray[np.int64]:
    """ONNX QuantizeLinear: divide in binary32, round, add the zero point, clamp."""
    rounded = np.rint(np.asarray(value, np.float32) / np.float32(scale)).astype(np.float64)
    return np.clip(rounded + zero_point, low, high).astype(np.int64)


def dequantize(value: Integers, scale: np.float32, zero_point: int) -> NDArray[np.float32]:
    """ONNX DequantizeLinear: subtract the zero point, multiply in binary32."""
    return (np.asarray(value, np.int64) - zero_point).astype(np.float32) * np.float32(scale)


def table(
    function: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    scales: tuple[np.float32, np.float32],
    zeros: tuple[int, int],
    ranges: tuple[tuple[int, int], tuple[int, int]],
) -> NDArray[np.int64]:
    """A unary function of a quantised value as a table: entry i is the result for the i-th value of the input type.
    ``function``: float32 to float32, elementwise.
    ``scales``, ``zeros``, ``ranges``: scale, zero point and (lowest, highest) of input and output."""
    inputs = np.arange(ranges[0][0], ranges[0][1] + 1)
    return quantize(function(dequantize(inputs, scales[0], zeros[0])), scales[1], zeros[1], *ranges[1])


def bfloat16_bits(numbers: np.ndarray) -> np.ndarray:
    """Single precision numbers as bfloat16, rounded to nearest, ties to even: their upper halves, as u16."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(numbers), bits >> np.uint32(16) | np.uint32(0x40), rounded).astype(np.uint16)


def rounded_to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """The same as single precision numbers."""
    return (bfloat16_bits(numbers).astype(np.uint32) << np.uint32(16)).view(np.float32)


OCTAVE_BITS = 8
"""Fraction of the logarithms to the base of 2 that weights of attention come from."""

LARGEST_WEIGHT = 127
"""Of attention: that of the key with the largest score of its row."""

_POWER_BITS = 8
POWERS = np.rint(np.exp2(-np.arange(1 << OCTAVE_BITS) / (1 << OCTAVE_BITS)) * (LARGEST_WEIGHT << _POWER_BITS))
"""127 * 2^(8 - i / 256), rounded, for i from 0 to 255."""

SCORE_MULTIPLIER_LIMIT = 1 << 24
MASK_MULTIPLIER_LIMIT = 1 << 31


def score_multipliers(score: float, mask: float) -> tuple[int, int, int]:
    """Integer multipliers of scores and masks: (a, b, shift) with ``score * log2(e) * 2^8`` about ``a / 2**shift``.

    The shift is the largest, at most 40, for which the first stays within 24 bits and a sign, and the second in 31.
    ``score``: what a step of the accumulators of scores stands for.
    ``mask``: what a step of the mask stands for, not negative.
    Raises ValueError: a step is too large for any shift, or no number."""
    octaves = [value * math.log2(math.e) * (1 << OCTAVE_BITS) for value in (score, mask)]
    if not all(map(math.isfinite, octaves)):
        raise ValueError(f"the steps of scores and masks are no numbers: {score} and {mask}")
    rooms = [bits - math.frexp(value)[1] for bits, value in zip((24, 31), octaves, strict=True) if value]
    shift = min([40, *rooms])
    # What rounds up to the next power of two takes a bit more.
    for each in (shift, shift - 1):
        found = [round(math.ldexp(value, each)) for value in octaves]
        if abs(found[0]) < SCORE_MULTIPLIER_LIMIT and found[1] < MASK_MULTIPLIER_LIMIT and each >= 0:
            return found[0], found[1], each
    raise ValueError(f"a step of scores or masks is too large: {score} and {mask}")


def attention_weights(
    scores: Integers, multipliers: tuple[int, int, int], mask: Integers, seen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Weights of keys, 127 for the largest score of a row: exact integers, two roundings.

    ``z = round_shift(scores * a + mask * b, shift)`` is the logarithm to the base of 2, times 256. With ``d`` what the
    largest z that is seen in a row exceeds it by, the weight is ``POWERS[d mod 256]`` shifted right by 8 + d // 256
    bits, rounded to nearest, ties to even: that is less than one from 127 * 2^(-d / 256). What is not seen has the
    weight 0.

    Args:
        scores: accumulators of queries and keys, [..., keys], within int32.
        multipliers: see :func:`score_multipliers`.
        mask: less its zero point, which broadcasts against the scores.
        seen: which keys count, likewise.
    """
    first, second, shift = multipliers
    z = round_shift(np.asarray(scores, np.int64) * first + np.asarray(mask, np.int64) * second, shift)
    seen = np.broadcast_to(seen, z.shape)
    lowest = np.iinfo(np.int64).min // 2
    below = np.where(seen, z, lowest).max(-1, keepdims=True) - z
    powers = POWERS.astype(np.int64)[np.where(seen, below & (1 << OCTAVE_BITS) - 1, 0)]
    weights = round_shift(powers, np.clip(_POWER_BITS + (below >> OCTAVE_BITS), 0, 62))
    return np.where(seen, weights, 0)


def share_weights(scores: Integers, seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Weights of keys in proportion to what of their scores is above 0, 127 for the largest of a row: exact integers.

    A quotient and a product in binary32, and one rounding to an integer: within 0.5 + 2^-16 of the exact one. What is
    not seen has the weight 0, as all of a row has whose scores are not above 0.
    ``scores``, ``seen``: see :func:`attention_weights`."""
    above = np.where(seen, np.maximum(np.asarray(scores, np.int64), 0), 0)
    factor = np.float32(127) / np.maximum(above.max(-1, keepdims=True), 1).astype(np.float32)
    return np.rint(above.astype(np.float32) * factor).astype(np.int64)


def weighted_mean(
    total: Integers, weights: Integers, factor: np.float32, zero_point: int, low: int, high: int
) -> NDArray[np.int64]:
    """Sums of weighted values over the sum of their weights, at the scale of the output; all in binary32.

    As ``requantize``, with a product of the quotient 1 / weights before the number is rounded to an integer: four
    roundings to 24 significant bits.

    Args:
        total: int32 sums [..., channels].
        weights: their sums, [..., 1]; where there are none, 0 or less, 1 is taken.
        factor: scale of the values over that of the output.
        zero_point, low, high: see ``requantize``.
    """
    with np.errstate(over="ignore"):  # what is infinite is clamped
        own = np.asarray(total, np.int64).astype(np.float32) * np.asarray(factor, np.float32)
        mean = own * (np.float32(1) / np.maximum(np.asarray(weights, np.int64), 1).astype(np.float32))
    return np.clip(np.rint(mean), low - zero_point, high - zero_point).astype(np.int64) + zero_point
