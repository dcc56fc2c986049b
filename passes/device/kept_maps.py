"""Maps that stay on chip from the op that makes them to their last use: which rows of them each cluster holds.

A cluster holds the rows that it makes and those that its part of each user reads. Rows that another cluster makes are
moved to it as soon as they are made; a cluster that makes only some channels moves those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.annotations import KEPT
from ...ir.core import Op, Value, is_op
from ...ir.feature_map import convolution_maps, is_depthwise, map_shape, window_of
from ...ir.ops.convolution import Conv
from ...ir.ops.movement import Concat, DepthToSpace, Slice
from ...ir.ops.resize import Resize
from ...ir.ops.shape import Reshape
from ...ir.resampling import nearest_indices
from ..placement.device_support.maps import is_weight
from .boxes import Span, lanes_of, rows_through
from .fused_pairs import fused_convolution, fused_user


@dataclass(frozen=True)
class Holding:
    """What each cluster holds of a map: for each the first row and how many; None for one that holds nothing."""

    rows: tuple[Span | None, ...]

    def bytes(self, value: Value) -> int:
        """Of the cluster that holds most."""
        shape = map_shape(value.type)
        return max(span[1] for span in self.rows if span is not None) * shape.width * shape.padded_channels


def is_kept(value: Value) -> bool:
    """Whether a map stays on chip."""
    return value.producer is not None and bool(KEPT.get(value.producer))


def can_be_kept(value: Value) -> bool:
    """Whether every op that makes or reads a map can do so where it stays on chip."""
    if value.producer is None or value.is_returned or map_shape(value.type).images > 1 or not value.uses:
        return False
    if fused_user(value.producer) is not None:
        return False
    return all(_works_on_chip(op, value) for op in (value.producer, *_users(value)))


def _users(value: Value) -> list[Op]:
    return [user for user, _ in value.uses if isinstance(user, Op)]


def _works_on_chip(op: Op, value: Value) -> bool:
    if isinstance(op.operator, (Concat, DepthToSpace, Slice, Reshape)):
        return False
    if any(each is value and is_weight(op, index) for index, each in enumerate(op.operands)):
        return False
    op = fused_convolution(op) or op
    if not is_op(op, Conv):
        return True
    in_groups = op.operator.group > 1 and not is_depthwise(op)
    return not in_groups and convolution_maps(op) == (map_shape(op.inputs[0].type), map_shape(op.result.type))


def holding(value: Value, clusters: int) -> Holding:
    """What each of so many clusters holds of a map whose producer and users are tiled and split."""
    assert value.producer is not None
    rows: list[list[Span]] = [[] for _ in range(clusters)]
    for lane in lanes_of(value.producer, map_shape(value.type)):
        rows[lane.cluster].append(lane.rows)
    for user in _users(value):
        for lane in lanes_of(user, map_shape(user.result.type)):
            rows[lane.cluster].append(_rows_read(user, value, lane.rows))
    return Holding(tuple(_union(spans) for spans in rows))


def _rows_read(op: Op, value: Value, outputs: Span) -> Span:
    """The rows of an operand that rows of the result need."""
    extent = map_shape(value.type).height
    if is_op(op, Resize):
        indices: np.ndarray = nearest_indices(op)[0][outputs[0] : sum(outputs)]
        return int(indices[0]), int(indices[-1] - indices[0]) + 1
    window = window_of(op)
    if window.taps == 1 and extent != map_shape(op.result.type).height and window.stride == (1, 1):
        return 0, extent  # one row, which is repeated
    return rows_through(window, outputs, extent)


def _union(spans: Sequence[Span]) -> Span | None:
    """From the first row of all to the last."""
    if not spans:
        return None
    first = min(first for first, _ in spans)
    return first, max(sum(span) for span in spans) - first


def choose_kept(ops: Sequence[Op], clusters: int, room: int) -> tuple[frozenset[Value], np.ndarray]:
    """The maps of a function to keep on chip, first come first served, annotated as such.

    Args:
        ops: tiled and split.
        room: bytes that kept maps may take of the maps scratchpad of a cluster.

    Returns:
        The maps, and the bytes that they take while each op runs: int64 [ops].
    """
    steps = {op: step for step, op in enumerate(ops)}
    taken = np.zeros(len(ops), np.int64)
    kept: set[Value] = set()
    for op in ops:
        value = op.result
        if not can_be_kept(value):
            continue
        size = holding(value, clusters).bytes(value)
        # Its tiles are there from those of a convolution on that it is fused with.
        span = slice(steps[fused_convolution(op) or op], max(steps[user] for user in _users(value)) + 1)
        if int(taken[span].max()) + size <= room:
            taken[span] += size
            kept.add(value)
            KEPT.set(op, True)
    return frozenset(kept), taken
