"""A tile program as what its order may be chosen from: steps, what they follow, cost and open."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from tilewright.errors import PassError

from ....ir.annotations import LAYER
from ....ir.core import Function, Op, is_op
from ....ir.tile.instructions import LINE, Places, instruction
from ....ir.tile.places import PLACES, cluster_of, clusters_of
from ....ir.tile.transfer import Receive, Send
from ....ir.tile.types import Memory
from ....runtime.isa import Instruction, Queue, build
from ....runtime.machines.cost import cost
from ....runtime.machines.machine import Machine
from ..planning.scratchpads import place_bytes, place_type, scratchpads
from .dependencies import Dependencies, accesses

LOADS = (Queue.LD, Queue.LW)


class OpCost(NamedTuple):
    """What an op of a tile program costs, alone.

    Attributes:
        queue: that it is an instruction of.
        cluster: whose.
        unit: cycles that the unit is busy, without waiting for DRAM.
        dram: cycles that the DRAM is busy.
        latency: cycles from then until it is complete.
    """

    queue: Queue
    cluster: int
    unit: int
    dram: float
    latency: int


def op_cost(op: Op, places: Places, machine: Machine) -> OpCost:
    """The cost of an op whose operands and result are noted in ``places``, by the cost function of instructions: of
    addresses, which it does not have yet, only those in DRAM count.

    Raises:
        PassError: the op is none of a tile program.
    """
    found = instruction(op, places)
    if found is None:
        raise PassError("the op is no instruction", op=op.name, node=op.node)
    name, fields = found
    if name in ("LoadWeights", "LoadParameters"):
        fields |= {"region": 0, "offset": 0, "length": -(-place_bytes(op) // LINE)}
    elif "offset" in fields:
        # What counts of the address is where in a burst it begins.
        fields["offset"] %= machine.dram_burst_bytes
    item = build(name, fields)
    unit, dram, latency = _priced(item, machine)
    return OpCost(item.QUEUES[0], cluster_of(op), unit, dram, latency)


@lru_cache(1 << 14)
def _priced(item: Instruction, machine: Machine) -> tuple[int, float, int]:
    price = cost(item, machine)
    return price.unit, price.dram(machine), price.latency


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
        follows: the steps that must precede it.
        layer: that it is a piece of.
        touches: places on chip.
    """

    op: Op
    cost: OpCost
    follows: tuple[int, ...]
    layer: str | None
    touches: tuple[Place, ...]

    @property
    def is_load(self) -> bool:
        """Whether it is issued when something needs it, and not on its own."""
        return self.cost.queue in LOADS


@dataclass
class Steps:
    """A tile program in steps.

    Attributes:
        places: on chip.
        sizes: of the scratchpads of a cluster.
        clusters: that the program uses.
    """

    steps: list[Step] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    sizes: dict[Memory, int] = field(default_factory=dict)
    clusters: int = 1

    @staticmethod
    def of(function: Function, machine: Machine) -> Steps:
        """The steps of a tile program on a machine."""
        sizes: dict[Memory, int] = {pad.memory: pad.size for pad in scratchpads(machine)}
        found = Steps(sizes=sizes, clusters=clusters_of(function))
        locations, dependencies = Places(), Dependencies()
        places: dict[Op, Place] = {}
        message: int | None = None
        for op in function.ops:
            locations.add(op)
            if isinstance(op.operator, PLACES):
                continue
            number, touched = len(found.steps), accesses(op, locations)
            roots = dict.fromkeys(access.place.root for access in touched if access.place.type.memory != "dram")
            for root in roots:
                if root not in places:
                    places[root] = _place(root, number)
                places[root].last = number
                places[root].steps += 1
            before = dependencies.add(number, touched)
            if is_op(op, Receive, Send):
                # Both ends meet their messages in one order, so that no card waits for one that waits for it.
                before |= {message} if message is not None else set()
                message = number
            price = op_cost(op, locations, machine)
            step = Step(op, price, tuple(sorted(before)), LAYER.get(op), tuple(places[root] for root in roots))
            found.steps.append(step)
        found.places = [*places.values()]
        return found


def _place(root: Op, number: int) -> Place:
    type = place_type(root)
    assert type is not None
    return Place(type.memory, type.cluster, place_bytes(root), number, number)
