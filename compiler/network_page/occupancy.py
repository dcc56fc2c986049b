"""The memory map of an engine; and how full the memories of the accelerator are over modelled time, and its DRAM busy.

A unit of a memory is taken from when an instruction begins to write it until the last one that reads what was written
is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...codegen.stored_module import load_module
from ...ir.annotations import ALIAS, AT
from ...ir.layout import bytes_of
from ...runtime.artifact.artifact import Artifact
from ...runtime.isa.accesses import MemoryAccess, Space
from ...runtime.isa.hazards import part, units_of
from ...runtime.isa.layouts import SCRATCHPAD_UNITS, scratchpad_bytes
from ...runtime.isa.program import RegionKind
from ...runtime.report.simulation import SimulatedProgram
from ...runtime.report.table import Column, Table, show_bytes

POINTS = 480
"""Parts of the time that are told apart."""

_UNITS = 1 << 16
"""Parts of a region of DRAM that are told apart, at most."""

_BURST = 64

_KEPT = {RegionKind.INPUT: "inputs", RegionKind.OUTPUT: "outputs", RegionKind.SCRATCH: "feature maps"}


class Memories(NamedTuple):
    """What is taken in each part of the time.

    Attributes:
        scratchpads: by space, bytes of all clusters and cards, and how many there are.
        dram: by use, bytes.
        constants: bytes of DRAM that are never written.
        busy: shares of the time of DRAM, of all cards.
    """

    scratchpads: dict[Space, tuple[np.ndarray, int]]
    dram: dict[str, np.ndarray]
    constants: int
    busy: np.ndarray


@dataclass
class _Counter:
    """Bytes that are taken in the mean of each part of the time, as differences from part to part."""

    cycles: float
    changes: np.ndarray = field(default_factory=lambda: np.zeros(POINTS + 2))

    def add(self, first: np.ndarray, last: np.ndarray, unit: int) -> None:
        """Take units from the first times to the last ones."""
        for times, size in ((first, unit), (last, -unit)):
            points = times.reshape(-1) * (POINTS / self.cycles)
            part = points.astype(np.intp)
            # What begins within a part is there for the rest of it.
            late = np.bincount(part, points - part, minlength=POINTS + 1) * size
            self.changes[:-1] += np.bincount(part, minlength=POINTS + 1) * size - late
            self.changes[1:] += late

    @property
    def taken(self) -> np.ndarray:
        return np.cumsum(self.changes)[:POINTS]


class _Memory:
    """When each unit of a memory was written and read last."""

    def __init__(self, count: int, unit: int, counter: _Counter, begin: float) -> None:
        self._first, self._last = np.full(count, begin), np.full(count, begin)
        self._unit, self._counter = unit, counter

    def touch(self, access: MemoryAccess, start: float, end: float) -> None:
        if access.space is Space.DRAM:
            units = slice(access.start // self._unit, -(-access.stop // self._unit))
            first, last = self._first[units], self._last[units]
        else:
            units = units_of(access)
            first, last = part(self._first, units), part(self._last, units)
        if access.write:
            read = last > first
            self._close(first, last, read)
            # What nobody has read yet is one piece of work with this.
            anew = read | (first < 0)
            first, new = np.where(anew, start, first), np.where(anew, start, last)
        else:
            new = np.maximum(last, end)
        self._put(units, first, new)

    def _put(self, units: object, first: np.ndarray, last: np.ndarray) -> None:
        for own, new in ((self._first, first), (self._last, last)):
            if isinstance(units, slice | np.ndarray):
                own[units] = new
            else:
                part(own, units)[...] = new  # pyright: ignore[reportArgumentType]

    def _close(self, first: np.ndarray, last: np.ndarray, done: np.ndarray) -> None:
        done = done & (first >= 0)
        if done.any():
            self._counter.add(first[done], last[done], self._unit)

    def finish(self) -> None:
        self._close(self._first, self._last, self._last > self._first)


def memories(programs: Sequence[SimulatedProgram]) -> Memories:
    """What is taken of every memory while device programs run one after the other, each for the first time."""
    machine = programs[0].ordered.machine
    total = sum(program.timeline.cycles for program in programs) or 1.0
    counters = {space: _Counter(total) for space in SCRATCHPAD_UNITS}
    uses = {name: _Counter(total) for name in _KEPT.values()}
    sizes = scratchpad_bytes(machine)
    edges, busy, begin = np.linspace(0, total, POINTS + 1), np.zeros(POINTS), 0.0
    for _, ordered, timeline, traffic, _ in programs:
        held: dict[tuple[int, ...], _Memory] = {}
        for event in sorted(timeline.events, key=lambda event: event.start):
            card, times = event.stream.card, (begin + event.start, begin + event.end)
            for access in ordered.queues[event.stream][event.index].accesses(event.stream.cluster):
                key = (card, *access.memory)
                if key not in held:
                    if access.space is Space.DRAM:
                        region = ordered.programs[card].regions[access.region]
                        if region.kind not in _KEPT:
                            continue
                        unit = max(_BURST, -(-region.size // _UNITS))
                        there = begin if region.kind is RegionKind.INPUT else -1.0
                        held[key] = _Memory(-(-region.size // unit), unit, uses[_KEPT[region.kind]], there)
                    else:
                        unit = SCRATCHPAD_UNITS[access.space]
                        held[key] = _Memory(sizes[access.space] // unit, unit, counters[access.space], -1.0)
                held[key].touch(access, *times)
        for memory in held.values():
            memory.finish()
        for services in traffic.dram.values():
            ends = np.array([(each.start, each.end) for each in services]).reshape(-1) + begin
            worked = np.cumsum([(0.0, each.end - each.start) for each in services])
            busy += np.diff(np.interp(edges, ends, worked, left=0.0)) if len(ends) else 0.0
        begin += timeline.cycles
    cards = max(program.timeline.cards for program in programs)
    clusters = max(program.timeline.clusters for program in programs) * cards
    constants = sum(
        region.size
        for program in programs
        for each in program.ordered.programs
        for region in each.regions
        if region.kind is RegionKind.CONSTANT
    )
    return Memories(
        {space: (counter.taken, sizes[space] * clusters) for space, counter in counters.items()},
        {name: counter.taken for name, counter in uses.items()},
        constants,
        np.minimum(busy / (total / POINTS * cards), 1.0),
    )


def memory_map(artifact: Artifact, engine: str) -> Table:
    """One row for each op result in the work memory of an engine, in order of execution: where it lies, and by which
    steps it is written and last read."""
    columns = [
        Column("name", "result"),
        Column("offset", "offset", right=True),
        Column("bytes", "size", show=show_bytes, right=True),
        Column("first", "written", right=True),
        Column("last", "last read", right=True),
        Column("shared", "memory"),
    ]
    table = Table(columns)
    program = artifact.manifest.engines[engine].cpu_program
    if program is None:
        return table
    function = load_module(artifact, program).main
    order = {op: index for index, op in enumerate(function.ops)}
    for op in function.ops:
        alias = ALIAS.get(op)
        for value, offset in zip(op.results, AT.get(op) or (), strict=False):
            own = "work memory" if offset is not None else "the caller's output buffer"
            table.add(
                name=value.name,
                offset=offset,
                bytes=bytes_of(value.type),
                first=order[op],
                last=max((order[user] for user in value.users), default=order[op]),
                shared=own if alias is None else f"that of operand {alias}",
            )
    return table
