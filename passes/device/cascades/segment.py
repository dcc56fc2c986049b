"""A run of units as a cascade: the tiles of its ops, the stripes they make, and the rings that hold its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from ....ir.core import Value
from ....ir.feature_map import map_shape
from ..kept.kept_maps import root_of
from ..tiling.tile_search import Tile
from ..tiling.tile_searches import maps_of_pair
from .stripes import RowAccess, Stripe, interleaved, ring_rows
from .units import Reads, Unit


def rows_limits(units: Sequence[Unit], height: int) -> list[int]:
    """The most rows of a tile of each unit of a cascade whose last one makes so many rows at once."""
    wanted: dict[Value, int] = {}
    limits = [height] * len(units)
    for index in reversed(range(len(units))):
        unit = units[index]
        limits[index] = limit = min(wanted.get(unit.made, height), unit.height)
        for value in maps_of_pair(unit.op)[:-1]:
            rows = max(1, round(limit * map_shape(value.type).height / unit.height))
            wanted[value] = max(wanted.get(value, 1), rows)
    return limits


class _Touched(NamedTuple):
    """What a stripe touches of a map that lies in no other one.

    Attributes:
        channels: of that, from the first to one past the last.
    """

    root: Value
    rows: RowAccess
    channels: tuple[int, int]
    is_written: bool

    def conflicts(self, other: _Touched) -> bool:
        """Whether an access to the same map has to stay before or behind this one."""
        meets = self.rows.first < other.rows.stop and other.rows.first < self.rows.stop
        meets = meets and self.channels[0] < other.channels[1] and other.channels[0] < self.channels[1]
        return meets and (self.is_written or other.is_written)


class _Place(NamedTuple):
    """Where a map lies, see :class:`_Touched`."""

    root: Value
    channels: tuple[int, int]

    @staticmethod
    def of(value: Value, kept: AbstractSet[Value]) -> _Place:
        inside = root_of(value, kept)
        return _Place(inside.whole, (inside.channel, inside.channel + map_shape(value.type).padded_channels))

    def touched(self, rows: RowAccess, is_written: bool) -> _Touched:
        return _Touched(self.root, rows, self.channels, is_written)


def rings_of(
    units: Sequence[Unit], tiles: Sequence[Tile], reads: Reads, kept: AbstractSet[Value], rolled: AbstractSet[Value]
) -> dict[Value, int]:
    """The rows of the ring of each map that lies in no other one.

    Args:
        kept: maps that stay on chip, these among them.
        rolled: maps that only these units touch.
    """
    made = {unit.made for unit in units}
    places = {value: _Place.of(value, kept if value in kept else made - kept) for value in made}
    rolling = {places[value].root for value in rolled}
    stripes: list[Stripe] = []
    touched: list[list[_Touched]] = []
    before: dict[Value, list[tuple[int, _Touched]]] = {}
    for layer, (unit, tile) in enumerate(zip(units, tiles, strict=True)):
        start = len(stripes)
        for rows, needed in reads.stripes(unit, tile.rows, kept):
            found = [
                places[each.value].touched(RowAccess(each.rows[0], sum(each.rows), each.goes_round), False)
                for each in needed
                if each.value in places
            ]
            if unit.made in places:
                found.append(places[unit.made].touched(RowAccess(rows[0], sum(rows), False), True))
            needs = {number for each in found for number, other in before.get(each.root, ()) if each.conflicts(other)}
            stripes.append(Stripe(layer, tuple(sorted(needs))))
            touched.append(found)
        for number in range(start, len(stripes)):
            for each in touched[number]:
                before.setdefault(each.root, []).append((number, each))
    accesses: dict[Value, list[RowAccess]] = {}
    for number in interleaved(stripes):
        for each in touched[number]:
            accesses.setdefault(each.root, []).append(each.rows)
    return {root: ring_rows(accesses[root], map_shape(root.type).height) for root in rolling if root in accesses}


def ring_bytes(rings: Mapping[Value, int]) -> int:
    """Of the maps scratchpad, what these rings take."""
    shapes = {root: map_shape(root.type) for root in rings}
    return sum(rows * shapes[root].width * shapes[root].padded_channels for root, rows in rings.items())
