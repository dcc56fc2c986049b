"""Units of a cascade, and a run of them as one: the tiles of its ops, their stripes, and the rings of its maps.

Stripes are computed of each op the next one when those behind it need it; a ring then needs room for as many rows that
none is written over that is still to be read.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from ....ir.annotations import CASCADE
from ....ir.core import Op, Value, is_op
from ....ir.feature_map import (
    computed_map,
    convolution_maps,
    exchanges,
    is_of_images,
    is_product,
    is_view,
    map_shape,
    window_of,
)
from ....ir.ops.convolution import Conv
from ....ir.ops.indexing import Gather
from ....ir.ops.movement import Concat, DepthToSpace, Slice
from ....ir.ops.pooling import AveragePool, GlobalPool, MaxPool
from ..boxes import Span, pieces, rows_through
from ..fused_pairs import fused_convolution, fused_user, made_by, residual_of, with_fused
from ..kept.chip_places import begins_of, copied, rows_below
from ..kept.kept_maps import root_of
from ..tiling.candidates import Tile
from ..tiling.tile_searches import maps_of_pair


def cascade_of(op: Op) -> int | None:
    """Number of the cascade that an op of a device function belongs to, ``None`` if it runs alone."""
    place = CASCADE.get(fused_convolution(op) or op)
    return place[0] if place is not None else None


class Stripe(NamedTuple):
    """Rows of the result of an op.
    ``layer``: number of the op.
    ``needs``: numbers of the stripes of ops with lower numbers that it has to follow."""

    layer: int
    needs: tuple[int, ...]


def interleaved(stripes: Sequence[Stripe]) -> list[int]:
    """The numbers of stripes in the order in which they are computed.

    The stripes of the last op come one by one, and each of another op as late as the one behind it allows: one stripe
    of that ahead, so that the array has other work while the vector unit finishes what it made.
    ``stripes``: op by op, of each from the top down."""
    first: dict[int, int] = {}
    for number, stripe in enumerate(stripes):
        first.setdefault(stripe.layer, number)
    upcoming = dict(first)
    order: list[int] = []

    def advance(layer: int, last: int) -> None:
        while upcoming[layer] <= last:
            number = upcoming[layer]
            ahead = stripes[number : number + 2]
            for stripe in ahead:
                if stripe.layer == layer:
                    for each in stripe.needs:
                        advance(stripes[each].layer, each)
            order.append(number)
            upcoming[layer] += 1

    last = {stripe.layer: number for number, stripe in enumerate(stripes)}
    for layer in sorted(last, key=lambda layer: (layer != max(last), layer)):
        advance(layer, last[layer])
    return order


class RowAccess(NamedTuple):
    """Rows of a map that are read or written at once.
    ``first``, ``stop``: the rows, from the first to one past the last.
    ``goes_round``: whether they may lie around the end of a ring."""

    first: int
    stop: int
    goes_round: bool


@lru_cache(1 << 10)
def ring_rows(accesses: tuple[RowAccess, ...], rows: int) -> int:
    """The rows of the shortest ring in which a map can be accessed like that, one after the other.

    A row is needed from the first access to it to the last one. Two rows that are needed at the same time have to be
    less than the ring apart.
    ``rows``: of the map, which is what is needed where no ring is shorter."""
    begin = np.full(rows, len(accesses), np.int64)
    end = np.full(rows, -1, np.int64)
    for step, (first, stop, _) in enumerate(accesses):
        span = slice(first, stop)
        begin[span] = np.minimum(begin[span], step)
        end[span] = step
    together = (begin[:, None] <= end[None, :]) & (begin[None, :] <= end[:, None])
    upper, lower = np.nonzero(np.triu(together))
    least = int((lower - upper).max(initial=0)) + 1
    straight = np.array([(first, stop - 1) for first, stop, goes_round in accesses if not goes_round])
    for ring in range(least, rows):
        if not len(straight) or (straight[:, 0] // ring == straight[:, 1] // ring).all():
            return ring
    return rows


@dataclass(frozen=True, eq=False)
class Unit:
    """An op, with the one that is fused with it.

    Attributes:
        op: the convolution of a pair.
        steps: of the function, from the first to one past the last.
        made: the map that is left.
        height: rows of the result.
        maps: that it touches, that one last.
    """

    op: Op
    steps: tuple[int, int]
    made: Value
    height: int
    maps: tuple[Value, ...]


def units_of(ops: Sequence[Op]) -> list[Unit]:
    """The ops of a function as units, in their order."""
    units: list[Unit] = []
    for step, op in enumerate(ops):
        if fused_convolution(op) is None:
            height = computed_map(op).height
            units.append(Unit(op, (step, step + len(with_fused(op))), made_by(op), height, tuple(maps_of_pair(op))))
    return units


def obstacle_to_stripes(unit: Unit) -> str | None:
    """Why an op cannot be computed in stripes together with others, in words that follow its name."""
    for value in unit.maps:
        if map_shape(value.type).images > 1:
            return "has several images"
    if is_op(unit.op, DepthToSpace, Slice) or (is_op(unit.op, Concat) and begins_of(unit.op)[-1].row):
        return "takes rows apart"
    if is_of_images(unit.op):
        return "normalises all rows together"
    if exchanges(unit.op) or (is_view(unit.op) and map_shape(unit.op.inputs[0].type) != map_shape(unit.made.type)):
        return "makes other rows"
    return None


class Reads:
    """What the units of a function read of maps, for rows of their results."""

    def __init__(self) -> None:
        self._stripes: dict[tuple[Unit, int, tuple[Value, ...]], list[tuple[Value, tuple[RowAccess, ...]]]] = {}

    def stripes(self, unit: Unit, rows: int, kept: AbstractSet[Value]) -> list[tuple[Value, tuple[RowAccess, ...]]]:
        """The result in stripes of so many rows, which comes last, behind what each stripe reads of every map, given
        which stay on chip; nothing for an op that only gives maps other names."""
        operands = tuple(dict.fromkeys(copied(unit.op, kept)))
        if not operands:
            return []
        key = unit, rows, operands
        if key not in self._stripes:
            spans = pieces(unit.height, rows)
            read = zip(*(_reads(unit, span, operands) for span in spans), strict=True)
            found = [(each[0][0], tuple(rows for _, rows in each)) for each in read]
            made = tuple(RowAccess(first, first + count, False) for first, count in spans)
            self._stripes[key] = [*found, (unit.made, made)]
        return self._stripes[key]


def _reads(unit: Unit, rows: Span, operands: Sequence[Value]) -> Iterator[tuple[Value, RowAccess]]:
    for value, (first, count), goes_round in _rows_read(unit, rows, operands):
        yield value, RowAccess(first, first + count, goes_round)


def _rows_read(unit: Unit, rows: Span, operands: Sequence[Value]) -> Iterator[tuple[Value, Span, bool]]:
    op, user, window = unit.op, fused_user(unit.op), window_of(unit.op)
    # Windows find rows around the end of a ring, unless they begin above the map.
    goes_round = (
        is_op(op, Conv, Gather, MaxPool, AveragePool, GlobalPool) and rows[0] * window.stride[0] >= window.begin[0]
    )
    for value in operands:
        shape = map_shape(value.type)
        if is_product(op):
            if value is residual_of(op):
                yield value, rows, False
            if value is op.inputs[0]:
                yield value, rows_through(window, rows, convolution_maps(op)[0].height), goes_round
        elif is_op(op, Concat) or is_view(op):
            yield value, rows, False
        else:
            yield value, rows_below(op, shape, rows), goes_round
    if user is not None:
        for value in user.inputs:
            if value is not op.result:
                alike = map_shape(value.type).height == map_shape(user.result.type).height
                yield value, rows if alike else (0, 1), False


def rows_limits(units: Sequence[Unit], height: int) -> list[int]:
    """The most rows of a tile of each unit of a cascade whose last one makes so many rows at once."""
    wanted: dict[Value, int] = {}
    limits = [height] * len(units)
    for index in reversed(range(len(units))):
        unit = units[index]
        limits[index] = limit = min(wanted.get(unit.made, height), unit.height)
        for value in unit.maps[:-1]:
            rows = max(1, round(limit * map_shape(value.type).height / unit.height))
            wanted[value] = max(wanted.get(value, 1), rows)
    return limits


class _Touched(NamedTuple):
    """What the stripes of an op touch of a map that lies in no other one.
    ``channels``: of that, from the first to one past the last.
    ``start``: number of the first stripe.
    ``rows``: of each stripe, from the top down."""

    root: Value
    channels: tuple[int, int]
    is_written: bool
    start: int
    rows: tuple[RowAccess, ...]

    def conflicts(self, other: "_Touched") -> bool:
        """Whether what meets an access to the same map has to stay before or behind it."""
        meets = self.channels[0] < other.channels[1] and other.channels[0] < self.channels[1]
        return meets and (self.is_written or other.is_written)


@lru_cache(1 << 10)
def _meeting(rows: tuple[RowAccess, ...], others: tuple[RowAccess, ...]) -> tuple[tuple[int, int], ...]:
    """For each of these rows the others that touch any of them, from the first to one past the last."""
    found: list[tuple[int, int]] = []
    for first, stop, _ in rows:
        low = bisect_right(others, first, key=_STOP)
        found.append((low, max(bisect_left(others, stop, key=_FIRST), low)))
    return tuple(found)


_FIRST, _STOP = itemgetter(0), itemgetter(1)


class _Place(NamedTuple):
    """Where a map lies, see :class:`_Touched`."""

    root: Value
    channels: tuple[int, int]

    @staticmethod
    def of(value: Value, kept: AbstractSet[Value]) -> "_Place":
        inside = root_of(value, kept)
        return _Place(inside.whole, (inside.channel, inside.channel + map_shape(value.type).padded_channels))


def rings_of(
    units: Sequence[Unit], tiles: Sequence[Tile], reads: Reads, kept: AbstractSet[Value], rolled: AbstractSet[Value]
) -> dict[Value, int]:
    """The rows of the ring of each map that lies in no other one.
    ``kept``: maps that stay on chip, these among them.
    ``rolled``: maps that only these units touch."""
    made = {unit.made for unit in units}
    places = {value: _Place.of(value, kept if value in kept else made - kept) for value in made}
    rolling = {places[value].root for value in rolled}
    stripes: list[Stripe] = []
    touched: list[list[tuple[Value, RowAccess]]] = []
    before: dict[Value, list[_Touched]] = {}
    for layer, (unit, tile) in enumerate(zip(units, tiles, strict=True)):
        cut, start = reads.stripes(unit, tile.rows, kept), len(stripes)
        found = [_Touched(*places[value], value is unit.made, start, rows) for value, rows in cut if value in places]
        pairs = [
            (other.start, _meeting(each.rows, other.rows))
            for each in found
            for other in before.get(each.root, ())
            if each.conflicts(other)
        ]
        for index in range(len(cut[-1][1]) if cut else 0):
            needs = {begin + number for begin, met in pairs for number in range(*met[index])}
            stripes.append(Stripe(layer, tuple(sorted(needs))))
            touched.append([(each.root, each.rows[index]) for each in found])
        for each in found:
            before.setdefault(each.root, []).append(each)
    accesses: dict[Value, list[RowAccess]] = {}
    for number in interleaved(stripes):
        for root, rows in touched[number]:
            accesses.setdefault(root, []).append(rows)
    return {root: ring_rows(tuple(accesses[root]), map_shape(root.type).height) for root in rolling if root in accesses}


def ring_bytes(rings: Mapping[Value, int]) -> int:
    """Of the maps scratchpad, what these rings take."""
    shapes = {root: map_shape(root.type) for root in rings}
    return sum(rows * shapes[root].width * shapes[root].padded_channels for root, rows in rings.items())
