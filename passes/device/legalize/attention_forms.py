"""Heads of attention as blocks of channels. All rules are exact."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....ir.annotations import MACS
from ....ir.core import Constant, Op, Value, is_op
from ....ir.layout import in_whole_blocks
from ....ir.ops.attention import Attention
from ....ir.ops.convolution import Conv
from ....ir.ops.indexing import Gather
from ....ir.quantized import parameters
from ....runtime.machines.machine import CHANNEL_BLOCK
from ...pattern import Match, Rule, node, on_quantized
from ..attention_views import unfit, views_of
from .movement_forms import is_quantized, ones_for_channels
from .row_forms import has_rows


class _Placed(NamedTuple):
    """Where heads lie when each starts a block: their view, and for each channel which one of before it is, or -1."""

    view: tuple[int, ...]
    channels: NDArray[np.int64]


def _heads_of_blocks(found: Match[Attention]) -> Value | None:
    """Heads that are not whole blocks of 16 channels get zeros behind them, which add nothing to any score: products
    before attention make them, and of its result the channels of before are taken."""
    op, attention = found.root, found.root.operator
    views = {name: each for name, each in views_of(op).items() if name != "mask"}
    if unfit(op) is None or not all(has_rows(value.type) for value, _ in views.values()):
        return None
    if "v" not in views and attention.keys % CHANNEL_BLOCK:
        return None  # Keys are columns, of which there are no more.
    placed: dict[str, _Placed] = {}
    for name, (value, view) in views.items():
        count = attention.width if name in "qk" else attention.depth
        places = _placed(view, attention.batch, count, value.type.shape[1])
        if places is None:
            return None
        placed[name] = places
    if all(np.array_equal(places.channels, np.arange(len(places.channels))) for places in placed.values()):
        return None
    operands = [
        value if value is None else _spread(found, value, placed[name].channels)
        for name, value in zip("qkv", op.operands, strict=False)
    ]
    y = op.result.type
    rows = y.with_shape((y.shape[0], len(placed["y"].channels), 1, 1))
    wider = replace(
        attention,
        **{f"{name}_view": places.view for name, places in placed.items()},
        width=in_whole_blocks(attention.width),
        depth=in_whole_blocks(attention.depth),
        shape=rows.shape,
    )
    result = found.emit(wider, *operands, *op.operands[3:], result_types=[rows])
    assert result.producer is not None and is_op(result.producer, Attention)
    if unfit(result.producer) is not None:
        return None  # something else does not fit
    MACS.set(result.producer, op.macs)
    made = placed["y"].channels
    order = np.flatnonzero(made >= 0)[np.argsort(made[made >= 0])]
    return found.emit(Gather(1), result, found.add_constant(f"{op.result.name}.channels", order))


def _placed(view: Sequence[int], batch: tuple[int, ...], count: int, width: int) -> _Placed | None:
    """A view of rows of ``width`` channels whose heads of ``count`` start blocks; ``None`` where it is of columns, or
    no strides say where the heads are then."""
    offset, *strides, row, column = view
    if (count > 1 and column != 1) or row % width:
        return None
    index = np.array([*np.ndindex(*batch)], np.int64).T
    rows, channels = np.divmod(offset + np.asarray(strides, np.int64) @ index, width)
    starts, order = np.unique(channels, return_inverse=True)
    step = in_whole_blocks(count)
    wide, corners = step * len(starts), rows * step * len(starts) + step * order.reshape(-1)
    if starts[-1] + count > width:
        return None
    # Of the first head along each dimension alone.
    units = np.minimum(np.eye(len(batch), dtype=np.int64), np.array(batch, np.int64) - 1)
    found = corners[np.ravel_multi_index(tuple(units), batch)] - corners[0] if batch else np.empty(0, np.int64)
    if (corners[0] + found @ index != corners).any():
        return None
    picked = np.full((len(starts), step), -1)
    picked[:, :count] = starts[:, None] + np.arange(count)
    return _Placed((int(corners[0]), *map(int, found), row // width * wide, 1), picked.reshape(-1))


def _spread(found: Match, x: Value, channels: NDArray[np.int64]) -> Value:
    """Rows of these channels, and zeros for -1: of the product that makes them, or of a convolution by ones."""
    type = x.type.with_shape((x.type.shape[0], len(channels), 1, 1))
    maker, is_zero, zero = x.producer, channels < 0, parameters(x.type)[1]
    if isinstance(x, Constant):
        array = np.where(is_zero[:, None, None], x.type.dtype.numpy.type(zero), x.array[:, channels])
        return found.add_constant(x.name, array, type)
    if is_op(maker, Conv) and _makes_channels_apart(maker):
        w, b = maker.operands[1:3]
        assert isinstance(w, Constant) and w.type.quant is not None
        quant = w.type.quant.of_channels(channels.tolist())
        array = np.where(is_zero[:, None, None, None], w.type.dtype.numpy.type(quant.zero_point[0]), w.array[channels])
        weights = found.add_constant(w.name, array, replace(w.type, shape=array.shape, quant=quant))
        if isinstance(b, Constant):
            bias = np.where(is_zero, b.array.dtype.type(0), b.array[channels])
            b = found.add_constant(b.name, bias, b.type.with_shape(bias.shape))
        made = found.emit(maker.operator, maker.operands[0], weights, b, result_types=[type], origin=[maker])
        assert made.producer is not None
        made.name = maker.result.name  # by which users may have given it a place
        MACS.set(made.producer, maker.macs * int((~is_zero).sum()) // x.type.shape[1])
        return made
    return ones_for_channels(found, x, channels, type)


def _makes_channels_apart(conv: Op[Conv]) -> bool:
    """Whether each channel that a product makes, and others that are zeros, can be made as well by itself."""
    w, b = conv.operands[1:3]
    if not isinstance(w, Constant) or not isinstance(b, (Constant, type(None))) or w.type.quant is None:
        return False
    is_plain = conv.operator.act == "none" and conv.operator.group == 1 and conv.operands.residual is None
    return is_plain and len({*w.type.quant.zero_point}) == 1


RULES: tuple[Rule, ...] = on_quantized(Rule("heads_of_blocks", node(Attention, where=is_quantized), _heads_of_blocks))
