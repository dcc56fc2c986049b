"""What operators on quantised tensors share: their parameters, clamps, checks and references.

The rules themselves stand in :mod:`tilewright.ir.arithmetic`; ``docs/arithmetic.md`` states them with their oracles.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np

from tilewright.errors import IRError

from . import arithmetic
from .core import Constant, Value
from .types import Arrays, DType, Quantization, TensorType, Types

EIGHT_BIT = (DType.I8, DType.U8)
"""Element types of quantised activations and weights."""

WIDE = (DType.I16, DType.U16)
"""Element types of quantised activations of 16 bits, which operators have a meaning on that say so."""

CLAMPING = ("none", "relu", "clip")
"""Fused activations that are a clamp of the stored integers."""


def only_operand(arrays: Arrays, types: Types) -> tuple[np.ndarray, TensorType]:
    """Elements and type of the operand of an operator that takes one."""
    (array,), (type,) = arrays, types
    assert array is not None and type is not None
    return array, type


def parameters(type: TensorType) -> tuple[np.float32, int]:
    """Scale and zero point of a tensor that has one of each: quantised per tensor, or by the channels of an axis of 1.
    Raises IRError: it has several."""
    if type.quant is None or len(type.quant.scale) != 1:
        raise IRError("the tensor has no single scale", found=type)
    return np.float32(type.quant.scale[0]), type.quant.zero_point[0]


def quantization_of(scale: Value | None, zero_point: Value | None, axis: int | None) -> Quantization | None:
    """The quantisation that constants give; ``None`` where one is no constant, or no single scale without an axis."""
    if not isinstance(scale, Constant) or not isinstance(zero_point, (Constant, type(None))):
        return None
    scales = scale.array.reshape(-1).astype(np.float64)
    zeros = np.zeros(scales.shape, np.int64) if zero_point is None else zero_point.array.reshape(-1).astype(np.int64)
    if zeros.size == 1:
        zeros = np.broadcast_to(zeros, scales.shape)
    if not all(math.isfinite(s) and s > 0 for s in scales) or scales.size != zeros.size:
        return None
    if scales.size == 1:
        return Quantization.per_tensor(float(scales[0]), int(zeros[0]))
    if axis is None:
        return None
    return Quantization.per_channel([float(s) for s in scales], axis, [int(z) for z in zeros])


def limits(type: TensorType) -> tuple[int, int]:
    """Smallest and largest stored integer."""
    info = np.iinfo(type.dtype.numpy)
    return int(info.min), int(info.max)


def stored(value: float, type: TensorType) -> int:
    """The integer that stands for a real number, which may be infinite, in a tensor quantised per tensor."""
    scale, zero = parameters(type)
    return int(arithmetic.quantize(np.asarray(value, np.float32), scale, zero, *limits(type)))


def clamp_bounds(type: TensorType, act: str, act_args: tuple[float, ...]) -> tuple[int, int]:
    """The smallest and largest integer that a result of ``type`` holds after a clamping activation."""
    low, high = limits(type)
    if act == "relu":
        low = max(low, stored(0.0, type))
    elif act == "clip":
        # max wins where the bounds cross, as in the float definition.
        high = stored(act_args[1], type)
        low = min(stored(act_args[0], type), high)
    return low, high


def slope_of(act: str, act_args: tuple[float, ...]) -> float:
    """What a fused activation multiplies negative numbers with before they are rounded, in single precision; 1 if it
    does no such thing."""
    return float(np.float32(act_args[0])) if act == "leaky_relu" else 1.0


def is_fused(act: str, act_args: tuple[float, ...]) -> bool:
    """Whether an activation may be fused on quantised tensors: a clamp, or a leaky ReLU with a slope up to 1. Others
    are tables of their own."""
    return act in CLAMPING or (act == "leaky_relu" and 0 < slope_of(act, act_args) <= 1)


def is_redundant(type: TensorType, act: str, act_args: tuple[float, ...]) -> bool:
    """Whether saturation to the integers of ``type`` does all that the activation would."""
    return act in CLAMPING and clamp_bounds(type, act, act_args) == limits(type)


def is_wide(*types: TensorType | None) -> bool:
    """Whether some of these are quantised to 16 bits."""
    return any(type is not None and type.quant is not None and type.dtype in WIDE for type in types)


def not_stored(type: TensorType | None, what: str, *, wide: bool = False) -> str | None:
    """Why ``type`` is not a type of 8 bits, or with ``wide`` 16, quantised per tensor; ``None`` if it is."""
    if type is None or type.quant is None:
        return f"{what} must be quantised"
    if type.dtype not in EIGHT_BIT and not (wide and type.dtype in WIDE):
        return f"{what} must be {'i8, u8, i16 or u16' if wide else 'i8 or u8'}, not {type.dtype.value}"
    if type.quant.axis is not None:
        return f"{what} must be quantised per tensor, not per channel"
    return None


def check_words(operands: Types, results: Types) -> str | None:
    """Why these are not types of 16 bits whose integers are the numbers themselves but for a scale; ``None`` if they
    are: what functions and products of two tensors of 16 bits are of."""
    problem = check_elementwise(operands, results, wide=True)
    others = (type for type in _present((*operands, *results)) if type.dtype is not DType.I16 or parameters(type)[1])
    return problem or next((f"of 16 bits are i16 with the zero point 0, not {type}" for type in others), None)


def check_elementwise(operands: Types, results: Types, *, wide: bool = False) -> str | None:
    """Why these are not types of 8 bits, or with ``wide`` 16, quantised per tensor; ``None`` if they are."""
    named = [*((t, f"operand {i}") for i, t in enumerate(operands)), *((t, "the result") for t in results)]
    return next(filter(None, (not_stored(type, what, wide=wide) for type, what in named)), None)


def check_sum(operands: Types, results: Types) -> str | None:
    """Why these are not the tensors of a sum, ``None`` if they are. Of 16 bits are those of one shape."""
    problem = check_elementwise(operands, results, wide=True)
    if problem is None and is_wide(*operands, *results):
        shapes = {type.shape for type in _present((*operands, *results))}
        return "a sum of 16 bits repeats no operand" if len(shapes) > 1 else check_residual(operands[1], results[0])
    if problem is None:
        try:
            arithmetic.add_multipliers(*(parameters(type)[0] for type in (*_present(operands), *_present(results))))
        except ValueError as error:
            return str(error)
    return problem


def check_accumulating(
    operands: Types, results: Types, *, channel_axis: int, act: str, act_args: tuple[float, ...] = ()
) -> str | None:
    """Why types are wrong for a product of activations and weights with bias, ``None`` if they are right.
    ``operands``: activations, weights, bias and residual; the last two may be absent.
    ``channel_axis``: the axis of the weights that output channels run along.
    ``act``, ``act_args``: the fused activation."""
    x, w, b, residual = (*operands, None, None)[:4]
    is_real = results[0] is not None and results[0].quant is None and results[0].dtype is DType.F32
    problem = not_stored(x, "x", wide=True) or (None if is_real else not_stored(results[0], "the result", wide=True))
    if problem is not None:
        return problem
    if is_real and is_wide(x):
        return "a result of real numbers is of activations of 8 bits"
    if is_real and act != "none":
        return "a result of real numbers takes no activation"
    if w is None or w.quant is None or w.dtype not in EIGHT_BIT:
        return "w must be quantised to i8 or u8"
    if w.quant.axis not in (None, channel_axis):
        return f"w must be quantised per tensor or along axis {channel_axis}, not {w.quant.axis}"
    if b is not None and b.dtype is not DType.I32:
        return f"b must be i32, at the scale of x times that of w, not {b.dtype.value}"
    if b is not None and b.quant is not None and any(b.quant.zero_point):
        return "b must have the zero point 0"
    if not is_fused(act, act_args):
        kinds = f"{', '.join(CLAMPING)} and leaky_relu with a slope up to 1"
        return f"the activation {act} cannot be fused on quantised tensors, only {kinds}"
    return "a quantised result takes no residual" if residual is not None else None


def residual_factor(residual: TensorType, y: TensorType) -> np.float32:
    """What the integers of a residual, less their zero point, are multiplied with at the scale of the result."""
    with np.errstate(over="ignore"):
        return np.float32(parameters(residual)[0] / parameters(y)[0])


def check_residual(residual: TensorType | None, y: TensorType | None) -> str | None:
    """Why a result cannot have such a residual, ``None`` if it can."""
    if residual is None:
        return None
    problem = not_stored(y, "the result with a residual", wide=True) or not_stored(residual, "the residual", wide=True)
    if problem is not None or y is None or residual_factor(residual, y) <= arithmetic.RESIDUAL_FACTOR_LIMIT:
        return problem
    return f"the scale of the residual is more than {arithmetic.RESIDUAL_FACTOR_LIMIT:.0f} times that of the result"


def added(a: np.ndarray, b: np.ndarray, types: Types, y: TensorType, *, subtract: bool = False) -> np.ndarray:
    """Stored integers of the sum, or difference, of two tensors that broadcast; sums of 16 bits as those of a product
    with one and a residual.
    ``types``: of a and b."""
    if is_wide(*types, y):
        first, second = _present(types)
        return mixed(a, first, y, residual=(b, second))
    (scale_a, zero_a), (scale_b, zero_b), (scale_y, zero_y) = map(parameters, (*_present(types), y))
    first, second, shift = arithmetic.add_multipliers(scale_a, scale_b, scale_y)
    multipliers = (first, -second if subtract else second, shift)
    return arithmetic.add(a, b, multipliers, (zero_a, zero_b, zero_y), *limits(y))


def multiplied(a: np.ndarray, b: np.ndarray, types: Types, y: TensorType) -> np.ndarray:
    """Stored integers of the product of two tensors that broadcast. ``types``: of a and b."""
    (scale_a, zero_a), (scale_b, zero_b), (scale_y, zero_y) = map(parameters, (*_present(types), y))
    factor = np.float32(arithmetic.multiplier(scale_a, np.asarray(scale_b), scale_y))
    return arithmetic.multiply(a, b, factor, (zero_a, zero_b, zero_y), *limits(y))


def _present(types: Types) -> list[TensorType]:
    return [type for type in types if type is not None]


def accumulator_factors(x: TensorType, w: TensorType, y: TensorType) -> np.ndarray:
    """Requantisation multipliers: float32[channels], or float32[1] for weights quantised per tensor. Of a result of
    real numbers, what accumulators are multiplied with."""
    assert w.quant is not None
    if y.quant is None:
        return arithmetic.multiplier(parameters(x)[0], np.asarray(w.quant.scale, np.float32), np.float32(1))
    return arithmetic.multiplier(parameters(x)[0], np.asarray(w.quant.scale, np.float32), parameters(y)[0])


def centred(array: np.ndarray, type: TensorType) -> np.ndarray:
    """Stored integers less their zero points, as float64, in which sums of their products are exact."""
    assert type.quant is not None
    return array.astype(np.float64) - type.quant.broadcast(array.ndim)[1]


def averaged(
    taps: Iterable[tuple[arithmetic.Region, np.ndarray]], counts: np.ndarray, x: TensorType, y: TensorType
) -> np.ndarray:
    """Stored integers of the means of windows.
    ``taps``: for each tap of the window, in row-major order, the windows in which it lies in the tensor, as a region of
    the result, and what they hold there.
    ``counts``: by how many elements each window's sum is divided; broadcasts against the result."""
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)
    if is_wide(x, y):
        total = np.zeros(y.shape, np.int64)
        for region, elements in taps:
            total[region] += elements.astype(np.int64) - zero_x
        return mixed(total + zero_x, x, y, share_of(int(counts.flat[0])))
    return arithmetic.average(taps, y.shape, counts, (scale_x, scale_y), (zero_x, zero_y), *limits(y))


