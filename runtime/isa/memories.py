"""What instructions may touch and who touched it last: the rules that assembler and verifier share.

For hazards, bytes are tracked in lines, and a strided access counts as the whole range from its first to its last byte.
That is conservative: it may order two accesses that could run at once, and never misses a conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..machine import Machine
from .encoding import Instruction, MemoryAccess, Space, Stream, Violation, streams
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


def outside(
    item: Instruction, stream: Stream, clusters: int, machine: Machine, regions: Sequence[Region]
) -> Violation | None:
    """The first access that leaves its memory or region, or writes where nothing may be written.

    Args:
        stream: the one that runs the instruction.
        clusters: how many the program uses.
    """
    sizes = scratchpad_bytes(machine)
    for access in item.accesses(stream.cluster):
        if access.space == Space.DRAM:
            if access.region >= len(regions):
                return Violation("region", access.region, f"there are {len(regions)} regions")
            region = regions[access.region]
            if access.write and region.kind in (RegionKind.CONSTANT, RegionKind.INPUT):
                rule = f"region {region.name!r} ({region.kind.value}) is never written"
                return Violation("region", access.region, rule)
            size, memory = region.size, f"region {region.name!r}"
        else:
            if access.cluster >= clusters:
                return Violation(_peer_field(item), access.cluster, f"the program uses {clusters} clusters, from 0 on")
            size, memory = sizes[access.space], f"the {access.space.name.lower()} scratchpad"
        if access.stop > size:
            verb = "written" if access.write else "read"
            rule = f"{verb} bytes lie inside the {size} of {memory}"
            return Violation(_field(item, access.space, access.write), f"bytes {access.start} to {access.stop}", rule)
    return None


def _peer_field(item: Instruction) -> str:
    """The field that names other clusters."""
    return "clusters" if hasattr(item, "clusters") else "peer"


def _field(item: Instruction, space: Space, write: bool) -> str:
    """The field that holds the address of an access, as far as one can be named."""
    if space == Space.DRAM:
        return "offset"
    if space == Space.MAPS:
        return "destination" if write else ("source" if hasattr(item, "source") else "source_a")
    name = _FIELD_OF[space]
    return name if hasattr(item, name) else ("table" if hasattr(item, "table") else "destination")


class LastTouch:
    """For every line of every memory, the position in each stream of the last instruction that read and wrote it.

    Positions count from 1; 0 is none. Regions that nothing writes are left out.

    Args:
        machine: gives the sizes of the scratchpads.
        regions: DRAM regions by index.
        clusters: how many the program uses.
        accesses: every access that there will be, if that is known: lines that all of them touch together or not at
            all are then one, so that what this holds and how long it takes depends on them and not on the sizes.
    """

    def __init__(
        self,
        machine: Machine,
        regions: Iterable[Region],
        clusters: int,
        accesses: Iterable[MemoryAccess] | None = None,
    ) -> None:
        sizes = {
            (space, cluster, -1): size
            for cluster in range(clusters)
            for space, size in scratchpad_bytes(machine).items()
        }
        for index, region in enumerate(regions):
            if region.kind not in (RegionKind.CONSTANT, RegionKind.INPUT):
                sizes[Space.DRAM, -1, index] = region.size
        lines = {key: -(-size // _LINE[key[0]]) for key, size in sizes.items()}
        columns: dict[_Memory, dict[int, int]] = {}
        if accesses is not None:
            cuts: dict[_Memory, set[int]] = {key: {0, count} for key, count in lines.items()}
            for access in accesses:
                if access.memory in cuts:
                    cuts[access.memory].update(_lines(access))
            columns = {key: {line: i for i, line in enumerate(sorted(found))} for key, found in cuts.items()}
            lines = {key: len(found) for key, found in cuts.items()}
        self._columns = columns
        self._streams = len(streams(clusters))
        self._touches = {key: _Touches(count) for key, count in lines.items()}

    def _span(self, access: MemoryAccess) -> slice:
        first, stop = _lines(access)
        columns = self._columns.get(access.memory)
        return slice(first, stop) if columns is None else slice(columns[first], columns[stop])

    def conflicts(self, stream: Stream, accesses: Iterable[MemoryAccess]) -> list[int]:
        """For each stream by number, the last position whose instruction must precede one of ``stream`` with these
        accesses.
        """
        latest = [0] * self._streams
        own = stream.number
        for access in accesses:
            touches = self._touches.get(access.memory)
            if touches is None or not touches.rows:
                continue
            span = self._span(access)
            found = touches.writes[:, span].max(axis=1)
            if access.write:
                found = np.maximum(found, touches.reads[:, span].max(axis=1))
            for other, position in zip(touches.rows, found.tolist(), strict=True):
                if position > latest[other] and other != own:
                    latest[other] = position
        return latest

    def record(self, stream: Stream, position: int, accesses: Iterable[MemoryAccess]) -> None:
        """Note that the instruction at ``position`` (from 1) of ``stream`` makes these accesses."""
        for access in accesses:
            touches = self._touches.get(access.memory)
            if touches is not None:
                row = touches.row(stream.number)
                table = touches.writes if access.write else touches.reads
                table[row, self._span(access)] = position


_Memory = tuple[Space, int, int]


class _Touches:
    """Last positions for the lines of one memory: a row for each stream that touches it, which few of them do."""

    def __init__(self, lines: int) -> None:
        self.rows: dict[int, int] = {}
        self.reads = np.zeros((0, lines), np.int32)
        self.writes = np.zeros((0, lines), np.int32)

    def row(self, stream: int) -> int:
        """The row of a stream, by its number."""
        if stream not in self.rows:
            self.rows[stream] = len(self.rows)
            more = np.zeros((1, self.reads.shape[1]), np.int32)
            self.reads, self.writes = np.concatenate([self.reads, more]), np.concatenate([self.writes, more])
        return self.rows[stream]


def _lines(access: MemoryAccess) -> tuple[int, int]:
    line = _LINE[access.space]
    return access.start // line, -(-access.stop // line)
