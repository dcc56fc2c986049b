"""Rules over windows: padding goes into the op that slides over it, and means over images become pooling."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

from ...ir.core import Value
from ...ir.ops.convolution import Conv
from ...ir.ops.movement import Pad
from ...ir.ops.pooling import AveragePool, GlobalAveragePool, MaxPool
from ...ir.ops.reduction import ReduceMean
from ...ir.ops.shape import Reshape
from ..pattern import Match, Rule, node, on_quantized

WindowT = TypeVar("WindowT", Conv, AveragePool, MaxPool)


def padded(found: Match[WindowT]) -> WindowT | None:
    """The operator of the root with the pads of the op called ``pad`` as well; ``None`` where that does not pad with a
    constant, or adds a batch or channel.
    """
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


def _mean_as_pool(found: Match[ReduceMean]) -> Value | None:
    mean, x = found.root.operator, found["x"]
    # With one dimension, a mean over it may as well be the start of a layer normalisation.
    if x.type.rank < 4 or mean.axes != tuple(range(2, x.type.rank)) or not x.type.dtype.is_float:
        return None
    pooled = found.emit(GlobalAveragePool(), x)
    return pooled if mean.keepdims else found.emit(Reshape(x.type.shape[:2]), pooled)


def _pool_as_global(found: Match[AveragePool]) -> Value | None:
    pool, x = found.root.operator, found["x"]
    covers = pool.kernel == x.type.shape[2:] and not any(pool.pads) and not any(pool.overhang)
    if covers and set(found.root.result.type.shape[2:]) == {1} and set(pool.dilations) == {1}:
        return found.emit(GlobalAveragePool(), x, result_types=[found.root.result.type])
    return None


RULES: tuple[Rule, ...] = (
    *on_quantized(
        Rule("pad_into_conv", node(Conv, node(Pad, "x", name="pad")), pad_into_conv),
        Rule("pad_into_average_pool", node(AveragePool, node(Pad, "x", name="pad")), _pad_into_average_pool),
    ),
    Rule("pad_into_max_pool", node(MaxPool, node(Pad, "x", name="pad")), _pad_into_max_pool),
    Rule("mean_as_global_pool", node(ReduceMean, "x"), _mean_as_pool),
    Rule("average_pool_as_global_pool", node(AveragePool, "x"), _pool_as_global),
)
"""Padding into windows, windows over everything into global pooling."""
