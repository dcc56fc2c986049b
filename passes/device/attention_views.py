"""Attention on maps: where the matrices of a head lie among the rows and the channels of its operands."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...ir.core import Op, Value
from ...ir.feature_map import MapShape
from ...ir.layout import in_whole_blocks
from ...ir.ops.attention import Attention
from ...ir.quantized import limits, parameters
from ...runtime.machines.machine import CHANNEL_BLOCK


class Corner(NamedTuple):
    """The first row and channel of a matrix."""

    row: int
    channel: int


class Head(NamedTuple):
    """Where the matrices of one product lie; ``mask`` is the row of that for the first query."""

    q: Corner
    k: Corner
    y: Corner
    v: Corner | None = None
    mask: Corner | None = None


def row_width(view: tuple[int, ...], value: Value) -> int:
    """Elements from row to row of a matrix in a tensor, or where there is one row, of the last dimension that has
    several."""
    return view[-2] or next((extent for extent in reversed(value.type.shape) if extent > 1), 1)


def rows_shape(value: Value) -> MapShape:
    """A tensor of rows, [M, C, 1, 1], as one map of M rows."""
    return MapShape(1, value.type.shape[0], 1, value.type.shape[1])


def views_of(op: Op[Attention]) -> dict[str, tuple[Value, tuple[int, ...]]]:
    """Queries, keys, values if there are any, result, and the mask if there is one, each with its view."""
    operator, (q, k, v, mask) = op.operator, op.operands
    found = {"q": (q, operator.q_view), "k": (k, operator.k_view)}
    found |= {"v": (v, operator.v_view)} if v is not None else {}
    found["y"] = op.result, operator.y_view
    return found | ({"mask": (mask, operator.mask_view)} if mask is not None else {})


def is_clamped(op: Op[Attention], value: Value) -> bool:
    """Whether some of the queries or keys of shares may be below 0, and count as 0 then."""
    return op.operator.shares and parameters(value.type)[1] > limits(value.type)[0]


def heads(op: Op[Attention]) -> Iterator[Head]:
    """One for each product, of an op on rows."""
    views = views_of(op)
    for index in np.ndindex(*op.operator.batch):
        yield Head(
            **{
                name: Corner(*divmod(view[0] + int(np.dot(index, view[1:-2]) if index else 0), value.type.shape[1]))
                for name, (value, view) in views.items()
            }
        )


def unfit(op: Op[Attention]) -> tuple[Value, str] | None:
    """An operand of which a head is no block of channels of rows that follow each other, and what it is."""
    operator = op.operator
    sizes = {"q": operator.width, "k": operator.width, "v": operator.depth, "y": operator.depth}
    for name, (value, view) in views_of(op).items():
        count = operator.keys if name == "mask" else sizes[name]
        rows = operator.keys if name in "kv" else operator.rows
        if value.type.rank != 4 or value.type.shape[2:] != (1, 1):
            return value, f"{list(value.type.shape)}"
        repeats = name == "mask" and view[-2] == 0
        if (count > 1 and view[-1] != 1) or (rows > 1 and view[-2] != value.type.shape[1] and not repeats):
            return value, f"strides {view[-2]} and {view[-1]} in rows of {value.type.shape[1]}"
        corners = [getattr(head, name) for head in heads(op)]
        if name == "mask":
            ends = value.type.shape[1], *(corner.channel + in_whole_blocks(count) for corner in corners)
            is_whole = max(ends) == ends[0] and not any(corner.channel % CHANNEL_BLOCK for corner in corners)
            if not is_whole and ({corner.channel for corner in corners} != {0} or ends[0] != count):
                return value, f"{value.type.shape[1]} elements in a row"
        elif count % CHANNEL_BLOCK or any(corner.channel % CHANNEL_BLOCK for corner in corners):
            return value, f"heads of {count} channels"
        elif any(corner.channel + count > value.type.shape[1] for corner in corners):
            return value, "heads across the ends of rows"
    return None