def globally_averaged(array: np.ndarray, x: TensorType, y: TensorType) -> np.ndarray:
    """Stored integers of the mean of each channel of ``array`` [N, C, *spatial], as [N, C, 1, ...]."""
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)
    axes = tuple(range(2, array.ndim))
    total = (array.astype(np.int64) - zero_x).sum(axes, keepdims=True)
    if is_wide(x, y):
        return mixed(total + zero_x, x, y, share_of(int(np.prod(array.shape[2:]))))
    factor = arithmetic.global_average_multiplier(scale_x, scale_y, int(np.prod(array.shape[2:])))
    return arithmetic.requantize(total, np.asarray(factor), zero_y, *limits(y))


def share_of(count: int) -> float:
    """The scale of weights of one whose sum of products is a mean of so many: binary32, rounded."""
    return float(np.float32(1) / np.float32(count))


def mixed(
    total: np.ndarray,
    x: TensorType,
    y: TensorType,
    share: float = 1.0,
    residual: tuple[np.ndarray, TensorType] | None = None,
) -> np.ndarray:
    """What a convolution of each channel with weights of one makes of 16 bits, which sums, means and other parameters
    are: stored integers of the result.
    ``total``: sums of integers, of which the zero point is taken off once.
    ``share``: the scale of the weights.
    ``residual``: what is added, and its type."""
    ones = TensorType((1,), DType.I8, Quantization.per_tensor(share))
    return requantized(total.astype(np.int64) - parameters(x)[1], x, ones, y, channel_axis=0, residual=residual)


