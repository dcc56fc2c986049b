"""Rules over windows: padding, and what is cut off behind, goes into the op that slides; means become pooling."""

import math
from dataclasses import replace
from typing import TypeVar

from ...ir.core import Op, Value, is_op
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.elementwise import Mul, Pow, Sub
from ...ir.ops.movement import Pad, Slice
from ...ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ...ir.ops.reduction import Reduce, ReduceMax, ReduceMean
from ...ir.ops.shape import Reshape
from ...ir.quantized import limits, parameters
from ..pattern import Const, Match, Rule, node, on_quantized

WindowT = TypeVar("WindowT", Conv, AveragePool, MaxPool)


def padded(found: Match[WindowT]) -> WindowT | None:
    """The operator of the root with the pads of the op called ``pad`` as well; ``None`` where that does not pad with a
    constant, or adds a batch or channel."""
    pad, window, rank = found.op("pad", Pad).operator, found.root.operator, found["x"].type.rank
    if pad.mode != "constant" or rank < 3 or any((*pad.pads[:2], *pad.pads[rank : rank + 2])):
        return None
    spatial = (*pad.pads[2:rank], *pad.pads[rank + 2 :])
    return replace(window, pads=tuple(a + b for a, b in zip(window.pads, spatial, strict=True)))


def pad_into_conv(found: Match[Conv]) -> Value | None:
    """Padding with the number 0, which quantised tensors pad with too."""
    conv = padded(found)
    if conv is None or found.op("pad", Pad).operator.value != 0:
        return None
    return found.emit(conv, found["x"], *found.root.operands[1:], result_types=[found.root.result.type])


def _pad_into_average_pool(found: Match[AveragePool]) -> Value | None:
    pool, merged = found.root.operator, padded(found)
    # Padding of the pool's own that does not count cannot be told from padding that does.
    ambiguous = any(pool.pads) and not pool.count_include_pad
    if merged is None or found.op("pad", Pad).operator.value != 0 or ambiguous:
        return None
    return found.emit(replace(merged, count_include_pad=True), found["x"], result_types=[found.root.result.type])


def _is_never_negative(value: Value) -> bool:
    operator = value.producer.operator if value.producer is not None else None
    act = getattr(operator, "act", "")
    low = next(iter(getattr(operator, "act_args", ())), -1.0)
    return act == "relu" or (act == "clip" and low >= 0)


def _pad_into_max_pool(found: Match[MaxPool]) -> Value | None:
    pool, merged, value = found.root.operator, padded(found), found.op("pad", Pad).operator.value
    if merged is None:
        return None
    if value == -math.inf:
        return found.emit(merged, found["x"])
    # Zeros around numbers that are not below zero win nowhere but in windows of nothing else.
    spatial = len(pool.kernel)
    reach = [d * (k - 1) + 1 for d, k in zip(pool.dilations, pool.kernel, strict=True)]
    inside = all(max(merged.pads[d], merged.pads[spatial + d]) < reach[d] for d in range(spatial))
    undilated = all(d == 1 for d in pool.dilations)
    if value == 0 and inside and undilated and not any(pool.pads) and _is_never_negative(found["x"]):
        return found.emit(merged, found["x"])
    return None


def _slice_into_conv(found: Match[Slice]) -> Value | None:
    """What is cut off behind a convolution is not computed: it pads less, a transposed one more."""
    part, op = found.root.operator, found.op("conv", Conv, ConvTranspose)
    conv, whole = op.operator, op.result.type.shape
    before, after = part.begin[2:], [w - b - e for w, b, e in zip(whole, part.begin, part.extent, strict=True)][2:]
    spatial = part.begin[:2] == (0, 0) and part.extent[:2] == whole[:2] and set(part.step) == {1}
    if not spatial or not all(part.extent) or any(value is not None for value in op.operands[3:]):
        return None
    by = [1] * len(before) if is_op(op, ConvTranspose) else [-stride for stride in conv.strides]
    pads = [pad + cut * s for pad, cut, s in zip(conv.pads, (*before, *after), (*by, *by), strict=True)]
    reach = [d * (k - 1) for d, k in zip(conv.dilations, found["w"].type.shape[2:], strict=True)]
    if not all(0 <= pad <= most for pad, most in zip(pads, (*reach, *reach), strict=True)):
        return None
    return found.emit(replace(conv, pads=tuple(pads)), *op.operands, result_types=[found.root.result.type])


