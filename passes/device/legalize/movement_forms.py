"""What moves elements of quantised maps, in the forms that the accelerator has. All rules are exact."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ....ir.annotations import MACS
from ....ir.core import Op, Value, is_op
from ....ir.feature_map import MAP_RANKS
from ....ir.ops.convolution import Conv
from ....ir.ops.elementwise import Max
from ....ir.ops.indexing import Gather
from ....ir.ops.movement import Concat, DepthToSpace, Pad, Slice, SpaceToDepth, Split, Transpose
from ....ir.ops.pooling import AveragePool, MaxPool
from ....ir.ops.reduction import Reduce, ReduceMax
from ....ir.ops.shape import Reshape
from ....ir.quantized import limits, parameters, stored
from ....ir.types import DType, Quantization, TensorType
from ....runtime.machines.machine import CHANNEL_BLOCK, STRIDE_LIMIT
from ...pattern import Match, Rule, node, on_quantized

_REPEATED = 32
"""Rows and columns that a map repeats around itself by parts, at most: each may be a transfer of its own."""

_MOST_ONES = 1 << 22
"""Bytes of the weights that give channels other places, at most: they grow with the square of the channels, and signals
of many samples in one pixel are moved by the host."""


def pads_many_channels(op: Op[Pad]) -> bool:
    """Whether a product that pads channels would have too many weights for that."""
    x, y = op.inputs[0].type, op.result.type
    return x.rank > 1 and x.shape[1] * y.shape[1] > _MOST_ONES


def is_quantized(op: Op) -> bool:
    """Whether the first operand of an op is quantised with one scale."""
    return op.inputs[0].type.has_one_scale


def _movements(found: Match) -> Value | None:
    """Reshapes around a transposition, perhaps with a slice behind, that give channels other places or choose among
    them while all else stays, each coming from one channel of the operand; or that spread channels over blocks of
    pixels, or gather these."""
    x, y = found["x"], found.root.result
    if x.type.rank not in MAP_RANKS[1:] or x.type.rank != y.type.rank or not y.type.elements:
        return None
    places = np.arange(x.type.elements, dtype=np.int64).reshape(x.type.shape)
    moved = places
    for op in reversed(found.ops):
        moved = op.operator.reference(moved)
    if x.type.shape[2:] != y.type.shape[2:]:
        spread = y.type.shape[-1] // x.type.shape[-1], x.type.shape[-1] // y.type.shape[-1]
        forms = DepthToSpace(spread[0]), DepthToSpace(spread[0], "CRD"), SpaceToDepth(spread[1])
        for form in forms[:2] if spread[0] else forms[2:]:
            if form.infer(x.type) == y.type and np.array_equal(form.reference(places), moved):
                return found.emit(form, x)
        return None
    order = moved[0].reshape(len(moved[0]), -1)[:, 0] // math.prod(x.type.shape[2:])
    if order.max() >= x.type.shape[1] or not np.array_equal(places[:, order], moved):
        return None
    return found.emit(Gather(1), x, found.add_constant(f"{y.name}.channels", order))


def _split_as_slices(found: Match[Split]) -> Sequence[Value]:
    split, shape = found.root.operator, found["x"].type.shape
    results: list[Value] = []
    position = 0
    for value, size in zip(found.root.results, split.sizes, strict=True):
        results.append(found.emit(Slice.along(split.axis, position, size, shape), found["x"]))
        results[-1].name = value.name
        position += size
    return results


def _steps_as_pooling(found: Match[Slice]) -> Value | None:
    """Every so many rows and columns: the largest elements of windows of one, in what lies between first and last."""
    cut, x = found.root.operator, found["x"]
    steps = tuple(step if extent > 1 else 1 for step, extent in zip(cut.step, cut.extent, strict=True))
    if x.type.rank not in MAP_RANKS[1:] or steps[:2] != (1, 1) or min(steps) < 1 or not 1 < max(steps) <= STRIDE_LIMIT:
        return None
    # To the end of the map, where that makes no further window.
    whole = [extent - begin for extent, begin in zip(x.type.shape, cut.begin, strict=True)]
    last = [(extent - 1) * step + 1 for extent, step in zip(cut.extent, steps, strict=True)]
    extents = tuple(w if w < e + s else e for w, e, s in zip(whole, last, steps, strict=True))
    near = found.emit(Slice(cut.begin, (*cut.extent[:2], *extents[2:]), (1,) * len(steps)), x)
    ones = (1,) * (len(steps) - 2)
    return found.emit(MaxPool(ones, steps[2:], (0,) * 2 * len(ones), ones), near)


def _blocks_as_slices(found: Match[SpaceToDepth]) -> Value:
    """The pixels of each place in a block are every so many rows and columns, and channels of the result."""
    x, size = found["x"], found.root.operator.blocksize
    extent = (*x.type.shape[:2], *found.root.result.type.shape[2:])
    places = product(range(size), range(size))
    return found.emit(Concat(1), *(found.emit(Slice((0, 0, *at), extent, (1, 1, size, size)), x) for at in places))


def _channels_of_phases(found: Match[DepthToSpace]) -> Value | None:
    """The channels of a phase brought together."""
    x, spread = found["x"], found.root.operator
    if spread.mode == "DCR":
        return None
    order = np.arange(x.type.shape[1]).reshape(-1, spread.blocksize**2).T.reshape(-1)
    chosen = found.emit(Gather(1), x, found.add_constant(f"{found.root.result.name}.channels", order))
    return found.emit(DepthToSpace(spread.blocksize), chosen)


def _pad_as_convolution(found: Match[Pad]) -> Value | None:
    """Zeros around a map, channels of zeros among them: a convolution with a 1 for each channel, which pads with them.
    Windows that take over what surrounds a map do so."""
    pad, x, y, rank = found.root.operator, found["x"], found.root.result, found["x"].type.rank
    if rank not in MAP_RANKS[1:] or pad.mode != "constant" or pad.pads[0] or pad.pads[rank] or not y.type.elements:
        return None
    inputs, outputs = x.type.shape[1], y.type.shape[1]
    value, user = stored(pad.value, x.type), y.only_user
    taken = is_op(user, Conv, AveragePool) or (is_op(user, MaxPool) and value == limits(x.type)[0])
    if (taken and inputs == outputs) or value != parameters(x.type)[1] or pads_many_channels(found.root):
        return None
    picked = np.arange(outputs) - pad.pads[1]
    picked[picked >= inputs] = -1
    return ones_for_channels(found, x, np.maximum(picked, -1), y.type, (*pad.pads[2:rank], *pad.pads[rank + 2 :]))


def _pad_by_parts(found: Match[Pad]) -> Value | None:
    """Few rows and columns that come again around a map: slices of it, joined along one axis after the other."""
    pad, x, rank = found.root.operator, found["x"], found["x"].type.rank
    around = [*zip(pad.pads[:rank], pad.pads[rank:], strict=True)]
    if rank not in MAP_RANKS[1:] or pad.mode == "constant" or any(map(any, around[:2])) or sum(pad.pads) > _REPEATED:
        return None
    for axis in range(2, rank):
        places = Pad(around[axis], pad.mode).reference(np.arange(x.type.shape[axis]))
        runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        parts = [found.emit(Slice.along(axis, int(run[0]), len(run), x.type.shape), x) for run in runs]
        x = found.emit(Concat(axis), *parts) if len(parts) > 1 else x
    return x


def _largest_channel(found: Match[Reduce]) -> Value | None:
    """The largest channel of each pixel: the larger ones of two halves, which may overlap, in whole blocks first."""
    x, y = found["x"], found.root.result.type
    if x.type.rank not in MAP_RANKS[1:] or found.root.operator.axes != (1,) or not x.type.shape[1]:
        return None
    while (channels := x.type.shape[1]) > 1:
        half = -(-channels // 2)
        half = min(-(-half // CHANNEL_BLOCK) * CHANNEL_BLOCK, channels - 1) if channels > CHANNEL_BLOCK else half
        parts = (found.emit(Slice.along(1, at, half, x.type.shape), x) for at in (0, channels - half))
        x = found.emit(Max(), *parts)
    return found.emit(Reshape(y.shape), x)


def ones_for_channels(
    found: Match, x: Value, channels: NDArray[np.int64], type: TensorType, pads: tuple[int, ...] | None = None
) -> Value:
    """A convolution whose results are these channels of a map, and zeros for -1, around which it pads with zeros."""
    ones = (1,) * (type.rank - 2)
    weights = np.zeros((len(channels), x.type.shape[1], *ones), np.int8)
    weights[channels >= 0, channels[channels >= 0]] = 1
    of_ones = TensorType(weights.shape, DType.I8, Quantization.per_tensor(1.0))
    conv = Conv(ones, pads or (0,) * 2 * len(ones), ones, 1)
    name = f"{found.root.results[0].name}.ones"
    made = found.emit(conv, x, found.add_constant(name, weights, of_ones), None, result_types=[type])
    assert made.producer is not None
    MACS.set(made.producer, x.type.shape[1] * type.elements // type.shape[1])
    return made


_TURNED = node(Transpose, node(Reshape, "x"))
_PART = node(Slice, node(Reshape, _TURNED, single_use=False))

RULES: tuple[Rule, ...] = on_quantized(
    Rule("movements", node(Reshape, _TURNED, where=is_quantized), _movements),
    Rule("parts_of_movements", node(Reshape, _PART, where=is_quantized), _movements),
    Rule("split_as_slices", node(Split, "x", where=is_quantized), _split_as_slices),
    Rule("steps_as_pooling", node(Slice, "x", where=is_quantized), _steps_as_pooling),
    Rule("blocks_as_slices", node(SpaceToDepth, "x", where=is_quantized), _blocks_as_slices),
    Rule("channels_of_phases", node(DepthToSpace, "x", where=is_quantized), _channels_of_phases),
    Rule("pad_as_convolution", node(Pad, "x", where=is_quantized), _pad_as_convolution),
    Rule("largest_channel", node(ReduceMax, "x", where=is_quantized), _largest_channel),
    Rule("pad_by_parts", node(Pad, "x", where=is_quantized), _pad_by_parts),
)
"""In the order in which they are tried at each op."""
