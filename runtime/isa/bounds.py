"""The rule that an instruction stays inside the memories and regions it names."""

from __future__ import annotations

from collections.abc import Sequence

from ..machine import Machine
from .encoding import Broken, Instruction, Space
from .program import Region, RegionKind

_FIELD_OF = {Space.WEIGHTS: "weights", Space.ACCUMULATORS: "accumulator", Space.PARAMETERS: "parameters"}


def outside(item: Instruction, machine: Machine, regions: Sequence[Region]) -> Broken | None:
    """The first access that leaves its memory or region, or writes where nothing may be written."""
    sizes = {
        Space.MAPS: machine.maps_bytes,
        Space.WEIGHTS: machine.weight_bytes,
        Space.ACCUMULATORS: machine.accumulator_bytes,
        Space.PARAMETERS: machine.parameter_bytes,
    }
    for access in item.accesses():
        name = _field(item, access.space, access.write)
        if access.space == Space.DRAM:
            if access.region >= len(regions):
                return Broken("region", access.region, f"there are {len(regions)} regions")
            region = regions[access.region]
            if access.write and region.kind in (RegionKind.CONSTANT, RegionKind.INPUT):
                return Broken("region", access.region, f"region {region.name!r} ({region.kind.value}) is never written")
            size, place = region.size, f"region {region.name!r}"
        else:
            size, place = sizes[access.space], f"the {access.space.name.lower()} scratchpad"
        if access.stop > size:
            verb = "written" if access.write else "read"
            return Broken(
                name, f"bytes {access.start} to {access.stop}", f"{verb} bytes lie inside the {size} of {place}"
            )
    return None


def _field(item: Instruction, space: Space, write: bool) -> str:
    """The field that places an access, as far as one can be named."""
    if space == Space.DRAM:
        return "offset"
    if space == Space.MAPS:
        return "destination" if write else ("source" if hasattr(item, "source") else "source_a")
    name = _FIELD_OF[space]
    return name if hasattr(item, name) else ("table" if hasattr(item, "table") else "destination")
