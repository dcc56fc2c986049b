"""Maps that stay on chip from the op that makes them to their last use: where they lie, and who holds which rows.

A cluster holds the rows that it makes and those that its part of each user reads. Rows that another cluster makes are
moved to it as soon as they are made; a cluster that makes only some channels moves those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ....ir.annotations import KEPT
from ....ir.core import Function, Op, Value
from ....ir.feature_map import map_shape
from ..boxes import Span
from ..fused_pairs import fused_convolution
from .chip_places import Inside, copied, inside_of, rows_made, rows_read


@dataclass(frozen=True)
class Holding:
    """What each cluster holds of a map that lies in no other one.

    Attributes:
        rows: for each the first row and how many, counted through the images; None for one that holds nothing.
        first, last: steps of the function from which on and to which it is on chip, both included.
    """

    rows: tuple[Span | None, ...]
    first: int
    last: int

    def bytes(self, root: Value) -> int:
        """Of the cluster that holds most."""
        shape = map_shape(root.type)
        return max(span[1] for span in self.rows if span is not None) * shape.width * shape.padded_channels


def kept_values(function: Function) -> frozenset[Value]:
    """The maps of a function that stay on chip."""
    return frozenset(op.result for op in function.ops if KEPT.get(op))


def root_of(value: Value, kept: AbstractSet[Value]) -> Inside:
    """Where a kept map lies in one that lies in no other one, possibly itself."""
    row = column = channel = 0
    while (inside := inside_of(value)) is not None and inside.whole in kept:
        value = inside.whole
        row, column, channel = row + inside.row, column + inside.column, channel + inside.channel
    return Inside(value, row, column, channel)


class _Touched:
    """What has been touched so far of a map, on each cluster from the first row to the last one."""

    def __init__(self, clusters: int, step: int) -> None:
        self.rows: list[Span | None] = [None] * clusters
        self.first = self.last = step

    def add(self, rows: Iterable[tuple[int, Span]], distance: int) -> None:
        for cluster, (first, count) in rows:
            first += distance
            before = self.rows[cluster] or (first, count)
            low = min(before[0], first)
            self.rows[cluster] = low, max(sum(before), first + count) - low


def holdings(ops: Sequence[Op], clusters: int, kept: AbstractSet[Value]) -> dict[Value, Holding]:
    """What each of so many clusters holds of every map on chip that lies in no other one.

    Args:
        ops: of a function, tiled and split.
    """
    found: dict[Value, _Touched] = {}
    for step, op in enumerate(ops):
        moved = copied(op, kept)
        # Its tiles are there from those of a convolution on that it is fused with.
        begin = step - 1 if fused_convolution(op) is not None else step
        touched = [(value, rows_read(op, value) if value in moved else ()) for value in dict.fromkeys(op.inputs)]
        touched.append((op.result, rows_made(op) if moved else ()))
        for value, rows in touched:
            if value in kept:
                root = root_of(value, kept)
                whole = found.setdefault(root.whole, _Touched(clusters, begin))
                whole.last = step
                whole.add(rows, root.row)
    return {root: Holding(tuple(each.rows), each.first, each.last) for root, each in found.items()}
