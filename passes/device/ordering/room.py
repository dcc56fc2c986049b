"""Room on chip while an order is made: where a place goes, since when it is free, and what has to be left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ....ir.tile.types import EVERY_CLUSTER, Memory
from ..planning.scratchpads import RoundRobin
from .program import Place, Steps

_GRAINS = 1 << 12
"""Pieces of a scratchpad that are told apart as to when they were free."""


class Room:
    """The scratchpads while an order is made.

    Places get the addresses that :mod:`..planning.plan_scratchpads` will give them. What the program as it is written
    needs from its oldest step on that is still to come is reserved: whatever went before its turn, that one finds as
    many bytes as it needs, if not in one piece.

    Args:
        share: of a scratchpad that may be taken by steps before their turn.
    """

    def __init__(self, program: Steps, share: float) -> None:
        self._clusters = range(program.clusters)
        self._rooms = {memory: RoundRobin(size) for memory, size in program.sizes.items()}
        self._limit = {memory: size * share for memory, size in program.sizes.items()}
        self._grain = {memory: -(-size // _GRAINS) for memory, size in program.sizes.items()}
        self._free = {memory: np.zeros((program.clusters, _GRAINS + 1)) for memory in program.sizes}
        count = len(program.steps)
        self._live = {memory: np.zeros((program.clusters, count + 1), np.int64) for memory in program.sizes}
        for place in program.places:
            live = self._live[place.memory]
            live[self._rows(place), place.first] += place.size
            live[self._rows(place), place.last + 1] -= place.size
        for live in self._live.values():
            np.cumsum(live, axis=1, out=live)
        self._oldest = 0
        self._addresses: dict[Place, int] = {}

    def _rows(self, place: Place) -> slice:
        return slice(None) if place.cluster == EVERY_CLUSTER else slice(place.cluster, place.cluster + 1)

    def _grains(self, place: Place, address: int) -> slice:
        """Those of a place, without one that it shares with a neighbour."""
        grain = self._grain[place.memory]
        first = -(-address // grain)
        return slice(first, max(first + 1, (address + place.size) // grain))

    def is_open(self, place: Place) -> bool:
        return place in self._addresses

    def allows(self, places: Sequence[Place]) -> bool:
        """Whether these places may be opened while the oldest step is yet to come."""
        first = max(place.first for place in places)
        if first <= self._oldest:
            return True
        sizes: dict[tuple[Memory, int], int] = {}
        for place in places:
            key = place.memory, place.cluster
            sizes[key] = sizes.get(key, 0) + place.size
        for (memory, cluster), size in sizes.items():
            live = self._live[memory] if cluster == EVERY_CLUSTER else self._live[memory][cluster]
            if live[..., self._oldest : first].max() + size > self._limit[memory]:
                return False
        return True

    def open(self, place: Place) -> float | None:
        """Give a place an address; since when that is free, ``None`` if there is none."""
        room = self._rooms[place.memory]
        address = room.find(place.cluster, place.size)
        if address is None:
            return None
        room.take(place.cluster, address, place.size)
        self._addresses[place] = address
        return float(self._free[place.memory][self._rows(place), self._grains(place, address)].max())

    def undo(self, places: Iterable[Place], positions: dict[Memory, dict[int, int]]) -> None:
        """As if the places had not been opened."""
        for place in places:
            self._rooms[place.memory].release(place.cluster, self._addresses.pop(place), place.size)
        for memory, position in positions.items():
            self._rooms[memory].position = position

    def positions(self, places: Iterable[Place]) -> dict[Memory, dict[int, int]]:
        """Where the scratchpads of these places go on."""
        return {place.memory: dict(self._rooms[place.memory].position) for place in places}

    def reserve(self, place: Place) -> None:
        """Count a place that is open before its turn."""
        if place.first > self._oldest:
            self._live[place.memory][self._rows(place), self._oldest : place.first] += place.size

    def close(self, place: Place, time: float) -> None:
        """Take back a place at that time."""
        address = self._addresses[place]
        self._rooms[place.memory].release(place.cluster, address, place.size)
        self._free[place.memory][self._rows(place), self._grains(place, address)] = time
        if place.last >= self._oldest:
            self._live[place.memory][self._rows(place), self._oldest : place.last + 1] -= place.size

    def advance(self, oldest: int) -> None:
        """The oldest step that is to come."""
        self._oldest = oldest
