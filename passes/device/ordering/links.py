"""Who waits for whom while an order is made: loads go with the first step that needs them."""

from __future__ import annotations

from ....runtime.isa import Queue
from .program import Steps


class Links:
    """What an order of steps has to respect, by their numbers. A load has no turn of its own.

    Attributes:
        loads: those that have to go before a step, in their order; also those that such a load has to follow.
        needs: the loads that a step itself follows.
        after: the other steps that it itself follows.
        waits: how many steps that are no loads have to go before a step and its loads.
        followers: the steps that wait for it.
        tails: cycles from the start of a step to the end of the program, at least; what is urgent has more.
        alone: loads that nothing needs.
    """

    def __init__(self, program: Steps) -> None:
        steps = program.steps
        is_load = [step.is_load for step in steps]
        self.loads: list[tuple[int, ...]] = []
        self.needs = [[each for each in step.follows if is_load[each]] for step in steps]
        self.after = [[each for each in step.follows if not is_load[each]] for step in steps]
        self.waits = [0] * len(steps)
        self.followers: list[list[int]] = [[] for _ in steps]
        self.tails = _longest_paths(program)
        previous: dict[tuple[str | None, int, Queue], int] = {}
        before_load: dict[int, set[int]] = {}
        used: set[int] = set()
        for number, step in enumerate(steps):
            loads, before = set(self.needs[number]), set(self.after[number])
            for each in self.needs[number]:
                loads.update(self.loads[each])
                before |= before_load[each]
            self.loads.append(tuple(sorted(loads)))
            if is_load[number]:
                before_load[number] = before
                continue
            used |= loads
            # The steps of a layer that one unit runs keep their order.
            key = step.layer, step.cost.cluster, step.cost.queue
            if key in previous:
                before.add(previous[key])
            previous[key] = number
            self.waits[number] = len(before)
            for each in before:
                self.followers[each].append(number)
        self.alone = [number for number, load in enumerate(is_load) if load and number not in used]


def _longest_paths(program: Steps) -> list[float]:
    """Cycles from the start of each step to the end, if of all units only the arrays did one thing at a time.

    An array does its work in the order in which that is written, and a product has to wait until there is room for its
    sums: so what takes sums away is urgent, and pooling is as urgent as the first product that needs it.
    """
    steps = program.steps
    before: list[list[int]] = [[] for _ in steps]
    previous: dict[int, int] = {}
    for number, step in enumerate(steps):
        if step.cost.queue == Queue.MAC:
            if step.cost.cluster in previous:
                before[number].append(previous[step.cost.cluster])
            previous[step.cost.cluster] = number
    for cluster in range(program.clusters):
        _await_room(program, cluster, before)
    tails = [0.0] * len(steps)
    for number in range(len(tails) - 1, -1, -1):
        step = steps[number]
        tail = tails[number] = tails[number] + step.cost.unit + step.cost.dram + step.cost.latency
        for each in (*step.follows, *before[number]):
            if tails[each] < tail:
                tails[each] = tail
    return tails


def _await_room(program: Steps, cluster: int, before: list[list[int]]) -> None:
    """Note which steps make room for the sums of others, if accumulators are taken in turn."""
    sums = [place for place in program.places if (place.memory, place.cluster) == ("accumulators", cluster)]
    sums.sort(key=lambda place: place.first)
    taken, oldest = 0, 0
    for place in sums:
        taken += place.size
        while taken > program.sizes["accumulators"]:
            leaving = sums[oldest]
            taken -= leaving.size
            oldest += 1
            if leaving.last < place.first:
                before[place.first].append(leaving.last)
