"""How urgent instructions are: of what waits for the DRAM, it serves the most urgent first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..isa.encoding import Stream
from ..isa.program import NO_LAYER
from ..machines.cost import cost, handover
from ..machines.machine import Machine
from .verifier import OrderedProgram


def urgencies(ordered: OrderedProgram, machines: Sequence[Machine]) -> Mapping[Stream, list[tuple[int, float, float]]]:
    """For each instruction of each stream, what is least for the most urgent: the number of its layer, then the cycles
    from its end to that of the program, taken from 0, if every unit did only what it is waited for, then its own.

    On one machine, jobs that still have a way to go behind it are done in the order of these ways, the longest first,
    however long they take themselves (J. R. Jackson, Scheduling a production line to minimize maximum tardiness, 1955).

    Layers are numbered in the order in which the program begins with them. Where the DRAM is what takes longest, it
    should serve what is computed next, however much depends on what comes later.

    Args:
        machines: for each card, the one whose constants count.
    """
    queues, targets = ordered.queues, ordered.targets
    tails = {stream: [0.0] * len(queue) for stream, queue in queues.items()}
    left = {stream: [(0.0, 0.0)] * len(queue) for stream, queue in queues.items()}
    for stream, index in reversed(ordered.order):
        machine, own = machines[stream.card], tails[stream]
        price = cost(queues[stream][index], machine)
        busy = price.unit + price.dram(machine)
        following = own[index + 1] if index + 1 < len(own) else 0.0
        left[stream][index] = max(own[index] + price.latency, following), busy
        own[index] = busy + left[stream][index][0]
        behind = own[index] + handover(machine)
        for other, position in targets[stream][index]:
            if position:
                tails[other][position - 1] = max(tails[other][position - 1], behind)
    found: dict[Stream, list[tuple[int, float, float]]] = {}
    for stream in queues:
        layers = ordered.programs[stream.card].layer_of[stream._replace(card=0)].tolist()
        known = 0
        for index, layer in enumerate(layers):
            # What belongs to no layer ends a stream, or adds waits to what follows.
            known = layers[index] = known if layer == NO_LAYER else layer
        found[stream] = [(layer, -behind, busy) for layer, (behind, busy) in zip(layers, left[stream], strict=True)]
    return found