def _taps_of_padding(found: Match[Conv]) -> Value | None:
    """The first or last elements of a kernel that meet nothing but padding go, as those of dilations that are larger
    than the map."""
    conv, w, ends = found.root.operator, found.constant("w"), list(found.root.operator.pads)
    rank, kept = len(conv.strides), list[slice]()
    for axis, window in enumerate(conv.windows(found["x"].type.shape, w.type.shape)):
        step, extent = conv.dilations[axis], found["x"].type.shape[2 + axis]
        first, last = 0, w.type.shape[2 + axis]
        while last - first > 1 and step <= ends[axis] and (window.output - 1) * conv.strides[axis] < ends[axis]:
            first, ends[axis] = first + 1, ends[axis] - step
        while last - first > 1 and step <= ends[rank + axis] and (last - 1 - first) * step - ends[axis] >= extent:
            last, ends[rank + axis] = last - 1, ends[rank + axis] - step
        kept.append(slice(first, last))
    weights = w.array[(slice(None), slice(None), *kept)]
    if weights.shape == w.type.shape:
        return None
    taps = found.add_constant(w.name, weights, w.type.with_shape(weights.shape))
    operands = found["x"], taps, *found.root.operands[2:]
    dilations = tuple(step if taps > 1 else 1 for step, taps in zip(conv.dilations, weights.shape[2:], strict=True))
    operator = replace(conv, pads=tuple(ends), dilations=dilations)
    return found.emit(operator, *operands, result_types=[found.root.result.type])


def _reduction_as_pool(found: Match[Reduce]) -> Value | None:
    reduction, x, y = found.root.operator, found["x"], found.root.result
    is_mean, axes, square = isinstance(reduction, ReduceMean), reduction.axes, found["x"].producer
    if x.type.rank < 3 or not axes or min(axes) < 2 or not x.type.dtype.is_float:
        return None
    is_global = axes == tuple(range(2, x.type.rank))
    is_square = is_op(square, Pow) or (is_op(square, Mul) and len({*square.inputs}) == 1)
    # What is taken off its operand may as well be the start of a softmax, or of a normalisation, and a mean one of two.
    others = (Sub, type(reduction))
    is_part = any(isinstance(user, Op) and is_op(user, *others) for user in y.users) or (is_square and is_mean)
    # With one dimension, it may as well be the start of a layer normalisation.
    if is_part and not (is_mean and is_global and x.type.rank > 3):
        return None
    kernel = tuple(extent if 2 + axis in axes else 1 for axis, extent in enumerate(x.type.shape[2:]))
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    window = kernel, ones, (*zeros, *zeros), ones
    if is_global:
        pooled = found.emit(GlobalAveragePool() if is_mean else GlobalMaxPool(), x)
    else:
        pooled = found.emit(AveragePool(*window, True, zeros) if is_mean else MaxPool(*window), x)
    return pooled if reduction.keepdims else found.emit(Reshape(y.type.shape), pooled)


def _pool_before_factor(found: Match[MaxPool]) -> Value | None:
    """The largest multiple is that of the largest, if the factor of the channel is not below 0: of integers, whose
    rounding keeps their order, exactly. Windows of padding alone have no largest to multiply."""
    op, pool, y = found.op("product", Mul), found.root.operator, found.root.result.type
    if not all(axis.counts(0, axis.input).all() for axis in pool.windows(op.result.type.shape[2:])):
        return None
    for x, factor in (op.inputs, op.inputs[::-1]):
        is_one = factor.type.rank == y.rank and set(factor.type.shape[2:]) == {1}
        if not is_one or x.type.shape != op.result.type.shape or not factor.type.has_one_scale or y.rank < 3:
            continue
        (low, _), (_, zero) = limits(factor.type), parameters(factor.type)
        if zero <= low and y == pool.infer(op.result.type):
            return found.emit(op.operator, found.emit(pool, x), factor, result_types=[y], origin=[op])
    return None


def _pool_as_global(found: Match[AveragePool | MaxPool]) -> Value | None:
    pool, x = found.root.operator, found["x"]
    covers = pool.kernel == x.type.shape[2:] and not any(pool.pads) and not any(getattr(pool, "overhang", ()))
    if covers and set(found.root.result.type.shape[2:]) == {1} and set(pool.dilations) == {1}:
        whole = GlobalMaxPool() if isinstance(pool, MaxPool) else GlobalAveragePool()
        return found.emit(whole, x, result_types=[found.root.result.type])
    return None


RULES: tuple[Rule, ...] = (
    *on_quantized(
        Rule("pad_into_conv", node(Conv, node(Pad, "x", name="pad")), pad_into_conv),
        Rule("taps_of_padding", node(Conv, "x", Const("w")), _taps_of_padding),
        Rule("slice_into_conv", node(Slice, node((Conv, ConvTranspose), "x", "w", name="conv")), _slice_into_conv),
        Rule("pad_into_average_pool", node(AveragePool, node(Pad, "x", name="pad")), _pad_into_average_pool),
        Rule("pool_before_factor", node(MaxPool, node(Mul, name="product")), _pool_before_factor),
    ),
    Rule("pad_into_max_pool", node(MaxPool, node(Pad, "x", name="pad")), _pad_into_max_pool),
    Rule("reduction_as_pool", node((ReduceMean, ReduceMax), "x"), _reduction_as_pool),
    Rule("pool_as_global_pool", node((AveragePool, MaxPool), "x"), _pool_as_global),
)
"""Padding into windows, what is cut off behind them out of them, windows over everything into global pooling."""
