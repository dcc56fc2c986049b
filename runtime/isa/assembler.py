"""Build a program from instructions in program order; waits and signals are put in here.

The order in which instructions are added is the meaning of the program. Each goes to its queue, signals the counter
of that queue, and waits for the last instruction of every other queue whose reads or writes conflict with its own.
Waits that earlier ones imply are left out, and a barrier takes what does not fit into two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tilewright.errors import InstructionError

from ..machine import Machine
from .encoding import COUNTER_MODULUS, NO_WAIT, Barrier, End, Instruction, Queue, Wait, encode
from .memories import LastTouch, outside
from .program import NO_LAYER, Program, Region


class Assembler:
    """Collects instructions and makes a ``Program`` of them.

    Args:
        machine: the machine to build for.
        regions: DRAM regions by index; at most 16.
    """

    def __init__(self, machine: Machine, regions: Sequence[Region]) -> None:
        self.machine = machine
        self.regions = tuple(regions)
        self._touched = LastTouch(machine, self.regions)
        self._code: dict[Queue, list[bytes]] = {queue: [] for queue in Queue}
        self._layer_of: dict[Queue, list[int]] = {queue: [] for queue in Queue}
        self._layers: dict[str, int] = {}
        # What an instruction of each queue knows to be complete, for each queue: filled when it waits.
        self._known: dict[Queue, list[int]] = {queue: [0] * len(Queue) for queue in Queue}
        self._clocks: dict[Queue, list[tuple[int, ...]]] = {queue: [(0,) * len(Queue)] for queue in Queue}

    def add(self, item: Instruction, layer: str | None = None, queue: Queue | None = None) -> int:
        """Append an instruction; its own waits and signal must be empty.

        Args:
            item: the instruction.
            layer: name of the layer it belongs to, for reports.
            queue: needed only for instructions that several queues accept.

        Returns:
            Its position in its queue, counted from 1.

        Raises:
            InstructionError: a field breaks a rule, or an access lies outside its memory.
        """
        if item.wait_a != NO_WAIT or item.wait_b != NO_WAIT or item.signal:
            raise InstructionError(f"{item.MNEMONIC}: the assembler sets waits and signals itself")
        queue = item.QUEUES[0] if queue is None else queue
        encode(item)
        accesses = item.accesses()
        self._check_memory(item)
        before = list(self._known[queue])
        needed = self._needed(queue, self._touched.conflicts(queue, accesses))
        for other, position in needed:
            self._approach(queue, other, before[other], position, layer)
        waits = [_wait(other, position) for other, position in needed]
        while len(waits) > 2:
            self._emit(queue, Barrier(wait_a=waits.pop(), wait_b=waits.pop()), layer)
        waits += [NO_WAIT] * (2 - len(waits))
        self._emit(queue, replace(item, wait_a=waits[0], wait_b=waits[1]), layer)
        position = len(self._code[queue])
        self._touched.record(queue, position, accesses)
        return position

    def finish(self) -> Program:
        """Close every queue and return the program."""
        for queue in Queue:
            self._emit(queue, End(), None)
        return Program(
            self.machine,
            self.regions,
            {queue: b"".join(code) for queue, code in self._code.items()},
            tuple(self._layers),
            {queue: np.array(layers, np.uint32) for queue, layers in self._layer_of.items()},
        )

    def _approach(self, queue: Queue, other: Queue, known: int, position: int, layer: str | None) -> None:
        """Barriers in between where a wait lies too far ahead for a signed difference of counters to tell."""
        while position - known >= COUNTER_MODULUS // 2:
            known += COUNTER_MODULUS // 2 - 1
            self._emit(queue, Barrier(wait_a=_wait(other, known)), layer)

    def _needed(self, queue: Queue, latest: list[int]) -> list[tuple[Queue, int]]:
        """Conflicts that what the queue has already waited for does not cover, the farthest-reaching first."""
        known = self._known[queue]
        needed: list[tuple[Queue, int]] = []
        for other in sorted(Queue, key=lambda entry: -sum(self._clocks[entry][latest[entry]])):
            position = latest[other]
            if position > known[other]:
                needed.append((other, position))
                clock = self._clocks[other][position]
                known[:] = [max(pair) for pair in zip(known, clock, strict=True)]
                known[other] = max(known[other], position)
        return needed

    def _emit(self, queue: Queue, item: Instruction, layer: str | None) -> None:
        self._code[queue].append(encode(replace(item, signal=int(queue) + 1)))
        index = NO_LAYER if layer is None else self._layers.setdefault(layer, len(self._layers))
        self._layer_of[queue].append(index)
        self._known[queue][queue] = len(self._code[queue]) - 1
        self._clocks[queue].append(tuple(self._known[queue]))

    def _check_memory(self, item: Instruction) -> None:
        found = outside(item, self.machine, self.regions)
        if found:
            raise InstructionError(f"{item.MNEMONIC}: {found.rule}", found=found.found)


def _wait(other: Queue, position: int) -> Wait:
    return Wait(int(other) + 1, position % COUNTER_MODULUS)
