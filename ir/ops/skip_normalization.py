"""Normalisation of a sum, as between the layers of a transformer, by channels with factors of their own."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import IRError

from ..arithmetic import Integers
from ..core import Constant, Op, Value, types_of
from ..op import Operator, QuantizationRule, operator
from ..quantized import check_elementwise, check_words, is_wide, limits, parameters
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from .elementwise import FLOATS, check_dtype
from .movement import check_axis

MULTIPLIER_BITS, WIDE_MULTIPLIER_BITS = 15, 8
"""Of the multipliers of what is normalised, without their sign: of 8 bits, and of 16."""

SQUARES_LIMIT = 1 << 13
"""So many squares of 25 bits and a sign add up within 64 bits; of a bit less four times as many."""

NUMBERS_LIMIT = 1 << 25
"""So many numbers are normalised together at most."""


@operator("skip_layer_norm")
class SkipLayerNorm(Operator[tuple[Value, Value, Value, Value, Value | None, Value | None]]):
    """x times factor, plus skip times skip_factor, standardised, times scale, plus b.

    Operands: x and skip of one shape; factor, scale, b and skip_factor, real numbers, one for each element along
    ``axis``. A skip and its factor belong together.

    Quantised: x, skip and result are 8-bit per tensor, each with parameters of its own; the sum is one of integers with
    multipliers of 15 bits, see :func:`standardization` and :func:`standardized`. x and skip may be i16 with the zero
    point 0; multipliers have 8 bits then.

    Attributes:
        axis: the dimension that is normalised, or that of channels, the second one, which are in groups.
        epsilon: added to the variance.
        centred: the mean is taken off; without, x is divided by its root mean square alone.
        groups: so many groups of neighbouring channels of each image, each normalised with all their pixels together;
            0: along ``axis`` alone.
        by_pixel: groups are normalised pixel by pixel instead, as heads of attention are.
    """

    QUANTIZATION = QuantizationRule.RESCALE

    axis: int
    epsilon: float
    centred: bool = True
    groups: int = 0
    by_pixel: bool = False

    def infer(
        self,
        x: TensorType,
        factor: TensorType,
        scale: TensorType,
        b: TensorType,
        skip: TensorType | None,
        skip_factor: TensorType | None,
    ) -> TensorType:
        check_dtype(x, FLOATS)
        check_axis(self.axis, x)
        is_known = self.centred or self.by_pixel
        if self.groups and (self.groups < 0 or self.axis != 1 or x.shape[1] % self.groups or not is_known):
            raise IRError("there are no such groups of channels", expected=f"{self.groups} along axis 1", found=x)
        if (skip is None) is not (skip_factor is None):
            raise IRError("a second operand and its factor belong together", found=skip or skip_factor)
        if skip is not None and (skip.shape, skip.dtype) != (x.shape, x.dtype):
            raise IRError("the operands differ in shape or element type", expected=x, found=skip)
        wanted = TensorType((x.shape[self.axis],), x.dtype if x.dtype.is_float else DType.F32)
        for name, type in (("factor", factor), ("scale", scale), ("b", b), ("skip_factor", skip_factor)):
            if type is not None and type != wanted:
                raise IRError(f"{name} needs one number for each element along the axis", expected=wanted, found=type)
        return TensorType(x.shape, x.dtype)

    def reference(
        self, x: np.ndarray, factor: np.ndarray, scale: np.ndarray, b: np.ndarray, *of_skip: np.ndarray | None
    ) -> np.ndarray:
        skip, skip_factor = of_skip
        by_group, axes = self._in_groups(x.shape)
        factor, scale, b = (each.reshape((*by_group[1:3], 1)) for each in (factor, scale, b))
        total = x.reshape(by_group).astype(np.float64) * factor
        if skip is not None and skip_factor is not None:
            total += skip.reshape(by_group) * skip_factor.reshape(factor.shape).astype(np.float64)
        if self.centred:
            total -= total.mean(axes, keepdims=True)
        y = total / np.sqrt(np.square(total).mean(axes, keepdims=True) + self.epsilon) * scale + b
        return y.reshape(x.shape).astype(x.dtype)

    def _in_groups(self, shape: tuple[int, ...]) -> tuple[tuple[int, int, int, int], tuple[int, ...]]:
        """A shape as what comes before the channels, groups, channels of each and what comes behind, and which of
        these dimensions are normalised together."""
        channels, groups = shape[self.axis], self.groups or 1
        by_group = math.prod(shape[: self.axis]), groups, channels // groups, math.prod(shape[self.axis + 1 :])
        return by_group, (2, 3) if self.groups and not self.by_pixel else (2,)

    def together(self, shape: tuple[int, ...]) -> int:
        """How many numbers of a tensor are normalised together."""
        by_group, axes = self._in_groups(shape)
        return math.prod(by_group[axis] for axis in axes)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        by, (y,) = self.standardization(arrays, operand_types, result_types), result_types
        by_group, axes = self._in_groups(y.shape)
        each = (*by_group[1:3], 1)
        pairs = [(arrays[index], operand_types[index]) for index in (0, 4)]
        stored = [(array.reshape(by_group), type) for array, type in pairs if array is not None and type]
        total = sum(
            (array.astype(np.int64) - parameters(type)[1]) * multiplier.reshape(each)
            for (array, type), multiplier in zip(stored, by.multipliers, strict=True)
        )
        by = by._replace(gain=by.gain.reshape(each), offset=by.offset.reshape(each))
        found = standardized(np.asarray(total), by, self.centred, parameters(y)[1], *limits(y), axes)
        return found.reshape(y.shape).astype(y.dtype.numpy)

    def standardization(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> "Standardization":
        """What the integers are multiplied with.
        ``arrays``: of the operands; those of x and skip are not looked at.
        Raises IRError: there are no such numbers."""
        steps = [
            arrays[at].astype(np.float64) * float(parameters(type)[0])  # pyright: ignore[reportOptionalMemberAccess]
            for at, type in ((1, operand_types[0]), (5, operand_types[4]))
            if type is not None
        ]
        scale, b = arrays[2], arrays[3]
        assert scale is not None and b is not None
        try:
            bits = WIDE_MULTIPLIER_BITS if is_wide(operand_types[0]) else MULTIPLIER_BITS
            count = self.together(result_types[0].shape)
            return standardization(steps, scale, b, parameters(result_types[0])[0], self.epsilon, bits, count)
        except ValueError as error:
            raise IRError(str(error), op=self.name) from error

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        x, *numbers, skip, skip_factor = self.padded(operand_types)
        if any(type is not None and type.quant is not None for type in (*numbers, skip_factor)):
            return "factors, scale and b are real numbers"
        maps = [type for type in (x, skip) if type is not None]
        if is_wide(*maps):
            return check_words(maps, ()) or check_elementwise((), result_types)
        return check_elementwise(maps, result_types)


def standardization_of(op: Op[SkipLayerNorm]) -> "Standardization":
    """What a quantised op whose factors are constants multiplies its integers with."""
    arrays = [value.array if isinstance(value, Constant) else None for value in op.operands]
    return op.operator.standardization(arrays, types_of(op.operands), types_of(op.results))


class Standardization(NamedTuple):
    """What a normalisation multiplies with and adds, by channel.
    ``multipliers``: of each operand, int64 of at most 15 bits and a sign, [channels].
    ``gain``, ``offset``: of the results, float32 [channels].
    ``epsilon``: added to the sum of squares."""

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
    bits: int = MULTIPLIER_BITS,
    count: int | None = None,
) -> Standardization:
    """The integers and binary32 numbers of a normalisation of real numbers.

    The unit of the sum is a power of two, the smallest for which the multipliers have so many bits.

    Args:
        steps: what a step of each operand stands for, [channels].
        scale, b: of the standardised numbers, [channels].
        scale_y: of the result.
        epsilon: added to the variance.
        bits: of multipliers, without their sign; fewer where more squares add up.
        count: of the numbers that are normalised together, by default a number of each channel.

    Raises:
        ValueError: a number is none, or there are too many of them.
    """
    count = count or len(scale)
    if count > NUMBERS_LIMIT:
        raise ValueError(f"{count} numbers are normalised together: at most {NUMBERS_LIMIT}")
    bits -= math.ceil(math.log2(max(count / SQUARES_LIMIT, 1)) / 2)
    largest = float(max(np.abs(each).max() for each in steps))
    if not math.isfinite(largest):
        raise ValueError("the factors of what is normalised are no numbers")
    shift = bits - math.frexp(largest)[1]
    # What rounds up to the next power of two takes a bit more.
    shift -= round(math.ldexp(largest, shift)) >> bits
    multipliers = tuple(np.rint(np.ldexp(each, shift)).astype(np.int64) for each in steps)
    with np.errstate(all="ignore"):  # what is infinite is refused
        gain = (scale.astype(np.float64) * math.sqrt(count) / float(scale_y)).astype(np.float32)
        offset = (b.astype(np.float64) / float(scale_y)).astype(np.float32)
        added = np.ldexp(np.float64(count * epsilon), 2 * shift).astype(np.float32)
    if not (np.isfinite(gain).all() and np.isfinite(offset).all() and np.isfinite(added) and added >= 0):
        raise ValueError("what is normalised, or the result, has steps that are too small beside its factors")
    return Standardization(multipliers, gain, offset, np.float32(added))


def standardized(
    total: Integers,
    by: Standardization,
    centred: bool,
    zero_point: int,
    low: int,
    high: int,
    axes: tuple[int, ...] = (-1,),
) -> NDArray[np.int64]:
    """Sums over their root mean square along the last dimension, or others, at the scale of the output.

    The mean is rounded to an integer, the sum of the squares of what the numbers differ from it by is exact; then the
    rest in binary32, one rounding each.

    Args:
        total: integers of 24 bits and a sign, [..., channels].
        by: gain, offset and epsilon; shaped as numbers that go with these integers.
        centred: the mean is taken off.
        zero_point, low, high: see :func:`tilewright.ir.arithmetic.requantize`.
    """
    total = np.asarray(total, np.int64)
    if centred:
        count = math.prod(total.shape[axis] for axis in axes)
        total = total - rounded_quotient(total.sum(axes, keepdims=True), count)
    squares = np.square(total).sum(axes, keepdims=True).astype(np.float32)
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
