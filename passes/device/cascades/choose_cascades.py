"""Which runs of ops are computed in turn, by price: those that save most, one after the other."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tilewright.immutable import Immutable

from ....ir.core import Op, Value
from ....ir.feature_map import map_shape
from ....runtime.machines.machine import LINE_BYTES, Machine
from ..kept.chip_places import inside_of, obstacle
from ..kept.choose_kept import LEAST_ROOM, Chosen, KeptMaps
from ..kept.kept_maps import holdings, root_of
from ..tiling.candidates import Misfit, Tile
from ..tiling.tile_searches import Constants, constants_held
from .segment import Reads, Unit, obstacle_to_stripes, ring_bytes, rings_of, rows_limits, units_of

_MOST_UNITS = 24
"""Of a cascade: how far a run of ops is followed."""

_HEIGHTS = (1, 2, 3, 4, 6, 8, 12, 16, 28)
"""Rows that the last op of a cascade makes at once, at most, of those that are tried."""

_TILES = 4
"""Part of the free maps scratchpad, one over this, that is left to tiles of maps in DRAM."""

_ROOM = 0.9
"""Of the other scratchpads, what constants may take that stay there: the rest is for pieces between them."""


class Cascade(Immutable):
    """Consecutive ops that are computed in turn.

    Attributes:
        units: first and one past the last.
        tiles: of each.
        rolled: the maps that stay on chip in rings; those that would stay there whole have theirs as well where
            nothing else touches them.
        rings: rows of the ring of each of these that lies in no other one.
        saved: cycles that this counts less than the ops one after the other.
    """

    units: tuple[int, int]
    tiles: tuple[Tile, ...]
    rolled: frozenset[Value]
    rings: dict[Value, int]
    saved: float


class Cascades:
    """The choice for a function whose kept maps are chosen.
    ``units``: of the function, in order.
    ``found``: cascades that do not overlap, in the order of their ops."""

    def __init__(self, ops: Sequence[Op], machine: Machine, maps: KeptMaps, chosen: Chosen) -> None:
        self.units = units_of(ops)
        self._machine, self._maps, self._chosen = machine, maps, chosen
        self._index = {op: index for index, unit in enumerate(self.units) for op in ops[slice(*unit.steps)]}
        self._apart = [obstacle_to_stripes(unit) for unit in self.units]
        # The last unit that touches what each makes.
        self._last = [max((self._index[op] for op in unit.made.users), default=0) for unit in self.units]
        self._reads = Reads()
        # Of units, by those of their maps that stay on chip, the room and the rows that a tile may have.
        self._tiles: dict[tuple[Unit, frozenset[Value], int, int], tuple[float, Tile, Constants] | Misfit] = {}
        self._alone = [self._cost_alone(unit) for unit in self.units]
        held = holdings(ops, 1, chosen.kept).items()
        self._kept = [(each.first, each.last, each.bytes(root)) for root, each in held]
        self._roots = {value: root_of(value, chosen.kept).whole for value in chosen.kept}
        inside = (inside_of(value) for value in chosen.kept)
        holding = {each.whole for each in inside if each is not None}
        self._free = {op.result for op in ops if op.result not in chosen.kept | holding and obstacle(op.result) is None}
        self.found = self._choose()

    @property
    def saved(self) -> float:
        """What all of them count less than their ops one after the other."""
        return sum(each.saved for each in self.found)

    def _choose(self) -> list[Cascade]:
        """Those that save most together."""
        ending: dict[int, list[Cascade]] = {}
        for first in range(len(self.units)):
            for each in self._from(first):
                ending.setdefault(each.units[1], []).append(each)
        # What the units before each one save at most, and with which last cascade.
        best: list[tuple[float, Cascade | None]] = [(0.0, None)]
        for stop in range(1, len(self.units) + 1):
            options = [(best[each.units[0]][0] + each.saved, each) for each in ending.get(stop, ())]
            best.append(max([(best[-1][0], None), *options], key=lambda each: each[0]))
        found: list[Cascade] = []
        stop = len(self.units)
        while stop:
            last = best[stop][1]
            if last is not None:
                found.append(last)
            stop = last.units[0] if last is not None else stop - 1
        return found[::-1]

    def _from(self, first: int) -> Iterator[Cascade]:
        """The cascades that begin with a unit, the one that saves most of each length."""
        if self.units[first].made not in self._free:
            return
        before: frozenset[Value] = frozenset()
        for stop in range(first + 1, min(first + _MOST_UNITS, len(self.units)) + 1):
            if self._apart[stop - 1] is not None:
                return
            rolled = self._rolled(first, stop)
            if not rolled and stop > first + 2:
                return
            if not rolled or rolled == before:
                continue
            before = rolled
            heights = [height for height in _HEIGHTS if height == 1 or 2 * height <= self.units[stop - 1].height]
            tiled = (self._tiled(first, stop, height, rolled) for height in heights)
            options = dict(each for each in tiled if not isinstance(each, str))
            for tiles in sorted(options, key=lambda tiles: -options[tiles]):
                found = self._cascade(first, stop, tiles, options[tiles], rolled)
                if not isinstance(found, str):
                    yield found
                    break

    def why_not(self, value: Value) -> str | None:
        """Why a map is in no cascade, in words that follow "in a cascade"; ``None`` if it is, or could stay nowhere."""
        if value not in self._free or any(value in each.rolled for each in self.found):
            return None
        touching = [self._index[op] for op in (value.producer, *value.users) if op is not None]
        first, stop = min(touching), max(touching) + 1
        for index in range(first, stop):
            if self._apart[index] is not None:
                return f"%{self.units[index].made.name} {self._apart[index]}"
        if stop - first > _MOST_UNITS:
            return f"it would be needed during {stop - first} ops, more than {_MOST_UNITS}"
        rolled = self._rolled(first, stop)
        tiled = self._tiled(first, stop, 1, rolled)
        found = tiled if isinstance(tiled, str) else self._cascade(first, stop, *tiled, rolled)
        return found if isinstance(found, str) else "others save more"

    def _inner(self, first: int, stop: int) -> set[Value]:
        """The maps that only these units touch."""
        return {self.units[index].made for index in range(first, stop) if self._last[index] < stop}

    def _rolled(self, first: int, stop: int) -> frozenset[Value]:
        """Of the maps that only these units touch, those that lie in rings because of them."""
        inside = {value: inside_of(value) for value in self._inner(first, stop) & self._free}
        return frozenset(v for v, each in inside.items() if each is None or each.whole not in self._chosen.kept)

    def _inner_kept(self, first: int, stop: int) -> frozenset[Value]:
        """The kept maps that only these units touch, and what lies in the same ones."""
        inner = self._inner(first, stop)
        shared = {root for value, root in self._roots.items() if value not in inner}
        return frozenset(value for value, root in self._roots.items() if root not in shared)

    def _cost_alone(self, unit: Unit) -> float:
        beside = self._chosen.taken[unit.steps[0]]
        found = self._maps.cost_of(unit.op, self._chosen.kept, lambda search: self._maps.priced(search, beside))
        return np.inf if isinstance(found, Misfit) else found[0]

    def _tiled(
        self, first: int, stop: int, height: int, rolled: frozenset[Value]
    ) -> tuple[tuple[Tile, ...], float] | str:
        """The tiles of these units if the last one makes so many rows at once, and what that saves, or why they do not
        run in turn."""
        units, machine = self.units[first:stop], self._machine
        kept = self._chosen.kept | rolled
        room = self._room_for_tiles(units)
        if room < LEAST_ROOM:
            return f"{self._room(units)} bytes of the maps scratchpad are too few for rings and tiles"
        tiles: list[Tile] = []
        saved, weights, parameters = sum(self._alone[first:stop]), 0, 0
        for each, rows in zip(units, rows_limits(units, height), strict=True):
            found = self._priced(each, kept, room, rows)
            if isinstance(found, Misfit):
                return f"no tile of %{each.made.name} fits the {found.memory} scratchpad"
            cost, tile, held = found
            saved -= cost
            weights, parameters = weights + held.weights, parameters + held.parameters
            tiles.append(tile)
        span = f"%{units[0].made.name} to %{units[-1].made.name}"
        for memory, needed, size in (
            ("weights", weights, machine.weight_bytes),
            ("parameters", parameters, machine.parameter_bytes),
        ):
            if needed > _ROOM * size:
                return f"{span} hold {needed} bytes of {memory} at once, more than {_ROOM:.0%} of {size}"
        return (tuple(tiles), saved) if saved > 0 else f"{span} cost more"

    def _cascade(
        self, first: int, stop: int, tiles: tuple[Tile, ...], saved: float, rolled: frozenset[Value]
    ) -> Cascade | str:
        """With these tiles, or why the rings have no room beside them."""
        units = self.units[first:stop]
        inner = rolled | self._inner_kept(first, stop)
        rings = rings_of(units, tiles, self._reads, self._chosen.kept | rolled, inner)
        # The others have their room, all rows of it.
        needed = ring_bytes({root: rows for root, rows in rings.items() if root in rolled})
        room = self._room(units) - self._room_for_tiles(units)
        if needed > room:
            return f"the rings of %{units[0].made.name} to %{units[-1].made.name} need {needed} bytes of {room}"
        return Cascade((first, stop), tiles, inner, rings, saved)

    def _room(self, units: Sequence[Unit]) -> int:
        """Bytes of the maps scratchpad that whole maps leave to these units."""
        # Those that are on chip at any of the steps of a cascade are there at all of them.
        first, stop = units[0].steps[0], units[-1].steps[1]
        kept = sum(size for begin, end, size in self._kept if begin < stop and end >= first)
        return self._machine.maps_bytes - kept

    def _room_for_tiles(self, units: Sequence[Unit]) -> int:
        """Bytes of these that are for tiles of maps in DRAM."""
        line = self._machine.maps_banks * LINE_BYTES
        return self._room(units) // _TILES // line * line

    def _priced(
        self, unit: Unit, kept: frozenset[Value], room: int, rows: int
    ) -> tuple[float, Tile, Constants] | Misfit:
        """The cheapest tile of a unit of so many rows at most, what it counts, and what it holds of scratchpads."""
        key = unit, kept.intersection(unit.maps), room, rows
        if key not in self._tiles:
            found = self._maps.cost_of(unit.op, kept, lambda search: search.cheapest(room, rows))
            held = found if isinstance(found, Misfit) else (*found, constants_held(unit.op, found[1]))
            self._tiles[key] = held
        return self._tiles[key]


class Ring(NamedTuple):
    """Where a map lies that stays on chip in a ring.
    ``rows``: of the ring.
    ``inside``: name of the map in which it lies; empty where it lies in no other one.
    ``is_whole``: whether it has room for all rows."""

    rows: int
    inside: str
    is_whole: bool


def ring_of(value: Value, cascades: Sequence[Cascade]) -> Ring | None:
    """The ring in which a map lies, ``None`` if it lies in none."""
    for each in cascades:
        if value in each.rolled:
            root = root_of(value, each.rolled).whole
            rows = each.rings.get(root, map_shape(root.type).height)
            return Ring(rows, root.name if root is not value else "", rows == map_shape(root.type).height)
    return None
