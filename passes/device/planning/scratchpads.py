"""The scratchpads of a machine, how much of them a place of a tile program takes, and where there is room next."""

from bisect import bisect_left, insort
from typing import NamedTuple

from tilewright.errors import PassError

from ....ir.core import Op, is_op
from ....ir.interpolation import KNOTS
from ....ir.tile.attention import MapAsWeights
from ....ir.tile.normalization import LoadNormalization
from ....ir.tile.transfer import LoadRequantization, LoadTable, LoadWeights
from ....ir.tile.types import EVERY_CLUSTER, Memory, TileType
from ....runtime.isa.accesses import Space
from ....runtime.isa.layouts import (
    SCRATCHPAD_UNITS,
    dense_bytes,
    depthwise_bytes,
    normalization_bytes,
    requantize_bytes,
    scratchpad_bytes,
)
from ....runtime.isa.vector import RECORD_BYTES, TABLE_BYTES, WIDE_TABLE_BYTES
from ....runtime.machines.machine import ACCUMULATOR_UNIT, Machine


class Scratchpad(NamedTuple):
    """A memory of a cluster. ``size``, ``unit``: bytes; addresses are multiples of the unit."""

    memory: Memory
    size: int
    unit: int


_SPACES: dict[Memory, Space] = {
    "maps": Space.MAPS,
    "weights": Space.WEIGHTS,
    "accumulators": Space.ACCUMULATORS,
    "parameters": Space.PARAMETERS,
}

UNITS: dict[Memory, int] = {memory: SCRATCHPAD_UNITS[space] for memory, space in _SPACES.items()}
"""What the addresses of each scratchpad are multiples of, in bytes."""


def scratchpads(machine: Machine) -> list[Scratchpad]:
    """Those of each cluster of a machine."""
    sizes = scratchpad_bytes(machine)
    return [Scratchpad(memory, sizes[space], UNITS[memory]) for memory, space in _SPACES.items()]


def place_type(op: Op) -> TileType | None:
    """The type of the place on chip that is the result of an op of a tile program, ``None`` if it is elsewhere.
    Raises PassError: the op is none of a tile program."""
    if op.name in ("tile_leave", "tile_send"):
        return None
    type = op.result.type
    if not isinstance(type, TileType):
        raise PassError("the op is none of a tile program", op=op.name, node=op.node, found=type)
    return type if type.memory != "dram" else None


def place_bytes(op: Op) -> int:
    """What the place takes that an op of a tile program makes on chip: whole units of its scratchpad."""
    type = op.result.type
    assert isinstance(type, TileType)
    if type.memory == "maps":
        return type.map_bytes
    if type.memory == "accumulators":
        rows, columns, _ = type.shape
        return rows * columns * type.blocks * ACCUMULATOR_UNIT
    if is_op(op, MapAsWeights):
        return dense_bytes(*type.shape, packed=False)
    if is_op(op, LoadWeights):
        outputs, inputs, rows, columns = type.shape
        if op.operator.depthwise:
            return depthwise_bytes(outputs, inputs * rows * columns)
        return dense_bytes(outputs, inputs, rows, columns, packed=op.operator.packed)
    if is_op(op, LoadRequantization):
        return requantize_bytes(type.shape[-1])
    if is_op(op, LoadNormalization):
        return normalization_bytes(type.shape[-1])
    if not is_op(op, LoadTable):
        return RECORD_BYTES
    return WIDE_TABLE_BYTES if type.elements == KNOTS else TABLE_BYTES


class RoundRobin:
    """The addresses of one scratchpad of each cluster, round and round: what has been free for longest is taken first.
    ``size``: of the scratchpad, in bytes.
    ``position``: where each cluster goes on, in bytes from the first round on: which cluster is further is known."""

    def __init__(self, size: int, position: dict[int, int] | None = None) -> None:
        self.size = size
        self.position = dict(position or {})
        # First byte, and one past the last.
        self._taken: dict[int, list[tuple[int, int]]] = {}

    def find(self, cluster: int, size: int) -> int | None:
        """The next piece of so many bytes that is free in a cluster, or in every one; its first byte."""
        start = self._reached(cluster) % self.size
        if cluster == EVERY_CLUSTER:
            taken = sorted(each for ranges in self._taken.values() for each in ranges)
        else:
            own, every = self._taken.get(cluster, []), self._taken.get(EVERY_CLUSTER)
            taken = sorted([*own, *every]) if every else own
        for first in (start, 0):
            for begin, stop in taken:
                if begin >= first + size:
                    break
                first = max(first, stop)
            if first + size <= self.size:
                return first
        return None

    def take(self, cluster: int, address: int, size: int) -> None:
        """Give out what has been found."""
        insort(self._taken.setdefault(cluster, []), (address, address + size))
        reached = self._reached(cluster)
        if cluster == EVERY_CLUSTER:
            self.position.clear()
        self.position[cluster] = reached + (address - reached) % self.size + size

    def _reached(self, cluster: int) -> int:
        """Where a cluster goes on, or the one that is furthest."""
        if cluster == EVERY_CLUSTER:
            return max(self.position.values(), default=0)
        return self.position.get(cluster, self.position.get(EVERY_CLUSTER, 0))

    def release(self, cluster: int, address: int, size: int) -> None:
        """Take back what has been given out."""
        ranges = self._taken[cluster]
        del ranges[bisect_left(ranges, (address, address + size))]
