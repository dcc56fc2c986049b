"""What the DRAM of a card serves, the most urgent first, which of its rows lie open, and what is noted of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

import numpy as np

from tilewright.immutable import Immutable

from ..isa.encoding import Instruction, Stream
from ..isa.program import NO_LAYER, Program
from ..isa.transfer import LINE, DramTransfer, LoadLines
from ..machines.cost import Runs, cost, handover
from ..machines.machine import Machine
from .verifier import OrderedProgram


def urgencies(ordered: OrderedProgram, machines: Sequence[Machine]) -> Mapping[Stream, list[tuple[int, float, float]]]:
    """For each instruction of each stream, what is least for the most urgent: the number of its layer, then the cycles
    from its end to that of the program, taken from 0, if every unit did only what it is waited for, then its own.

    On one machine, jobs that still have a way to go behind it are done in the order of these ways, the longest first,
    however long they take themselves (J. R. Jackson, Scheduling a production line to minimize maximum tardiness, 1955).

    Layers are numbered in the order in which the program begins with them; what lies ahead of one of them in a stream
    counts to it, and what that waits for. Where the DRAM is what takes longest, it should serve what is computed next,
    however much depends on what comes later.
    ``machines``: for each card, the one whose constants count."""
    queues, targets = ordered.queues, ordered.targets
    tails = {stream: [0.0] * len(queue) for stream, queue in queues.items()}
    left = {stream: [(0.0, 0.0)] * len(queue) for stream, queue in queues.items()}
    own_layers = {stream: _layers(ordered.programs[stream.card], stream) for stream in queues}
    layers = {stream: [*own] for stream, own in own_layers.items()}
    for stream, index in reversed(ordered.order):
        machine, own, layer = machines[stream.card], tails[stream], layers[stream]
        price = cost(queues[stream][index], machine)
        busy = price.unit + price.dram(machine)
        following = 0.0
        if index + 1 < len(own):
            following, layer[index] = own[index + 1], min(layer[index], layer[index + 1])
        left[stream][index] = max(own[index] + price.latency, following), busy
        own[index] = busy + left[stream][index][0]
        behind = own[index] + handover(machine)
        for other, position in targets[stream][index]:
            if position:
                tails[other][position - 1] = max(tails[other][position - 1], behind)
                # Waits that went ahead in their stream are not what its layer waits for.
                if own_layers[other][position - 1] <= own_layers[stream][index]:
                    layers[other][position - 1] = min(layers[other][position - 1], layer[index])
    return {
        stream: [(layer, -behind, busy) for layer, (behind, busy) in zip(layers[stream], left[stream], strict=True)]
        for stream in queues
    }


def _layers(program: Program, stream: Stream) -> list[int]:
    """The layer of each instruction; what belongs to none ends a stream, or adds waits to what follows."""
    layers, known = program.layer_of[stream._replace(card=0)].tolist(), 0
    for index, layer in enumerate(layers):
        known = layers[index] = known if layer == NO_LAYER else layer
    return layers


class Request(NamedTuple):
    """What the DRAM serves: a transfer, the instruction ``number`` of a stream; or its fetch with that number."""

    is_fetch: bool
    stream: Stream
    number: int


class Service(NamedTuple):
    """When the DRAM of a card serves a request, or the link to another card carries a message: cycles, as of events."""

    request: Request
    start: float
    end: float


class Traffic(Immutable):
    """What `simulate` tells of DRAMs and links where it is given one.
    ``dram``: by card, in order.
    ``links``: by sender and receiver, in order."""

    dram: dict[int, list[Service]] = field(default_factory=dict)
    links: dict[tuple[int, int], list[Service]] = field(default_factory=dict)


_MOST_RUNS = 1 << 14
"""Of a transfer, whose rows are looked at; programs from strangers may have instructions of many more."""


class Dram:
    """That of a card: what it has served, when it is free, and which rows lie open.

    Regions lie one behind the other, each from a row of its own on, and behind them the instructions in the order in
    which they are fetched. Rows that follow each other lie in banks that do; a bank keeps its row open until another
    one of it is asked for.

    Attributes:
        opened: rows for fetches of instructions.
        order: of its requests; None where that is found out.
        turn: what it serves next; None where that is not known yet.
        waiting: requests that could start before it, and when they were asked for.
    """

    def __init__(self, program: Program, machine: Machine, order: list[Request] | None) -> None:
        self.free = 0.0
        self.wrote = False
        self.turnarounds = 0
        self.opened = 0
        self.served: list[Request] = []
        self.order = order
        self.turn = order[0] if order else None
        self.waiting: dict[Request, float] = {}
        self._row, self._banks = machine.dram_row_bytes, machine.dram_banks
        self._open: dict[int, int] = {}
        self._bases = [0]
        for region in program.regions:
            self._bases.append(self._bases[-1] + -(-region.size // self._row) * self._row)
        self._fetched = self._bases[-1]

    def fetch(self, size: int) -> int:
        """Reach further instructions of so many bytes; how many rows are opened for that."""
        start = self._fetched
        self._fetched += size
        return self._reach([(start // self._row, (self._fetched - 1) // self._row)])

    def transfer(self, item: Instruction, most: int) -> int:
        """Reach what a transfer moves; how many rows are opened for that. ``most``: that many, if no row lies open."""
        if isinstance(item, LoadLines):
            runs, offset = Runs(item.dram_bytes), item.offset * LINE
        else:
            assert isinstance(item, DramTransfer)
            runs, offset = (
                Runs(item.run, item.count_y, item.count_z, item.dram_stride_y, item.dram_stride_z),
                item.offset,
            )
        runs = runs.joined
        if runs.count_y * runs.count_z > _MOST_RUNS:
            return most
        planes, lines = (np.arange(int(count)) for count in (runs.count_z, runs.count_y))
        starts = (
            (planes[:, np.newaxis] * runs.stride_z + lines * runs.stride_y).ravel() + self._bases[item.region] + offset
        )
        first, last = starts // self._row, (starts + runs.run - 1) // self._row
        # A run that lies in the row in which the one before ends reaches nothing new.
        is_new = np.append(True, (first[1:] != last[:-1]) | (last[1:] != first[1:]))
        return self._reach(zip(first[is_new].tolist(), last[is_new].tolist(), strict=True))

    def _reach(self, runs: Iterable[tuple[int, int]]) -> int:
        """Runs, each from one row to another, that begin in one which is not open. Others are opened ahead."""
        banks, held = self._banks, self._open
        found = 0
        for first, last in runs:
            found += held.get(first % banks) != first
            for each in range(max(first, last - banks + 1), last + 1):
                held[each % banks] = each
        return found
