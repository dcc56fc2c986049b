"""Bring loads of constants together that go to neighbouring lines: those that follow each other are one instruction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....ir.annotations import ADDRESS, JOINED
from ....ir.core import Function, Module, Op, is_op
from ....ir.tile.instructions import CONSTANT_LOADS, LINE
from ....ir.tile.places import clusters_of
from ....ir.tile.types import EVERY_CLUSTER
from ....runtime.isa.encoding import Queue
from ....runtime.machines.machine import Machine, load
from ...base import Pass, Record
from ..lower_to_tiles import LOWERED
from ..outline_device import device_functions, planned_machine
from ..planning.check_scratchpads import SCRATCHPADS_SOUND
from ..planning.plan_scratchpads import Place, places_of
from ..planning.scratchpads import scratchpads
from .program import costs_of

_SHARE, _CYCLES = 256, 32
"""Loads become an instruction of no more cycles of the DRAM than this part of all that it is busy, nor than these: the
first of them is complete when the last is."""


class JoinLoads(Pass):
    """Moves loads of constants right behind earlier ones whose lines lie ahead of theirs, where the DRAM has more to do
    than any unit. Loads that follow each other so become one instruction: the DRAM opens one row for them, and fetches
    one instruction.

    A load is only brought to where its lines are as free as those of the first.

    Attributes:
        machine: name of a sample machine, or path of a machine file.
    """

    requires = (LOWERED, SCRATCHPADS_SOUND)
    ensures = (LOWERED, SCRATCHPADS_SOUND)

    machine: str

    def apply(self, module: Module, record: Record) -> bool:
        machine = load(self.machine)
        for function in device_functions(module):
            most = _most_bytes(function, planned_machine(function, machine))
            heads = _heads_of(function, most, machine) if most else {}
            _move(function, heads)
            record.counts["joined"] += len(heads)
        return record.counts["joined"] > 0


def _most_bytes(function: Function, machine: Machine) -> int:
    """Of loads that become one; 0 where the DRAM is not what has most to do."""
    busy: Counter[tuple[int, Queue]] = Counter()
    dram = 0.0
    for each in costs_of(function, machine):
        busy[each.cluster, each.queue] += each.unit
        dram += each.dram
    if dram <= max(busy.values(), default=0):
        return 0
    return int(min(dram / _SHARE, _CYCLES) * machine.dram_bytes_per_cycle)


@dataclass
class _Group:
    """Loads that follow each other: the first, the last step that touched its lines before, one past the last byte, and
    how many bytes they are."""

    head: Op
    free: int
    stop: int
    size: int


def _heads_of(function: Function, most: int, machine: Machine) -> dict[Op, Op]:
    """Loads that go right behind an earlier one, each with that."""
    places = places_of(function)
    found: dict[Op, Op] = {}
    for pad in scratchpads(machine):
        if pad.memory in ("weights", "parameters"):
            found |= _heads_in(places.get(pad.memory, []), pad.size // LINE, most, clusters_of(function))
    return found


def _heads_in(places: Sequence[Place], lines: int, most: int, clusters: int) -> dict[Op, Op]:
    """Those of a memory, whose places are in order of their making."""
    found: dict[Op, Op] = {}
    groups: dict[int, _Group] = {}
    # The last step that touches each line so far.
    touched = np.full((clusters, lines), -1, np.int64)
    for place in places:
        address = ADDRESS.get(place.op)
        assert address is not None, "the addresses are proved"
        stop = address + place.size
        mine = slice(None) if place.cluster == EVERY_CLUSTER else place.cluster
        own = touched[mine, address // LINE : -(-stop // LINE)]
        if is_op(place.op, *CONSTANT_LOADS):
            free, group = int(own.max()), groups.get(place.cluster)
            follows = group is not None and group.stop == address and free <= group.free
            if group is not None and follows and group.size + place.size <= most:
                found[place.op] = group.head
                group.stop, group.size = stop, group.size + place.size
            else:
                groups[place.cluster] = _Group(place.op, free, stop, place.size)
        own[...] = place.last
    return found


def _move(function: Function, heads: dict[Op, Op]) -> None:
    """Move loads behind others, those of one in turn."""
    followers: dict[Op, list[Op]] = {}
    for op, head in heads.items():
        followers.setdefault(head, []).append(op)
    behind: Op | None = None
    for op in reversed([*function.ops]):
        for each in followers.get(op, ()):
            assert behind is not None, "what is loaded is read"
            function.move_before(each, behind)
            JOINED.set(each, True)
        if op not in heads:
            behind = op
