"""How large the int32 accumulators of quantised convolutions and products can become.

The bound of a channel holds for every partial sum, in whatever order it is taken, and for both forms in which the
zero point of the activations may enter: subtracted from each activation, or folded into the bias.
"""

from typing import TypeGuard, Union

import numpy as np

from .core import Constant, Op, Value, is_op, types_of
from .layout import CHANNEL_BLOCK
from .ops.convolution import Conv, ConvTranspose
from .ops.matmul import MatMul
from .quantized import EIGHT_BIT, accumulator_bits, is_wide, limits, parameters
from .types import DType, TensorType

LIMIT = 2**31
"""Magnitude that an accumulator of 32 bits must stay below."""

Product = Op[Union[Conv, MatMul]]


def is_accumulating(op: Op) -> TypeGuard[Product]:
    """Whether the op is a convolution or product of quantised tensors."""
    return is_op(op, Conv, MatMul) and op.inputs[0].type.quant is not None


def channel_axis(op: Op[Conv | ConvTranspose | MatMul]) -> int:
    """The dimension of the weights that output channels run along."""
    if is_op(op, MatMul):
        return op.operator.column_axis(op.operands.w.type)
    return int(isinstance(op.operator, ConvTranspose))


def accumulator_bounds(op: Product) -> np.ndarray:
    """Largest magnitude that the accumulators of each output channel can reach, int64[channels]."""
    x, w, b, _ = op.operands
    _, zero = parameters(x.type)
    low, high = limits(x.type)
    magnitude, total = _weight_sums(op, w)
    bias = _bias_of(b, len(magnitude))
    centred = magnitude * max(high - zero, zero - low) + np.abs(bias)
    if is_wide(x.type):
        # What 32 bits wrap around on the way does not matter.
        return centred
    # Folded, activations are taken as signed 8-bit integers, and the zero point moves into the bias.
    half = (low + high + 1) // 2
    folded = magnitude * 128 + np.abs(bias) + np.abs((zero - half) * total)
    return np.maximum(centred, folded)


def _weight_sums(op: Product, w: Value) -> tuple[np.ndarray, np.ndarray]:
    """Sums over each channel's weights, less their zero points: of magnitudes, and as they are; int64[channels]."""
    assert w.type.quant is not None
    axis, inner = channel_axis(op), _inner(op, w.type)
    channels = w.type.shape[axis]
    if not isinstance(w, Constant):
        lowest, highest = limits(w.type)
        zero = parameters(w.type)[1]
        magnitude = np.full(channels, inner * max(highest - zero, zero - lowest), np.int64)
        return magnitude, magnitude
    if not w.type.elements:
        return np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    zeros = np.broadcast_to(np.asarray(w.type.quant.zero_point, np.int32), (channels,))
    # Of a batch of matrices each product sees one, so sums run over the inner extent only.
    rows = np.moveaxis(w.array, axis, 0).reshape(channels, -1, inner)
    magnitude, total = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for channel, row in enumerate(rows):
        weights = row.astype(np.int32) - zeros[channel]
        magnitude[channel] = np.abs(weights).sum(1, dtype=np.int64).max()
        sums = weights.sum(1, dtype=np.int64)
        total[channel] = sums[np.argmax(np.abs(sums))]
    return magnitude, total


def _inner(op: Product, w: TensorType) -> int:
    """Products in each sum."""
    if isinstance(op.operator, Conv):
        return int(np.prod(w.shape[1:]))
    return w.shape[-1 if op.operator.transpose_b else -2]


def _bias_of(b: Value | None, channels: int) -> np.ndarray:
    if b is None:
        return np.zeros(channels, np.int64)
    return b.array.astype(np.int64) if isinstance(b, Constant) else np.full(channels, LIMIT, np.int64)


def overflowing_channels(op: Product, bits: int | None = None) -> np.ndarray:
    """Indices of the output channels whose accumulators may not fit.
    ``bits``: of the accumulators, by default those that they have by definition."""
    x, w, b, _ = op.operands
    limit = 2 ** ((accumulator_bits(x.type) if bits is None else bits) - 1)
    bias = _bias_of(b, w.type.shape[channel_axis(op)])
    low, high = limits(x.type)
    if _inner(op, w.type) * 255 * (high - low + 1) + np.abs(bias).max(initial=0) < limit:
        # Short sums of any weights fit.
        return np.zeros(0, np.int64)
    return np.flatnonzero(accumulator_bounds(op) >= limit)


def is_byte_product(op: Op) -> bool:
    """Whether the factors of a convolution or matrix product are quantised to 8 bits, and its result to 8, or that of a
    matrix product to 16, signed."""
    (x, w), y = types_of(op.inputs[:2]), op.result.type
    results = (*EIGHT_BIT, DType.I16) if is_op(op, MatMul) else EIGHT_BIT
    are_bytes = x.dtype in EIGHT_BIT and w.dtype in EIGHT_BIT and y.dtype in results
    return are_bytes and all(type.quant is not None for type in (x, w, y))


def is_word_product(op: Op) -> bool:
    """Whether a convolution or matrix product is one of activations of 16 bits, signed, by known weights of 8."""
    if not is_op(op, Conv, MatMul):
        return False
    x, w, b, residual = op.operands
    activations = [value.type for value in (x, op.result, *((residual,) if residual is not None else ()))]
    are_words = all(type.dtype is DType.I16 and type.quant is not None for type in activations)
    is_known = isinstance(w, Constant) and w.type.dtype in EIGHT_BIT and isinstance(b, Constant | None)
    return are_words and is_known


def word_parts(op: Product) -> int | None:
    """Of a word product the parts that its input channels are to be cut into, blocks of 16, for sums that fit 32 bits
    whatever the input is: without those of other parts, but all with what zero points and the bias add. ``None`` if
    there are none such."""
    if not overflowing_channels(op, 32).size:
        return 1
    w, bias = op.inputs[1], op.operands.b
    if not is_op(op, Conv) or not isinstance(w, Constant) or w.type.quant is None:
        return None
    weights = w.array.astype(np.int64) - w.type.quant.broadcast(w.type.rank)[1]
    weights = weights.reshape(*weights.shape[:2], -1, weights.shape[-1])
    zero, added = parameters(op.inputs[0].type)[1], _bias_of(bias, len(weights))
    added = np.abs(added) + 2 * abs(zero) * np.abs(weights.sum((1, 3))).sum(1)
    blocks = np.add.reduceat(np.abs(weights).sum((2, 3)), range(0, weights.shape[1], CHANNEL_BLOCK), axis=1)
    for parts in range(2, blocks.shape[1] + 1):
        size = -(-blocks.shape[1] // parts)
        largest = np.add.reduceat(blocks, range(0, blocks.shape[1], size), axis=1).max(1)
        if (largest * -int(np.iinfo(np.int16).min) + added < LIMIT).all():
            return parts
    return None
