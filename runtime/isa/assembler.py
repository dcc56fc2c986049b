"""Build a program from instructions in program order; waits and signals are put in here.

The order in which instructions are added is the meaning of the program. Each goes to its stream, raises the counter
of that stream, and waits for the last instruction of every other stream whose reads or writes conflict with its own.
Waits that earlier ones imply are left out, and a barrier takes what does not fit into the header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tilewright.errors import InstructionError

from ..machines.machine import Machine
from .encoding import WAITS, Barrier, End, Instruction, Queue, Stream, Wait, encode, streams
from .hazards import LastTouch
from .memories import outside
from .program import NO_LAYER, Program, Region


class Assembler:
    """Collects instructions and makes a ``Program`` of them.

    Args:
        machine: the machine to build for.
        regions: DRAM regions by index; at most 16.
        clusters: how many clusters of a card the program uses.
        reduced: fields of the machine of which the schedule uses less than there is, and how much.

    Raises:
        InstructionError: the machine has fewer clusters.
    """

    def __init__(
        self,
        machine: Machine,
        regions: Sequence[Region],
        clusters: int = 1,
        reduced: Mapping[str, int] | None = None,
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
        self._code: dict[Stream, list[bytes]] = {stream: [] for stream in self._streams}
        self._layer_of: dict[Stream, list[int]] = {stream: [] for stream in self._streams}
        self._layers: dict[str, int] = {}
        # By number of the stream: what an instruction of it knows to be complete of each stream. Filled when it waits.
        self._known: list[list[int]] = [[0] * len(self._streams) for _ in self._streams]
        self._clocks: list[list[tuple[int, ...]]] = [[(0,) * len(self._streams)] for _ in self._streams]

    def add(self, item: Instruction, layer: str | None = None, queue: Queue | None = None, cluster: int = 0) -> int:
        """Append an instruction; its own waits and signal must be empty.

        Args:
            item: the instruction.
            layer: name of the layer it belongs to, for reports.
            queue: needed only for instructions that several queues accept.
            cluster: which cluster runs it.

        Returns:
            Its position in its stream, counted from 1.

        Raises:
            InstructionError: a field breaks a rule, or an access lies outside its memory.
        """
        if item.waits or item.signal:
            raise InstructionError(f"{item.MNEMONIC}: the assembler sets waits and signals itself")
        stream = Stream(cluster, item.QUEUES[0] if queue is None else queue)
        if stream not in self._code:
            raise InstructionError(
                f"{item.MNEMONIC}: the program has no such cluster", expected=f"below {self.clusters}", found=cluster
            )
        encode(item)
        self._check_memory(item, stream)
        accesses = item.accesses(cluster)
        waits = self._needed(stream, self._touched.conflicts(stream.number, accesses, self._known[stream.number]))
        while len(waits) > WAITS:
            self._emit(stream, Barrier(waits=tuple(waits[-WAITS:])), layer)
            del waits[-WAITS:]
        self._emit(stream, replace(item, waits=tuple(waits)), layer)
        position = len(self._code[stream])
        self._touched.record(stream.number, position, accesses)
        return position

    def finish(self) -> Program:
        """Close every stream and return the program."""
        for stream in self._streams:
            self._emit(stream, End(), None)
        return Program(
            self.machine,
            self.regions,
            {stream: b"".join(code) for stream, code in self._code.items()},
            tuple(self._layers),
            {stream: np.array(layers, np.uint32) for stream, layers in self._layer_of.items()},
            self.reduced,
        )

    def _needed(self, stream: Stream, latest: list[int]) -> list[Wait]:
        """Waits for conflicts that what the stream has waited for does not cover, the farthest-reaching first."""
        known = self._known[stream.number]
        conflicts = [(number, position) for number, position in enumerate(latest) if position > known[number]]
        conflicts.sort(key=lambda each: -sum(self._clocks[each[0]][each[1]]))
        needed: list[Wait] = []
        for number, position in conflicts:
            if position > known[number]:
                needed.append(Wait(number + 1, position))
                known[:] = map(max, known, self._clocks[number][position])
                known[number] = max(known[number], position)
        return needed

    def _emit(self, stream: Stream, item: Instruction, layer: str | None) -> None:
        self._code[stream].append(encode(replace(item, signal=1)))
        index = NO_LAYER if layer is None else self._layers.setdefault(layer, len(self._layers))
        self._layer_of[stream].append(index)
        known = self._known[stream.number]
        known[stream.number] = len(self._code[stream]) - 1
        self._clocks[stream.number].append(tuple(known))

    def _check_memory(self, item: Instruction, stream: Stream) -> None:
        found = outside(item, stream, self.clusters, self.machine, self.regions)
        if found:
            raise InstructionError(f"{item.MNEMONIC}: {found.rule}", found=found.found)
