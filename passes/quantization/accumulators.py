"""How large the int32 accumulators of quantised convolutions and products can become.

The bound of a channel holds for every partial sum, in whatever order it is taken, and for both forms in which the
zero point of the activations may enter: subtracted from each activation, or folded into the bias.
"""

from __future__ import annotations

from typing import TypeGuard, Union

import numpy as np

from ...ir.core import Constant, Op, Value, is_op
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.matmul import MatMul
from ...ir.quantized import accumulator_bits, accumulator_factors, is_wide, limits, parameters
from ...ir.types import TensorType
from ..pattern import Match, Rule, node, on_quantized

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

    Args:
        bits: of the accumulators, by default those that they have by definition.
    """
    x, w, b, _ = op.operands
    limit = 2 ** ((accumulator_bits(x.type) if bits is None else bits) - 1)
    bias = _bias_of(b, w.type.shape[channel_axis(op)])
    low, high = limits(x.type)
    if _inner(op, w.type) * 255 * (high - low + 1) + np.abs(bias).max(initial=0) < limit:
        # Short sums of any weights fit.
        return np.zeros(0, np.int64)
    return np.flatnonzero(accumulator_bounds(op) >= limit)


def _settle_channels(found: Match[Conv | MatMul]) -> Value | None:
    """Weights and bias of channels that may overflow are cleared where the result is the same whatever the input.

    Training leaves dead channels with scales so small that any accumulator is requantised to the same integer, and
    with a bias that fills 32 bits.
    """
    op = found.root
    x, w, b, residual = op.operands
    # The least that is added to a residual may decide how that is rounded.
    if op.result.type.quant is None or residual is not None:
        return None
    if not isinstance(w, Constant) or not isinstance(b, Constant):
        return None
    channels = overflowing_channels(op)
    y = op.result.type
    factors = np.broadcast_to(accumulator_factors(x.type, w.type, y), b.array.shape)
    reach = accumulator_bounds(op)[channels].astype(np.float64) * factors[channels].astype(np.float64)
    # What is below a quarter of a step rounds to nothing, in whatever way its factors were rounded.
    settled = channels[reach < 0.25]
    if not settled.size:
        return None
    assert w.type.quant is not None
    axis = channel_axis(op)
    zeros = np.broadcast_to(w.type.quant.broadcast(w.type.rank)[1], w.array.shape)
    weights, bias = np.moveaxis(w.array.copy(), axis, 0), b.array.copy()
    weights[settled] = np.moveaxis(zeros, axis, 0)[settled]
    bias[settled] = 0
    new_w = found.add_constant(w.name, np.moveaxis(weights, 0, axis), w.type)
    new_b = found.add_constant(b.name, bias, b.type)
    return found.emit(op.operator, x, new_w, new_b, result_types=[y])


RULES = on_quantized(Rule("settled_channels", node((Conv, MatMul)), _settle_channels))
"""Channels that cannot be told from a constant."""
