"""What instructions may touch: the memories, their sizes, and which field of an instruction says where."""

from __future__ import annotations

from collections.abc import Sequence

from ..machines.machine import ACCUMULATOR_UNIT, MAPS_UNIT, PARAMETER_UNIT, WEIGHT_UNIT, Machine
from .encoding import Instruction, MemoryAccess, Space, Stream, Violation
from .program import Region, RegionKind
from .vector import TABLE_BYTES

SCRATCHPAD_UNITS = {
    Space.MAPS: MAPS_UNIT,
    Space.WEIGHTS: WEIGHT_UNIT,
    Space.ACCUMULATORS: ACCUMULATOR_UNIT,
    Space.PARAMETERS: PARAMETER_UNIT,
}
"""Bytes of a unit of each scratchpad: addresses are multiples of it, and every write covers whole ones."""

_FIELD_OF = {Space.WEIGHTS: "weights", Space.ACCUMULATORS: "accumulator", Space.PARAMETERS: "parameters"}


def scratchpad_bytes(machine: Machine) -> dict[Space, int]:
    """Sizes of the scratchpads of a cluster."""
    return {
        Space.MAPS: machine.maps_bytes,
        Space.WEIGHTS: machine.weight_bytes,
        Space.ACCUMULATORS: machine.accumulator_bytes,
        Space.PARAMETERS: machine.parameter_bytes,
    }


def outside(
    item: Instruction, stream: Stream, clusters: int, machine: Machine, regions: Sequence[Region]
) -> Violation | None:
    """The first access that leaves its memory or region or the clusters of the program, or writes where nothing may be.

    Args:
        stream: the one that runs the instruction.
        clusters: how many the program uses.
    """
    misplaced = item.misplaced(stream.cluster)
    if misplaced:
        return misplaced
    sizes = scratchpad_bytes(machine)
    for access in item.accesses(stream.cluster):
        if access.space == Space.DRAM:
            if access.region >= len(regions):
                return Violation("region", access.region, f"there are {len(regions)} regions")
            region = regions[access.region]
            if access.write and region.kind in (RegionKind.CONSTANT, RegionKind.INPUT):
                rule = f"region {region.name!r} ({region.kind.value}) is never written"
                return Violation("region", access.region, rule)
            size = region.size
        else:
            if access.cluster >= clusters:
                rule = f"the mask names clusters of the program, which has {clusters}"
                return Violation("clusters", f"cluster {access.cluster}", rule)
            size = sizes[access.space]
        if access.stop > size:
            field, memory = place_of(item, access, regions)
            rule = f"{'written' if access.write else 'read'} bytes lie inside the {size} of {memory}"
            return Violation(field, f"bytes {access.start} to {access.stop}", rule)
    return None


def place_of(item: Instruction, access: MemoryAccess, regions: Sequence[Region]) -> tuple[str, str]:
    """The field that holds the address of an access, as far as one can be named, and the memory in words."""
    if access.space == Space.DRAM:
        return "offset", f"region {regions[access.region].name!r}"
    memory = f"the {access.space.name.lower()} scratchpad"
    if access.space == Space.MAPS:
        if access.write:
            return "destination", memory
        if hasattr(item, "source"):
            return "source", memory
        first = getattr(item, "source_a", -1) * MAPS_UNIT == access.start
        return ("source_a" if first else "source_b"), memory
    name = _FIELD_OF[access.space]
    if access.space == Space.PARAMETERS and not access.write:
        table = getattr(item, "table", -1) * PARAMETER_UNIT == access.start and access.run == TABLE_BYTES
        return ("table" if table else name), memory
    return (name if hasattr(item, name) else "destination"), memory
