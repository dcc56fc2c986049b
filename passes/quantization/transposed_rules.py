"""Transposed convolutions as ordinary ones: every phase of the result is a convolution of its own.

A stride of s makes s x s phases. Pixel s * j + r of the result, along one dimension, is made of the taps k with
dilation * k = r + pad (mod s) alone; tap k of it reads element j + (r + pad - dilation * k) / s. So each phase is a
convolution of stride 1 with a part of the kernel, turned round, and no product has a factor of zero. The results are
joined as channels, which ``depth_to_space`` spreads over the pixels.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tilewright import limits
from tilewright.immutable import Immutable

from ...ir.core import Constant, Op, Value, is_op
from ...ir.layout import CHANNEL_BLOCK
from ...ir.ops.activation import Activation
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.movement import Concat, DepthToSpace, Slice
from ...ir.ops.quantization import Dequantize, Quantize
from ...ir.types import Quantization, TensorType
from ...ir.windows import WindowAxis
from ..pattern import Match, Rule, node, on_quantized
from ..simplify.linear_rules import turned
from .integer_rules import integers_of, is_fused_activation, only_producer


class Phase(Immutable):
    """The convolution along one dimension that makes every s-th element of the result.
    ``taps``: of the kernel, in the order in which the convolution has them, -1 for one of zero; empty where all is
    bias.
    ``dilation``: of the convolution.
    ``before``, ``after``: padding; where negative, so many elements of x are not read."""

    taps: tuple[int, ...]
    dilation: int
    before: int
    after: int


def phases(axis: WindowAxis) -> list[Phase]:
    """The phases of the result along one dimension, all of ceil(extent / stride) elements.
    ``axis``: the windows over the result; one for each element of x."""
    stride, count = axis.stride, -(-axis.input // axis.stride)
    dilation = axis.dilation // math.gcd(axis.dilation, stride)
    found: list[Phase] = []
    for first in range(stride):
        distance = first + axis.before
        taps = tuple(k for k in reversed(range(axis.kernel)) if (distance - k * axis.dilation) % stride == 0)
        # Without taps, a tap of zero at each element.
        before = -((distance - taps[0] * axis.dilation) // stride) if taps else 0
        reach = (max(len(taps), 1) - 1) * dilation + 1
        found.append(Phase(taps, dilation, before, count - 1 + reach - before - axis.output))
    return found


def aligned_phases(each: Sequence[Phase]) -> list[Phase]:
    """The phases along a dimension, with taps of zero (-1) where others read further; none if they read others."""
    used = [phase for phase in each if phase.taps]
    before, dilation = max(phase.before for phase in used), each[0].dilation
    after = max(phase.after for phase in used)
    if any((before - phase.before) % dilation for phase in used):
        return []
    count = max((before - phase.before) // dilation + len(phase.taps) for phase in used)
    found: list[Phase] = []
    for phase in each:
        first = (before - phase.before) // dilation if phase.taps else 0
        taps = (*(-1,) * first, *phase.taps, *(-1,) * (count - first - len(phase.taps)))
        found.append(Phase(taps, dilation, before, after))
    return found


def has_phases(op: Op[ConvTranspose]) -> bool:
    """Whether a transposed convolution can become ordinary ones: of maps, with constant weights and equal strides."""
    _, w, b = op.operands
    is_constant = isinstance(w, Constant) and (b is None or isinstance(b, Constant))
    return is_constant and w.type.rank == 4 and _has_few_phases(op.operator)


def _has_few_phases(operator: ConvTranspose) -> bool:
    # One op joins all of them.
    return len(set(operator.strides)) == 1 and math.prod(operator.strides) <= limits.OPERANDS


def _quantized_phases(found: Match[Quantize]) -> Value | None:
    """``quantize(conv_transpose(dequantize(x), dequantize(w)))``, with a clamping activation or not, by phases."""
    y_type, source = found.root.result.type, only_producer(found.root)
    if y_type.quant is None or y_type.quant.axis is not None or source is None:
        return None
    activation: Op[Activation] | None = None
    if is_fused_activation(source):
        activation, source = source, only_producer(source)
    if source is None or not is_op(source, ConvTranspose):
        return None
    operator, (x, w, b) = source.operator, source.operands
    integers = integers_of(w)
    if integers_of(x) is None or not isinstance(integers, Constant) or integers.type.rank != 4:
        return None
    if not _has_few_phases(operator):
        return None
    found.origin = [source] if activation is None else [source, activation]
    axes = operator.windows(x.type.shape, w.type.shape)
    weights = _as_convolution(integers, operator.group)
    stride, extents = operator.strides[0], tuple(-(-axis.input // axis.stride) for axis in axes)
    outputs = weights.type.shape[0]
    parts: list[Value] = []
    known_bias = b if b is None or isinstance(b, Constant) else integers_of(b)
    may_join = operator.group == 1 and (b is None or isinstance(known_bias, Constant))
    for run in _runs([phases(axis) for axis in axes], outputs, may_join=may_join):
        rows, columns = run[0]
        kernel = found.add_constant(w.name, *_kernel(weights, [(rows.taps, columns.taps) for rows, columns in run]))
        cropped, pads = read(found, x, (rows, columns))
        conv = Conv((1, 1), pads, (rows.dilation, columns.dilation), operator.group)
        bias = b
        if isinstance(known_bias, Constant) and len(run) > 1:
            array, quant = np.tile(known_bias.array, len(run)), _repeated(known_bias.type.quant, len(run))
            bias = found.add_constant(known_bias.name, array, TensorType(array.shape, known_bias.type.dtype, quant))
            bias = bias if quant is None else found.emit(Dequantize(), bias)
        real = found.emit(conv, cropped, found.emit(Dequantize(), kernel), bias)
        if activation is not None:
            real = found.emit(activation.operator, real)
        type = y_type.with_shape((x.type.shape[0], outputs * len(run), *extents))
        parts.append(found.emit(Quantize(), real, result_types=[type]))
    if stride == 1:
        return parts[0]
    joined = parts[0]
    if len(parts) > 1:
        joined_type = y_type.with_shape((x.type.shape[0], outputs * stride * stride, *extents))
        joined = found.emit(Concat(1), *parts, result_types=[joined_type])
    spread_type = y_type.with_shape((x.type.shape[0], outputs, *(extent * stride for extent in extents)))
    spread = found.emit(DepthToSpace(stride), joined, result_types=[spread_type])
    if spread_type.shape == y_type.shape:
        return spread
    return found.emit(Slice((0,) * 4, y_type.shape, (1,) * 4), spread, result_types=[y_type])


def _as_convolution(w: Constant, group: int) -> Constant:
    """Quantised weights [C, O / group, rows, columns] as those of a convolution, [O, C / group, rows, columns]."""
    array, quant = turned(w.array, group), w.type.quant
    assert quant is not None
    if quant.axis is not None:
        # Channels of all groups share the scales of those of the first.
        quant = replace(quant, axis=0, scale=quant.scale * group, zero_point=quant.zero_point * group)
    return Constant(w.name, array, TensorType(array.shape, w.type.dtype, quant))


def _runs(every: Sequence[Sequence[Phase]], outputs: int, *, may_join: bool) -> list[list[tuple[Phase, ...]]]:
    """The phases along both dimensions that a convolution makes together: all, or each alone.

    Channels are multiplied in blocks, so that phases of few outputs had better share one, zeros included."""
    alone = [*itertools.product(*every)]
    if may_join and all(any(phase.taps for phase in each) for each in every):
        joined = [*itertools.product(*map(aligned_phases, every))]
        blocks = -(-outputs // CHANNEL_BLOCK) * sum(math.prod(max(len(p.taps), 1) for p in each) for each in alone)
        taps = math.prod(len(phase.taps) for phase in joined[0]) if joined else 0
        if joined and -(-outputs * len(joined) // CHANNEL_BLOCK) * taps < blocks:
            return [joined]
    return [[each] for each in alone]


def _kernel(weights: Constant, run: Sequence[tuple[tuple[int, ...], ...]]) -> tuple[np.ndarray, TensorType]:
    """These rows and columns of a kernel, for each phase; where there are none, or -1, what stands for zero."""
    quant = weights.type.quant
    assert quant is not None
    zero = np.broadcast_to(quant.broadcast(4)[1], (*weights.array.shape[:2], 1, 1)).astype(weights.array.dtype)
    padded = np.pad(weights.array, ((0, 0), (0, 0), (0, 1), (0, 1)))
    padded[:, :, -1:], padded[:, :, :, -1:] = zero, zero
    array = np.concatenate([padded[:, :, rows or (-1,), :][:, :, :, columns or (-1,)] for rows, columns in run])
    return array, TensorType(array.shape, weights.type.dtype, _repeated(quant, len(run)))


def _repeated(quant: Quantization | None, times: int) -> Quantization | None:
    """Parameters of so many tensors joined along the first axis, where these have them by channels of it."""
    if quant is None or quant.axis is None:
        return quant
    return replace(quant, scale=quant.scale * times, zero_point=quant.zero_point * times)


def read(found: Match, x: Value, each: Sequence[Phase]) -> tuple[Value, tuple[int, ...]]:
    """What a phase along each dimension reads of x, and its pads."""
    pads = tuple(max(pad, 0) for pad in (*(phase.before for phase in each), *(phase.after for phase in each)))
    begin, end = ((0, 0, *(max(-getattr(phase, side), 0) for phase in each)) for side in ("before", "after"))
    if any((*begin, *end)):
        extents = tuple(size - a - b for size, a, b in zip(x.type.shape, begin, end, strict=True))
        x = found.emit(Slice(begin, extents, (1,) * len(extents)), x)
    return x, pads


RULES = on_quantized(Rule("transposed_convolution_by_phases", node(Quantize), _quantized_phases))
"""Quantised transposed convolutions."""
