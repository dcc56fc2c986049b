"""Scales and zero points: for known ranges of values, and for constant weights, which are 8-bit integers on a grid of
their own where they have one, else symmetric per channel.
"""

import math
from typing import TypeGuard, Union

import numpy as np

from ...ir.core import Constant, Op, is_op
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.movement import Concat
from ...ir.types import DType, Quantization, TensorType

Range = tuple[float, float]
"""Smallest and largest real value of a tensor."""

_CREST = 6.0
"""So many times their root mean square the largest number of a constant is at most that 8 bits hold."""

SMALLEST_SCALE = 2.0**-100
"""Scales are kept above this, so that products and quotients of two of them stay normal float32 numbers."""


def affine_parameters(range: Range, dtype: DType) -> Quantization:
    """The quantisation per tensor of :func:`scale_and_zero_point`."""
    return Quantization.per_tensor(*scale_and_zero_point(range, dtype))


def scale_and_zero_point(range: Range, dtype: DType) -> tuple[float, int]:
    """Scale and zero point with which the integers of ``dtype`` cover ``range``.

    The range is widened to contain zero, which is represented exactly: padding and ReLU need it. A range of no
    width, such as that of a tensor that is always zero, gets the scale 1. Integers of 16 bits are symmetric, with the
    zero point 0, which halves what accumulators have to hold, and no range fills them as it does 8 bits.
    ``range``: finite numbers, the smaller one first.
    ``dtype``: ``i8``, ``u8``, ``i16`` or another integer type."""
    low, high = min(range[0], 0.0), max(range[1], 0.0)
    limits = np.iinfo(dtype.numpy)
    if dtype is DType.I16:
        largest = max(-low, high) / limits.max
        low, high = largest * limits.min, largest * limits.max
    scale = float(np.float32((high - low) / (limits.max - limits.min)))
    if not scale > SMALLEST_SCALE or not math.isfinite(scale):
        return (1.0 if scale <= SMALLEST_SCALE else float(np.finfo(np.float32).max)), 0
    return scale, min(max(round(limits.min - low / scale), limits.min), limits.max)


LEVELS = 256
GRID_TOLERANCE = 1e-3
"""How far, in steps of a grid, weights may lie beside it: float32 keeps products of scale and integer to 2e-5."""

MOST_DIVISIONS = 8
"""The smallest difference between two weights can be a multiple of the step, at most this one."""

LARGEST = 127
"""Symmetric weights use -127 to 127, so that each has its opposite."""

LARGEST_BIAS = 2.0**30
"""Biases are kept within this many steps of the accumulator, which leaves half of its range to the products."""


def _levels(weights: np.ndarray) -> np.ndarray | None:
    """The different numbers among the weights, in order, with 0; ``None`` if there are too many for a grid."""
    flat = weights.reshape(-1)
    known = np.zeros(1, flat.dtype)
    start, size = 0, 2 * LEVELS
    # Most weights are on no grid, which the first hundreds show.
    while start < flat.size:
        chunk = flat[start : start + size]
        nearest = np.minimum(np.searchsorted(known, chunk), known.size - 1)
        known = np.union1d(known, chunk[known[nearest] != chunk])
        if known.size > LEVELS:
            return None
        start, size = start + size, 1 << 20
    return known.astype(np.float64)


def grid_of(weights: np.ndarray, span: int = LEVELS - 1) -> tuple[float, np.ndarray] | None:
    """Step and integers, with 0 among the grid's points, that weights are products of; ``None`` if there are none.
    ``weights``: finite numbers.
    ``span``: how far the largest integer may lie above the smallest, 0 included."""
    values = _levels(weights)
    if values is None or values.size < 2:
        return None
    smallest = float(np.diff(values).min())
    for division in range(1, MOST_DIVISIONS + 1):
        integers = np.rint(values / (smallest / division))
        if integers[-1] - integers[0] > span:
            return None
        step = float((values @ integers) / (integers @ integers))
        if np.abs(values / step - integers).max() <= GRID_TOLERANCE:
            # The finest grid of the same points: the bias is rounded to it as well.
            step /= max(1, span // int(integers[-1] - integers[0]))
            if step <= SMALLEST_SCALE:
                return None
            return step, np.rint(weights / np.asarray(step, weights.dtype)).astype(np.int16)
    return None


def on_own_grid(
    weights: np.ndarray, bias: np.ndarray | None = None, x_scale: float = 1.0
) -> tuple[np.ndarray, TensorType] | None:
    """Weights that are products of one scale and 8-bit integers, as those integers; ``None`` if they are not.

    Models that were made from quantised ones hold such weights. Rounding them to any other scale costs accuracy.
    One scale for all channels cannot make room for the bias of one, so a large bias rules the grid out."""
    found = grid_of(weights)
    if found is None:
        return None
    step, integers = found
    low, high = int(integers.min(initial=0)), int(integers.max(initial=0))
    scale = float(np.float32(step))
    if bias is not None and np.abs(bias).max(initial=0) / (x_scale * scale) >= LARGEST_BIAS:
        return None
    shift = 0 if low >= -LARGEST and high <= LARGEST else np.iinfo(np.int8).min - low
    type = TensorType(weights.shape, DType.I8, Quantization.per_tensor(scale, shift))
    return (integers + shift).astype(np.int8), type


def per_channel(
    weights: np.ndarray, axis: int, bias: np.ndarray | None, x_scale: float
) -> tuple[np.ndarray, TensorType]:
    """Weights as signed 8-bit integers with a scale for each channel and the zero point 0.

    A channel's largest magnitude becomes 127, unless its weights lie on a grid of their own. Where the bias would not
    fit 32 bits at the scale of the accumulator, the channel's scale is made larger.
    ``axis``: the dimension that channels run along.
    ``bias``: one number for each channel.
    ``x_scale``: of the activations that the weights are multiplied with."""
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    scales = np.abs(rows).max(1, initial=0).astype(np.float64) / LARGEST
    for channel, row in enumerate(rows):
        found = grid_of(np.abs(row), LARGEST)
        if found is not None:
            scales[channel] = found[0]
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias.astype(np.float64)) / (x_scale * LARGEST_BIAS))
    # A channel of zeros may have any scale.
    scales = np.where(scales > SMALLEST_SCALE, scales, 1.0).astype(np.float32)
    shape = [-1 if d == axis else 1 for d in range(weights.ndim)]
    stored = np.rint(weights / scales.reshape(shape))
    quant = Quantization.per_channel(scales, axis)
    return np.clip(stored, -LARGEST, LARGEST).astype(np.int8), TensorType(weights.shape, DType.I8, quant)


def has_numbers(op: Op) -> TypeGuard[Op[Union[Mul, Add, Concat]]]:
    """Whether an op multiplies by or adds a map of numbers, known ones, that 8 bits hold as exactly as what they are
    for, or joins some with others. One number for each channel is no map: small ones are there for channels that reach
    far."""
    numbers = [value.array for value in op.inputs if isinstance(value, Constant)]
    if is_op(op, Concat):
        return 0 < len(numbers) < len(op.inputs) and op.result.type.dtype is DType.F32
    if not is_op(op, Mul, Add) or len(numbers) != 1 or sum(extent > 1 for extent in numbers[0].shape) < 2:
        return False
    return bool(0 < np.abs(numbers[0]).max() < _CREST * np.sqrt(np.square(numbers[0]).mean()))
