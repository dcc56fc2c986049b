"""What instructions may touch and who touched it last: the rules that assembler and verifier share.

For hazards, bytes are tracked in lines, and a strided access counts as the whole range from its first to its last byte.
That is conservative: it may order two accesses that could run at once, and never misses a conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..machine import Machine
from .encoding import Instruction, MemoryAccess, Queue, Space, Violation
from .program import Region, RegionKind

_LINE = {Space.DRAM: 64, Space.MAPS: 16, Space.WEIGHTS: 64, Space.ACCUMULATORS: 64, Space.PARAMETERS: 64}
_FIELD_OF = {Space.WEIGHTS: "weights", Space.ACCUMULATORS: "accumulator", Space.PARAMETERS: "parameters"}


def scratchpad_bytes(machine: Machine) -> dict[Space, int]:
    """Sizes of the scratchpads of a cluster."""
    return {
        Space.MAPS: machine.maps_bytes,
        Space.WEIGHTS: machine.weight_bytes,
        Space.ACCUMULATORS: machine.accumulator_bytes,
        Space.PARAMETERS: machine.parameter_bytes,
    }


def outside(item: Instruction, machine: Machine, regions: Sequence[Region]) -> Violation | None:
    """The first access that leaves its memory or region, or writes where nothing may be written."""
    sizes = scratchpad_bytes(machine)
    for access in item.accesses():
        if access.space == Space.DRAM:
            if access.region >= len(regions):
                return Violation("region", access.region, f"there are {len(regions)} regions")
            region = regions[access.region]
            if access.write and region.kind in (RegionKind.CONSTANT, RegionKind.INPUT):
                rule = f"region {region.name!r} ({region.kind.value}) is never written"
                return Violation("region", access.region, rule)
            size, memory = region.size, f"region {region.name!r}"
        else:
            size, memory = sizes[access.space], f"the {access.space.name.lower()} scratchpad"
        if access.stop > size:
            verb = "written" if access.write else "read"
            rule = f"{verb} bytes lie inside the {size} of {memory}"
            return Violation(_field(item, access.space, access.write), f"bytes {access.start} to {access.stop}", rule)
    return None


def _field(item: Instruction, space: Space, write: bool) -> str:
    """The field that holds the address of an access, as far as one can be named."""
    if space == Space.DRAM:
        return "offset"
    if space == Space.MAPS:
        return "destination" if write else ("source" if hasattr(item, "source") else "source_a")
    name = _FIELD_OF[space]
    return name if hasattr(item, name) else ("table" if hasattr(item, "table") else "destination")


class LastTouch:
    """For every line of every memory, the position in each queue of the last instruction that read and wrote it.

    Positions count from 1; 0 is none. Regions that nothing writes are left out.
    """

    def __init__(self, machine: Machine, regions: Iterable[Region]) -> None:
        sizes = {(space, -1): size for space, size in scratchpad_bytes(machine).items()}
        for index, region in enumerate(regions):
            if region.kind not in (RegionKind.CONSTANT, RegionKind.INPUT):
                sizes[Space.DRAM, index] = region.size
        self._reads = {key: self._lines(key[0], size) for key, size in sizes.items()}
        self._writes = {key: self._lines(key[0], size) for key, size in sizes.items()}

    @staticmethod
    def _lines(space: Space, size: int) -> NDArray[np.int32]:
        return np.zeros((len(Queue), -(-size // _LINE[space])), np.int32)

    def conflicts(self, queue: Queue, accesses: Iterable[MemoryAccess]) -> list[int]:
        """For each queue, the last position whose instruction must precede one of ``queue`` with these accesses."""
        latest = [0] * len(Queue)
        for access in accesses:
            key = (access.space, access.region)
            writes = self._writes.get(key)
            if writes is None:
                continue
            line = _LINE[access.space]
            span = slice(access.start // line, -(-access.stop // line))
            found = writes[:, span].max(axis=1)
            if access.write:
                found = np.maximum(found, self._reads[key][:, span].max(axis=1))
            for other, position in enumerate(found.tolist()):
                if position > latest[other] and other != queue:
                    latest[other] = position
        return latest

    def record(self, queue: Queue, position: int, accesses: Iterable[MemoryAccess]) -> None:
        """Note that the instruction at ``position`` (from 1) of ``queue`` makes these accesses."""
        for access in accesses:
            table = (self._writes if access.write else self._reads).get((access.space, access.region))
            if table is not None:
                line = _LINE[access.space]
                table[queue, access.start // line : -(-access.stop // line)] = position
