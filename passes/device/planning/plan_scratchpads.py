"""Give every place of a tile program an address in the scratchpads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from tilewright.errors import PassError

from ....ir.annotations import ADDRESS, LAYER, SCRATCHPAD_BYTES
from ....ir.core import Function, Module, Op, Value
from ....ir.tile.places import whole_of
from ....ir.tile.types import EVERY_CLUSTER, Memory
from ....runtime.machines.machine import Machine, load
from ...base import Pass, Record
from ...memory.plan import HEURISTICS, Buffer, rivals_of
from ..lower_to_tiles import LOWERED
from ..outline_device import device_functions, planned_machine
from .check_scratchpads import SCRATCHPADS_SOUND
from .scratchpads import RoundRobin, Scratchpad, place_bytes, place_type, scratchpads

_MOST_PAIRS = 1 << 16
"""Places that are live together, counted in pairs, up to which a part of a program is packed."""


class PlanScratchpads(Pass):
    """Annotates each op of a tile program that makes a place on chip with its ``address``, in bytes, and the function
    with what it uses of each scratchpad.

    A place is live from the op that makes it to the last one that touches it, under whatever name. Each is put where
    there is room next, round and round: what has been free for longest is taken first, so that what is loaded for
    the next tile seldom waits for who still reads the last one.
    ``machine``: name of a sample machine, or path of a machine file."""

    requires = (LOWERED,)
    ensures = (SCRATCHPADS_SOUND,)

    machine: str

    def apply(self, module: Module, record: Record) -> bool:
        machine = load(self.machine)
        functions = device_functions(module)
        for function in functions:
            plan(function, planned_machine(function, machine))
        return bool(functions)


@dataclass
class Place:
    """A range of bytes of a scratchpad over a range of steps.
    ``cluster``: whose scratchpad, or ``EVERY_CLUSTER``.
    ``first``, ``last``: steps from its making to its last use, both included.
    ``size``, ``address``: in bytes."""

    op: Op
    cluster: int
    size: int
    first: int
    last: int
    address: int = -1

    @property
    def stop(self) -> int:
        """One past its last byte."""
        return self.address + self.size

    def meets(self, other: "Place") -> bool:
        """Whether it lies in a scratchpad in which the other one lies."""
        return self.cluster == other.cluster or EVERY_CLUSTER in (self.cluster, other.cluster)


def places_of(function: Function) -> dict[Memory, list[Place]]:
    """The places of a tile program that are on chip, in order of their making, by memory."""
    places: dict[Memory, list[Place]] = {}
    owner: dict[Value, Place] = {}
    for step, op in enumerate(function.ops):
        for value in op.inputs:
            if value in owner:
                owner[value].last = step
        type = place_type(op)
        if type is None:
            continue
        whole = whole_of(op)
        if whole is not None:
            owner[op.result] = owner[whole]
            continue
        place = owner[op.result] = Place(op, type.cluster, place_bytes(op), step, step)
        places.setdefault(type.memory, []).append(place)
    return places


def plan(function: Function, machine: Machine) -> None:
    """Annotate a tile program with addresses that suit a machine.
    Raises PassError: what is live at once does not fit; names memory and layer."""
    places = places_of(function)
    for scratchpad in scratchpads(machine):
        mine = places.get(scratchpad.memory, [])
        _place(mine, scratchpad, machine)
        for place in mine:
            ADDRESS.set(place.op, place.address)
        SCRATCHPAD_BYTES[scratchpad.memory].set(function, max((place.stop for place in mine), default=0))


def _stretches(places: list[Place]) -> Iterator[list[Place]]:
    """The places in pieces between which nothing is live."""
    stretch: list[Place] = []
    last = -1
    for place in places:
        if place.first > last and stretch:
            yield stretch
            stretch = []
        stretch.append(place)
        last = max(last, place.last)
    if stretch:
        yield stretch


def _place(places: list[Place], scratchpad: Scratchpad, machine: Machine) -> None:
    """Set the addresses of all places of a memory."""
    position: dict[int, int] = {}
    for stretch in _stretches(places):
        # Going on where the stretch before ended leaves its places alone for longest, but may leave no piece that is
        # large enough.
        for start in (position, {}):
            misfit, end = _go_round(stretch, scratchpad.size, start)
            if misfit is None:
                position = end
                break
        else:
            if not _pack(stretch, scratchpad.size):
                raise _misfit(misfit, stretch, scratchpad, machine)
            position = {}


def _go_round(places: list[Place], size: int, position: dict[int, int]) -> tuple[Place | None, dict[int, int]]:
    """Place one after the other from ``position`` of its cluster on.
    Returns the first one for which there is no room, and where each cluster is then."""
    room = RoundRobin(size, position)
    live: list[tuple[int, int, Place]] = []
    for number, place in enumerate(places):
        while live and live[0][0] < place.first:
            _, _, other = heappop(live)
            room.release(other.cluster, other.address, other.size)
        found = room.find(place.cluster, place.size)
        if found is None:
            return place, room.position
        place.address = found
        room.take(place.cluster, found, place.size)
        heappush(live, (place.last, number, place))
    return None, room.position


def _pack(places: list[Place], size: int) -> bool:
    """Place all together as tightly as heuristics know; whether that is tight enough."""
    buffers = [Buffer(place.size, place.first, place.last) for place in places]
    rivals = rivals_of(buffers, _MOST_PAIRS)
    if rivals is None:
        return False
    rivals = [[i for i in row if place.meets(places[i])] for place, row in zip(places, rivals, strict=True)]
    for heuristic in HEURISTICS:
        for place, offset in zip(places, heuristic(buffers, rivals), strict=True):
            place.address = offset
        if max(place.stop for place in places) <= size:
            return True
    return False


def _misfit(place: Place, stretch: Iterable[Place], scratchpad: Scratchpad, machine: Machine) -> PassError:
    beside = [each for each in stretch if each.first <= place.first <= each.last and each.meets(place)]
    needed = sum(each.size for each in beside)
    op = place.op
    return PassError(
        f"what is on chip at once does not fit the {scratchpad.memory} scratchpad",
        op=op.name,
        node=op.node,
        expected=f"at most {scratchpad.size} bytes ({machine.name})",
        found=f"{needed} bytes in {len(beside)} places, {place.size} of them for %{LAYER.get(op) or op.result.name}",
        hint="Place the op on the CPU (affinity), or choose a machine with more memory.",
    )
