"""Maps that stay on chip from the op that makes them to their last use: where they lie, and who holds which rows.

A cluster holds the rows that it makes and those that its part of each user reads. Of these, the ones that another
cluster makes are moved to it as soon as they are made; a cluster that makes only some channels moves those, unless all
that read the map have the same channels as it.
"""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from tilewright.immutable import Immutable

from ....ir.annotations import KEPT, SPLIT, MapPlace
from ....ir.core import Function, Op, Value, is_op
from ....ir.feature_map import MOVEMENT, computed_map, is_block_by_block, map_shape
from ....ir.ops.pooling import GlobalPool, Pool
from ....ir.quantized import is_wide
from ....runtime.machines.machine import Machine
from ..boxes import Span, lanes_of
from ..fused_pairs import fused_convolution, fused_user
from .chip_places import Inside, Rows, copied, inside_of, obstacle


class Holding(Immutable):
    """What each cluster holds of a map that lies in no other one.
    ``rows``: for each the first row and how many, counted through the images; None for one that holds nothing.
    ``read``: those that it reads, likewise.
    ``first``, ``last``: steps of the function from which on and to which it is on chip, both included."""

    rows: tuple[Span | None, ...]
    read: tuple[Span | None, ...]
    first: int
    last: int

    def bytes(self, root: Value) -> int:
        """Of the cluster that holds most."""
        shape = map_shape(root.type)
        return max(span[1] for span in self.rows if span is not None) * shape.width * shape.padded_channels


def kept_values(function: Function) -> frozenset[Value]:
    """The maps of a function that stay on chip."""
    return frozenset(op.result for op in function.ops if KEPT.get(op))


def root_of(value: Value, kept: AbstractSet[Value], find: Callable[[Value], Inside | None] = inside_of) -> Inside:
    """Where a kept map lies in one that lies in no other one, possibly itself.
    ``find``: as `inside_of`, of which something may be remembered."""
    row = column = channel = 0
    while (inside := find(value)) is not None and inside.whole in kept:
        value = inside.whole
        row, column, channel = row + inside.row, column + inside.column, channel + inside.channel
    return Inside(value, row, column, channel)


def is_read_where_made(value: Value) -> bool:
    """Whether each cluster reads of a map the channels alone that it makes, so that nothing of it is moved."""
    maker, users = value.producer, [*value.users]
    # Each part of what is put together is shared out by itself.
    if maker is None or is_op(maker, *MOVEMENT) or is_wide(value.type):
        return False
    if not all(SPLIT.get(op) == "channels" for op in (maker, *users)):
        return False
    if not all(is_block_by_block(op) or is_op(op, GlobalPool, Pool) for op in users):
        return False
    lanes = [lanes_of(op, computed_map(op)) for op in (maker, *users)]
    return len({tuple((each.cluster, each.slices[0][0], sum(each.slices[-1])) for each in some) for some in lanes}) == 1


class Touch(NamedTuple):
    """Rows of a map on chip that an op makes or reads.
    ``root``: the map, which lies in no other one.
    ``rows``: for clusters that touch some, counted through the images of the root."""

    root: Value
    rows: tuple[tuple[int, Span], ...]
    is_read: bool


def touches(op: Op, kept: AbstractSet[Value], rows: Rows) -> Iterator[Touch]:
    """What an op, tiled and split, does with maps on chip."""
    touched = [value for value in dict.fromkeys((*op.inputs, op.result)) if value in kept]
    moved = copied(op, kept) if touched else []
    for value in touched:
        is_read, root = value is not op.result, root_of(value, kept, rows.inside)
        is_moved = value in moved if is_read else bool(moved)
        found = rows.of(op, value if is_read else None) if is_moved else ()
        through = tuple([(cluster, (first + root.row, count)) for cluster, (first, count) in found])
        yield Touch(root.whole, through, is_read)


class Touched:
    """What has been touched so far of a map, on each cluster from the first row to the last one."""

    def __init__(self, clusters: int) -> None:
        self.rows: list[Span | None] = [None] * clusters
        self.read: list[Span | None] = [None] * clusters

    def add(self, touch: Touch) -> None:
        """What an op touches as well."""
        for cluster, (first, count) in touch.rows:
            for spans in (self.rows, self.read) if touch.is_read else (self.rows,):
                before = spans[cluster] or (first, count)
                low = min(before[0], first)
                spans[cluster] = low, max(sum(before), first + count) - low

    def holding(self, first: int, last: int) -> Holding:
        """From step to step."""
        return Holding(tuple(self.rows), tuple(self.read), first, last)


def holdings(
    ops: Sequence[Op], clusters: int, kept: AbstractSet[Value], rows: Rows | None = None
) -> dict[Value, Holding]:
    """What each of so many clusters holds of every map on chip that lies in no other one."""
    rows = rows or Rows()
    found: dict[Value, Touched] = {}
    steps: dict[Value, tuple[int, int]] = {}
    for step, op in enumerate(ops):
        if kept.isdisjoint((*op.inputs, op.result)):
            continue
        # Its tiles are there from those of a convolution on that it is fused with.
        begin = step - 1 if fused_convolution(op) is not None else step
        for touch in touches(op, kept, rows):
            found.setdefault(touch.root, Touched(clusters)).add(touch)
            steps[touch.root] = steps.get(touch.root, (begin, step))[0], step
    return {root: each.holding(*steps[root]) for root, each in found.items()}


def explain_kept(
    ops: Sequence[Op], clusters: int, machine: Machine, kept: AbstractSet[Value], taken: Sequence[int]
) -> Iterator[tuple[Op, MapPlace]]:
    """The place of each op's result.
    ``ops``: of a function, tiled and split.
    ``taken``: bytes that these take of the maps scratchpad of a cluster while each op runs."""
    held = holdings(ops, clusters, kept)
    for op in ops:
        value = op.result
        if value in kept:
            root = root_of(value, kept).whole
            rows = tuple(span[1] if span is not None else 0 for span in held[root].rows)
            yield op, MapPlace("chip", rows, root.name if root is not value else "", "")
        else:
            why = obstacle(value) or _no_room(value, ops, clusters, machine, taken)
            yield op, MapPlace("none" if fused_user(op) is not None else "dram", (), "", why)


def _no_room(value: Value, ops: Sequence[Op], clusters: int, machine: Machine, taken: Sequence[int]) -> str:
    """Why a map that could stay on chip does not."""
    holding = holdings(ops, clusters, {value})[value]
    size = holding.bytes(value)
    fullest = max(range(holding.first, holding.last + 1), key=taken.__getitem__)
    free = machine.maps_bytes - taken[fullest]
    if size > free:
        return f"is too large: it needs {size} bytes of a cluster, and {free} are free at %{ops[fullest].result.name}"
    return f"would cost more on chip: it needs {size} of the {free} bytes that are free for tiles"
