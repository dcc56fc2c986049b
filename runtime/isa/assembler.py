"""Build a program from instructions in program order; waits and signals are put in here.

The order in which instructions are added is the meaning of the program. Each goes to its stream, raises the counter
of that stream, and waits for the last instruction of every other stream whose reads or writes conflict with its own.
Waits that earlier ones imply are left out. What does not fit into the header an instruction ahead in the stream takes
that comes later in the program than what is waited for, so that this is sure to come; a barrier, where none has room.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tilewright.errors import InstructionError

from ..machines.cost import cost, handover
from ..machines.machine import MAPS_UNIT, RUN_LIMIT, Machine
from .encoding import (
    WAITS,
    Barrier,
    End,
    Instruction,
    Queue,
    Stream,
    Wait,
    encode_checked,
    refuse_violations,
    streams,
    table,
)
from .hazards import LastTouch
from .layouts import outside
from .normalization import Normalize
from .program import NO_LAYER, Program, Region
from .transfer import LoadMaps, Move, Receive, Send, Store
from .vector import Elementwise, ElementwiseKind, Pool, PoolKind, Requantize, RequantizeSum, RequantizeWide


class Assembler:
    """Collects instructions and makes a ``Program`` of them.

    Args:
        regions: DRAM regions by index; at most 16.
        clusters: how many clusters of a card the program uses.
        reduced: fields of the machine of which the schedule uses less than there is, and how much.

    Attributes:
        queues: the instructions so far, without waits and signals.
        order: of all of them, (stream, index), each after everything it waits for.
        targets: for each stream and instruction, what it waits for: (other stream, instructions of it completed).

    Raises:
        InstructionError: the machine has fewer clusters.
    """

    def __init__(
        self, machine: Machine, regions: Sequence[Region], clusters: int = 1, reduced: Mapping[str, int] | None = None
    ) -> None:
        if not 0 < clusters <= machine.clusters:
            raise InstructionError(
                "a program for more clusters than a card has", expected=f"1 to {machine.clusters}", found=clusters
            )
        self.machine = machine
        self.regions = tuple(regions)
        self.clusters = clusters
        self.reduced = dict(reduced or {})
        self._streams = streams(clusters)
        self._touched = LastTouch(machine, self.regions)
        self.queues: dict[Stream, list[Instruction]] = {stream: [] for stream in self._streams}
        self.order: list[tuple[Stream, int]] = []
        self.targets: dict[Stream, list[tuple[tuple[Stream, int], ...]]] = {stream: [] for stream in self._streams}
        self._layer_of: dict[Stream, list[int]] = {stream: [] for stream in self._streams}
        self._layers: dict[str, int] = {}
        self._times: dict[Stream, list[tuple[float, float]]] = {stream: [] for stream in self._streams}
        self._free = dict.fromkeys(self._streams, 0.0)
        self._loaded = 0.0
        self._is_closed = False
        self._codes = {stream: bytearray() for stream in self._streams}
        # Where in an order each instruction may be: loads right behind the last one of what they wait for. Messages
        # stay where they are: one that comes may wait, on the card that sends it, for any that was sent before it.
        self._places: dict[Stream, list[tuple[int, int]]] = {stream: [] for stream in self._streams}
        # By number of the stream: what an instruction of it knows to be complete of each stream. Filled when it waits.
        self._known: list[list[int]] = [[0] * len(self._streams) for _ in self._streams]
        self._clocks: list[list[tuple[int, ...]]] = [[(0,) * len(self._streams)] for _ in self._streams]

    def add(self, item: Instruction, layer: str | None = None, queue: Queue | None = None, cluster: int = 0) -> int:
        """Append an instruction; its own waits and signal must be empty.
        ``layer``: name of the layer it belongs to, for reports and for the order in which the DRAM serves.
        ``queue``: needed only for instructions that several queues accept.
        Returns its position in its stream, counted from 1.
        Raises InstructionError: a field breaks a rule, or an access lies outside its memory."""
        if item.waits or item.signal:
            raise InstructionError(f"{item.MNEMONIC}: the assembler sets waits and signals itself")
        stream = Stream(cluster, item.QUEUES[0] if queue is None else queue)
        if stream not in self.queues:
            raise InstructionError(
                f"{item.MNEMONIC}: the program has no such cluster", expected=f"below {self.clusters}", found=cluster
            )
        refuse_violations(item)
        accesses = item.accesses(cluster)
        found = outside(item, stream, self.clusters, self.machine, self.regions, accesses)
        if found:
            raise InstructionError(f"{item.MNEMONIC}: {found.rule}", found=found.found)
        latest = self._touched.conflicts(stream.number, accesses, self._known[stream.number])
        waits = self._needed(stream, latest)
        known, clocks = self._known[stream.number], self._clocks[stream.number]
        while len(waits) > WAITS:
            known[:] = clocks[-1]
            if not self._wait_ahead(stream, waits):
                self._emit(stream, Barrier(), self._needed(stream, self._latest(waits[-WAITS:])), layer)
            waits = self._needed(stream, latest)
        self._emit(stream, item, waits, layer)
        position = len(self.queues[stream])
        self._touched.record(stream.number, position, accesses)
        return position

    def finish(self) -> Program:
        """Close every stream and return the program."""
        if not self._is_closed:
            self._is_closed = True
            for stream in self._streams:
                self._emit(stream, End(), [], None)
            # What is waited for comes first, also where a wait went ahead.
            self.order.sort(key=lambda each: self._places[each[0]][each[1]])
            for stream in self._streams:
                for item, targets in zip(self.queues[stream], self.targets[stream], strict=True):
                    # Every instruction raises the counter of its stream.
                    waits = [Wait(other.counter, at) for other, at in targets]
                    self._codes[stream] += encode_checked(item, waits, signal=1)
        return Program(
            self.machine,
            self.regions,
            {stream: bytes(code) for stream, code in self._codes.items()},
            tuple(self._layers),
            {stream: np.array(layers, np.uint32) for stream, layers in self._layer_of.items()},
            self.reduced,
        )

    def _latest(self, targets: Sequence[tuple[Stream, int]]) -> list[int]:
        """What is waited for, by number of the stream."""
        latest = [0] * len(self._streams)
        for other, at in targets:
            latest[other.number] = at
        return latest

    def _needed(self, stream: Stream, latest: list[int]) -> list[tuple[Stream, int]]:
        """Waits for conflicts that what the stream has waited for does not cover, the farthest-reaching first."""
        known = self._known[stream.number]
        if latest == known:
            return []
        conflicts = [(number, position) for number, position in enumerate(latest) if position > known[number]]
        conflicts.sort(key=lambda each: -sum(self._clocks[each[0]][each[1]]))
        needed: list[tuple[Stream, int]] = []
        for number, position in conflicts:
            if position > known[number]:
                needed.append((self._streams[number], position))
                known[:] = map(max, known, self._clocks[number][position])
                known[number] = max(known[number], position)
        return needed

    def _wait_ahead(self, stream: Stream, waits: list[tuple[Stream, int]]) -> bool:
        """Let what goes ahead in a stream wait for one of what is too much for a header; whether it can.

        Behind a barrier an instruction is set up when that has waited, not while the one ahead works. What is not
        complete by then, as far as is known, holds up what goes ahead."""
        self._run_on()
        end, (other, at) = min((self._times[other][at - 1][1], (other, at)) for other, at in waits)
        places, targets, items = self._places[stream], self.targets[stream], self.queues[stream]
        index = len(targets) - 1
        while index >= 0 and places[index] > self._places[other][at - 1]:
            # What a barrier waits for is for the next one.
            if len(targets[index]) < WAITS and not (index and isinstance(items[index - 1], Barrier)):
                break
            index -= 1
        if index < 0 or places[index] < self._places[other][at - 1] or self._times[stream][index][0] < end:
            return False
        targets[index] += ((other, at),)
        self._renew(places[index][1])
        return True

    def _run_on(self) -> None:
        """Estimate when instructions start and are complete, as if loads alone used the DRAM, in their order."""
        machine = self.machine
        for stream, index in self.order[sum(map(len, self._times.values())) :]:
            price, times = cost(self.queues[stream][index], machine), self._times[stream]
            ready = [self._times[other][at - 1][1] + handover(machine) for other, at in self.targets[stream][index]]
            start = max([self._free[stream], *ready])
            end = start + price.unit
            if stream.queue in (Queue.LD, Queue.LW):
                end = self._loaded = max(end, self._loaded) + price.dram(machine)
            self._free[stream] = max(end, start + price.setup)
            times.append((start, end + price.latency))

    def _renew(self, first: int) -> None:
        """Leave out what the waits imply that went into this instruction of the order, from there on."""
        for stream, index in self.order[first:]:
            clocks, known = self._clocks[stream.number], self._known[stream.number]
            known[:] = clocks[index]
            self.targets[stream][index] = tuple(self._needed(stream, self._latest(self.targets[stream][index])))
            known[stream.number] = index
            clocks[index + 1] = tuple(known)

    def _emit(
        self, stream: Stream, item: Instruction, targets: Sequence[tuple[Stream, int]], layer: str | None
    ) -> None:
        place = len(self.order)
        if stream.queue in (Queue.LD, Queue.LW) and not isinstance(item, Receive):
            ahead = [*self._places[stream][-1:], *(self._places[other][at - 1] for other, at in targets)]
            place = max(ahead, default=(0, 0))[0]
        self._places[stream].append((place, len(self.order)))
        self.order.append((stream, len(self.queues[stream])))
        self.queues[stream].append(item)
        self.targets[stream].append(tuple(targets))
        index = NO_LAYER if layer is None else self._layers.setdefault(layer, len(self._layers))
        self._layer_of[stream].append(index)
        known = self._known[stream.number]
        known[stream.number] = len(self.queues[stream]) - 1
        self._clocks[stream.number].append(tuple(known))


Fields = dict[str, Any]


def build(name: str, fields: Mapping[str, Any]) -> Instruction:
    """The instruction whose class has this name.
    ``fields``: of the instruction; but those of a transfer say what it moves, see `_box`, `_move` and `_message`, and
    ``kind`` is the name of one."""
    kind, derived = _BUILT[name]
    return kind(**derived(**fields))


def _strides(prefix: str, columns: int, rows: int, row: int, pixel: int) -> Fields:
    """From run to run and from plane to plane, 0 where there is one alone."""
    return {f"{prefix}_stride_y": pixel if columns > 1 else 0, f"{prefix}_stride_z": row if rows > 1 else 0}


def _box(
    rows: int, columns: int, run: int, dram: tuple[int, int], chip: tuple[int, int], packed: bool, **fields: Any
) -> Fields:
    """A box of a map in as few runs as it can be moved in.

    Args:
        rows, columns: pixels of the box.
        run: bytes to move of a pixel.
        dram, chip: bytes from row to row and from pixel to pixel.
        packed: whether the pixels of a row follow each other without gaps on chip.
    """
    if (packed or dram[1] == chip[1]) and run == dram[1] and columns * run <= RUN_LIMIT:
        run, columns = columns * run, 1
    counts = {"run": run, "count_y": columns, "count_z": rows}
    on_chip = _strides("map", columns, rows, chip[0] // MAPS_UNIT, chip[1] // MAPS_UNIT)
    return {**counts, **_strides("dram", columns, rows, *dram), **on_chip, **fields}


def _move(
    rows: int, columns: int, run: int, source_pitches: tuple[int, int], target_pitches: tuple[int, int], **fields: Any
) -> Fields:
    """A box of a map from cluster to cluster; distances from row to row and from pixel to pixel, all in 16 bytes."""
    if source_pitches[1] == target_pitches[1] == run:
        run, columns = run * columns, 1
    counts = {"run": run, "count_y": columns, "count_z": rows}
    source = _strides("source", columns, rows, *source_pitches)
    return {**counts, **source, **_strides("destination", columns, rows, *target_pitches), **fields}


def _message(shape: Sequence[int], distances: tuple[int, int, int], **fields: Any) -> Fields:
    """A map that crosses to another card: its channels, without what fills their last block.
    ``shape``: images, rows, columns, channels.
    ``distances``: bytes in DRAM from image to image, row to row and pixel to pixel."""
    images, rows, columns, channels = shape
    image, row, pixel = distances
    run, count_y, count_z, strides = channels, columns, images * rows, (row, pixel)
    if pixel == channels and columns * channels <= RUN_LIMIT:
        # Whole rows, each in one run.
        run, count_y, count_z, strides = columns * channels, rows, images, (image, row)
    return {"run": run, "count_y": count_y, "count_z": count_z, **_strides("dram", count_y, count_z, *strides)} | fields


def _binary32(number: float) -> int:
    return int(np.float32(number).view(np.uint32))


def _requantized(slope: float = 1.0, source_multiplier: float | None = None, **fields: int) -> Fields:
    added = {} if source_multiplier is None else {"source_multiplier": _binary32(source_multiplier)}
    return {"slope": 0 if slope == 1 else _binary32(slope), **added, **fields}


_DERIVED: dict[type[Instruction], Callable[..., Fields]] = {
    **dict.fromkeys((LoadMaps, Store), _box),
    Move: _move,
    **dict.fromkeys((Send, Receive), _message),
    Pool: lambda kind, **fields: {"kind": int(PoolKind[kind.upper()]), **fields},
    Elementwise: lambda kind, **fields: {"kind": int(ElementwiseKind[kind.upper()]), **fields},
    **dict.fromkeys((Requantize, RequantizeSum, RequantizeWide), _requantized),
    Normalize: lambda epsilon, **fields: {"epsilon": _binary32(epsilon), **fields},
}
"""What makes the fields of an instruction of what is given for it, where that is not the same."""

_BUILT = {kind.__name__: (kind, _DERIVED.get(kind, dict)) for kind in table()}
