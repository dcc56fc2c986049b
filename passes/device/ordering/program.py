"""A tile program as what its order may be chosen from: steps, what they follow, cost and open; and room on chip while
an order is made: where a place goes, since when it is free, and what has to be left.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tilewright.errors import PassError

from ....ir.annotations import LAYER
from ....ir.core import Function, Op, is_op
from ....ir.tile.instructions import LINE, Places, instruction
from ....ir.tile.places import PLACES, cluster_of, clusters_of
from ....ir.tile.transfer import Receive, Send
from ....ir.tile.types import EVERY_CLUSTER, Memory
from ....runtime.isa.assembler import build
from ....runtime.isa.encoding import Queue
from ....runtime.machines.cost import cost, follows_closely, handover
from ....runtime.machines.machine import Machine
from ..planning.scratchpads import RoundRobin, place_bytes, place_type, scratchpads
from .dependencies import Dependencies, accesses

LOADS = (Queue.LD, Queue.LW)


class OpCost(NamedTuple):
    """What an op of a tile program costs, alone.

    Attributes:
        queue: that it is an instruction of.
        setup: cycles that it is set up, while the one before it works.
        unit: cycles that the unit is busy from then on, without waiting for DRAM.
        dram: cycles that the DRAM is busy.
        latency: cycles from then until it is complete.
        closely: whether it starts before the one before it of its unit is complete.
    """

    queue: Queue
    cluster: int
    setup: int
    unit: int
    dram: float
    latency: int
    closely: bool


def op_cost(op: Op, places: Places, machine: Machine) -> OpCost:
    """The cost of an op whose operands and result are noted in ``places``, by the cost function of instructions: of
    addresses, which it does not have yet, only those in DRAM count.
    Raises PassError: the op is none of a tile program."""
    found = instruction(op, places)
    if found is None:
        raise PassError("the op is no instruction", op=op.name, node=op.node)
    name, fields = found
    if name in ("LoadWeights", "LoadParameters"):
        fields |= {"region": 0, "offset": 0, "length": -(-place_bytes(op) // LINE)}
    elif "offset" in fields:
        # What counts of the address is where in a burst it begins.
        fields["offset"] %= machine.dram_burst_bytes
    return _priced(name, cluster_of(op), tuple(fields.items()), machine)


def least_of(costs: Iterable[OpCost]) -> float:
    """Cycles that ops take together at least, modelled: in which the unit that has most to do is busy, or the DRAM."""
    busy: Counter[tuple[int, Queue]] = Counter()
    dram = 0.0
    for each in costs:
        busy[each.cluster, each.queue] += each.unit
        dram += each.dram
    return max([dram, *busy.values()])


@lru_cache(1 << 14)
def _priced(name: str, cluster: int, fields: tuple[tuple[str, Any], ...], machine: Machine) -> OpCost:
    item = build(name, dict(fields))
    price = cost(item, machine)
    return OpCost(
        item.QUEUES[0], cluster, price.setup, price.unit, price.dram(machine), price.latency, follows_closely(item)
    )


@dataclass(eq=False)
class Place:
    """A place on chip.

    Attributes:
        memory, cluster: where; see :class:`tilewright.ir.tile.types.TileType`.
        size: bytes.
        first, last: steps of the program as it is written, from the first that touches it to the last.
        steps: how many touch it.
    """

    memory: Memory
    cluster: int
    size: int
    first: int
    last: int
    steps: int = 0


@dataclass
class Step:
    """An op that becomes an instruction.

    Attributes:
        cost: alone.
        layer: that it is a piece of.
        touches: places on chip, once they are known.
        follows: the steps that must precede it, once that is known.
    """

    op: Op
    cost: OpCost
    layer: str | None
    touches: tuple[Place, ...] = ()
    follows: tuple[int, ...] = ()

    @property
    def is_load(self) -> bool:
        """Whether it is issued when something needs it, and not on its own."""
        return self.cost.queue in LOADS


@dataclass
class Steps:
    """A tile program in steps.

    Attributes:
        places: on chip, once they are known.
        sizes: of the scratchpads of a cluster.
        clusters: that the program uses.
        handover: cycles from when a step is complete until one of another unit that waits for it starts.
        locations: of what they read and make.
    """

    steps: list[Step] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    sizes: dict[Memory, int] = field(default_factory=dict)
    clusters: int = 1
    handover: int = 0
    locations: Places = field(default_factory=Places)

    @staticmethod
    def apart(function: Function, machine: Machine) -> "Steps":
        """The steps of a tile program, but for what they touch and follow, which takes longer to find out."""
        sizes: dict[Memory, int] = {pad.memory: pad.size for pad in scratchpads(machine)}
        found = Steps(sizes=sizes, clusters=clusters_of(function), handover=handover(machine))
        for op in function.ops:
            found.locations.add(op)
            if not isinstance(op.operator, PLACES):
                found.steps.append(Step(op, op_cost(op, found.locations, machine), LAYER.get(op)))
        return found

    def link(self) -> None:
        """Find out what each step touches and follows."""
        dependencies, places = Dependencies(), dict[Op, Place]()
        message: int | None = None
        for number, step in enumerate(self.steps):
            touched = accesses(step.op, self.locations)
            roots = dict.fromkeys(access.place.root for access in touched if access.place.type.memory != "dram")
            for root in roots:
                if root not in places:
                    places[root] = _place(root, number)
                places[root].last = number
                places[root].steps += 1
            step.touches = tuple(places[root] for root in roots)
            before = dependencies.add(number, touched)
            if is_op(step.op, Receive, Send):
                # Both ends meet their messages in one order, so that no card waits for one that waits for it.
                before |= {message} if message is not None else set()
                message = number
            step.follows = tuple(sorted(before))
        self.places = [*places.values()]

    @property
    def least(self) -> float:
        """Cycles that they take at least in whatever order, see `least_of`."""
        return least_of(step.cost for step in self.steps)

    @property
    def layer_by_layer(self) -> float:
        """Cycles that they take at least if no layer overlaps another one, but for what loads no map."""
        layers: dict[str | None, dict[tuple[int, Queue], float]] = {}
        for step in self.steps:
            (queue, cluster, _, unit, dram, *_), busy = step.cost, layers.setdefault(step.layer, {})
            if queue in (Queue.MAC, Queue.VEC):
                busy[cluster, queue] = busy.get((cluster, queue), 0) + unit
            elif queue == Queue.LD:
                # All clusters have one DRAM.
                busy[EVERY_CLUSTER, queue] = busy.get((EVERY_CLUSTER, queue), 0) + dram
        return sum(max(busy.values(), default=0.0) for busy in layers.values())


def _place(root: Op, number: int) -> Place:
    type = place_type(root)
    assert type is not None
    return Place(type.memory, type.cluster, place_bytes(root), number, number)


_GRAINS = 1 << 12
"""Pieces of a scratchpad that are told apart as to when they were free."""


class Room:
    """The scratchpads while an order is made.

    Places get the addresses that :mod:`..planning.plan_scratchpads` will give them. What the program as it is written
    needs from its oldest step on that is still to come is reserved: whatever went before its turn, that one finds as
    many bytes as it needs, if not in one piece.
    ``share``: of a scratchpad that may be taken by steps before their turn.
    ``addresses``: of the places that are open."""

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
        self.addresses: dict[Place, int] = {}

    def _rows(self, place: Place) -> slice:
        return slice(None) if place.cluster == EVERY_CLUSTER else slice(place.cluster, place.cluster + 1)

    def _grains(self, place: Place, address: int) -> slice:
        """Those of a place, without one that it shares with a neighbour."""
        grain = self._grain[place.memory]
        first = -(-address // grain)
        return slice(first, max(first + 1, (address + place.size) // grain))

    def allows(self, places: Collection[Place]) -> bool:
        """Whether these places may be opened while the oldest step is yet to come."""
        first = 0
        sizes: dict[tuple[Memory, int], int] = {}
        for place in places:
            first = max(first, place.first)
            key = place.memory, place.cluster
            sizes[key] = sizes.get(key, 0) + place.size
        if first <= self._oldest:
            return True
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
        self.addresses[place] = address
        return float(self._free[place.memory][self._rows(place), self._grains(place, address)].max())

    def undo(self, places: Iterable[Place], positions: dict[Memory, dict[int, int]]) -> None:
        """As if the places had not been opened."""
        for place in places:
            self._rooms[place.memory].release(place.cluster, self.addresses.pop(place), place.size)
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
        address = self.addresses[place]
        self._rooms[place.memory].release(place.cluster, address, place.size)
        self._free[place.memory][self._rows(place), self._grains(place, address)] = time
        if place.last >= self._oldest:
            self._live[place.memory][self._rows(place), self._oldest : place.last + 1] -= place.size

    def advance(self, oldest: int) -> None:
        """The oldest step that is to come."""
        self._oldest = oldest