def accumulator_bits(x: TensorType) -> int:
    """Those of accumulators, sign included: 32, or of activations of 16 bits what float64 holds exactly."""
    return 54 if is_wide(x) else 32


def requantized(
    accumulator: np.ndarray,
    x: TensorType,
    w: TensorType,
    y: TensorType,
    *,
    channel_axis: int,
    act: str = "none",
    act_args: tuple[float, ...] = (),
    residual: tuple[np.ndarray, TensorType] | None = None,
) -> np.ndarray:
    """Stored integers, or float32, of the result from exact accumulators, bias included.
    ``accumulator``: integers of any dtype.
    ``channel_axis``: the dimension of ``accumulator`` that the scales of ``w`` run along.
    ``residual``: what is added before the activation, and its type.
    Raises IRError: an accumulator does not fit `accumulator_bits`."""
    largest, bits = float(np.abs(accumulator).max(initial=0)), accumulator_bits(x)
    if largest >= 2.0 ** (bits - 1):
        expected = f"below 2**{bits - 1}"
        raise IRError(f"an accumulator does not fit {bits} bits", expected=expected, found=f"{largest:.0f}")
    shape = [1] * accumulator.ndim
    if shape:
        shape[channel_axis] = -1
    factors = accumulator_factors(x, w, y).reshape(shape)
    if y.quant is None:
        return accumulator.astype(np.float32) * factors
    into = parameters(y)[1], *clamp_bounds(y, act, act_args)
    total, slope = accumulator.astype(np.int64), slope_of(act, act_args)
    if residual is None and slope == 1:
        return arithmetic.requantize(total, factors, *into)
    array, added = np.zeros((), np.int64), (0, np.float32(0))
    if residual is not None:
        array, added = residual[0], (parameters(residual[1])[1], residual_factor(residual[1], y))
    return arithmetic.requantize_sum(total, factors, array, *added, *into, slope)


def table(function: Callable[[np.ndarray], np.ndarray], x: TensorType, y: TensorType) -> np.ndarray:
    """A function of one 8-bit tensor as 256 stored integers of the result, by stored integer of x from the lowest.

    Where the function gives no number, the entry is the smallest integer, as of ``quantize``."""
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)

    def numbers(values: np.ndarray) -> np.ndarray:
        found = function(values)
        return np.where(np.isnan(found), np.asarray(-np.inf, found.dtype), found)

    with np.errstate(all="ignore"):
        return arithmetic.table(numbers, (scale_x, scale_y), (zero_x, zero_y), (limits(x), limits(y)))


def look_up(entries: np.ndarray, array: np.ndarray, x: TensorType) -> np.ndarray:
    """The entries of a table for the stored integers in ``array``."""
    return entries[array.astype(np.int64) - limits(x)[0]]
