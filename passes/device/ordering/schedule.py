"""List scheduling: which step of a tile program goes next, in modelled time.

Among the steps whose predecessors have gone, the one goes next that can start first. Loads have no turn of their own:
each goes right before the first step that needs it, and may start in modelled time as soon as there is room for what it
loads. The steps of a layer that one unit runs keep their order where one cluster works on its own. Of several, one has
rows that its neighbours compute last, so that its own first step may be what it can do last.
"""

import heapq
from collections import Counter
from dataclasses import dataclass
from math import inf

from ....runtime.isa.encoding import Queue
from .program import Place, Room, Steps


class Links:
    """What an order of steps has to respect, by their numbers. A load has no turn of its own.

    Args:
        tiles_stay: whether the steps of a layer that one unit runs keep their order with several clusters, too.

    Attributes:
        loads: those that have to go before a step, in their order; also those that such a load has to follow.
        needs: the loads that a step itself follows.
        after: the other steps that it itself follows.
        waits: how many steps that are no loads have to go before a step and its loads.
        followers: the steps that wait for it.
        tails: cycles from the start of a step to the end of the program, at least; what is urgent has more.
        alone: loads that nothing needs.
    """

    def __init__(self, program: Steps, *, tiles_stay: bool = False) -> None:
        steps, tiles_stay = program.steps, tiles_stay or program.clusters == 1
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
            key = step.layer, step.cost.cluster, step.cost.queue
            if key in previous and tiles_stay:
                before.add(previous[key])
            previous[key] = number
            self.waits[number] = len(before)
            for each in before:
                self.followers[each].append(number)
        self.alone = [number for number, load in enumerate(is_load) if load and number not in used]


def _longest_paths(program: Steps) -> list[float]:
    """Cycles from the start of each step to the end, if of all units only the arrays did one thing at a time.

    An array does its work in the order in which that is written, and a product has to wait until there is room for its
    sums: so what takes sums away is urgent, and pooling is as urgent as the first product that needs it."""
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


Stream = tuple[int, Queue]

_LOOKED_AT = 32
"""Steps that are ready but had no room, those written first, which are looked at again each time."""

_SLOT = 128
"""Cycles in which the work of the DRAM is counted together."""


@dataclass
class Order:
    """An order of the steps of a program. ``steps``: their numbers; ``cycles``: modelled."""

    steps: list[int]
    cycles: float


def schedule(
    program: Steps, links: Links, share: float, *, as_written: bool = False, limit: float = inf
) -> Order | None:
    """An order in which each step finds room; ``None`` where that is not found.
    ``share``: of the scratchpads that steps may take before their turn.
    ``as_written``: keep the order that there is; what it takes.
    ``limit``: cycles; an order that takes longer is none."""
    return _Scheduler(program, links, share, as_written, limit).run()


class DramTimeline:
    """How busy the DRAM is from cycle 0 on: who asks for it when it is busy gets what is left.

    Requests may come in any order, those of later times first."""

    def __init__(self) -> None:
        self._busy: list[float] = [0.0] * 1024

    def serve(self, asked: float, cycles: float, *, take: bool = True) -> float:
        """When the DRAM has worked so many cycles for a request that is asked for then; ``take``: whether it does."""
        if not cycles:
            return asked
        busy = self._busy
        slot = int(asked // _SLOT)
        left = cycles
        while True:
            if slot >= len(busy):
                busy.extend([0.0] * max(len(busy), slot - len(busy) + 1))
            start = slot * _SLOT
            # What is busy counts as if it came first.
            begin = max(asked - start, busy[slot])
            room = _SLOT - begin
            if room >= left:
                if take:
                    busy[slot] += left
                return start + begin + left
            if room > 0:
                left -= room
                if take:
                    busy[slot] += room
            slot += 1


class _Scheduler:
    def __init__(self, program: Steps, links: Links, share: float, as_written: bool, limit: float) -> None:
        self._links, self._steps = links, program.steps
        self._room = Room(program, share)
        self._open = self._room.addresses
        self._dram = DramTimeline()
        self._as_written, self._limit = as_written, limit
        count = len(self._steps)
        self._ends: list[float] = [-1.0] * count
        self._handover = program.handover
        self._streams: list[Stream] = [(step.cost.cluster, step.cost.queue) for step in self._steps]
        self._free: dict[Stream, float] = dict.fromkeys(self._streams, 0.0)
        # When the last step of each is complete.
        self._complete: dict[Stream, float] = dict.fromkeys(self._streams, 0.0)
        # Cycles that the units still have to do.
        self._ahead: Counter[Stream] = Counter()
        for stream, step in zip(self._streams, self._steps, strict=True):
            self._ahead[stream] += step.cost.unit
        self._left = {place: place.steps for place in program.places}
        self._order: list[int] = []
        self._oldest = 0
        # When what a step follows, but for loads, is complete; known when all of it has gone.
        self._after = [-1.0] * count
        self._waits = [*links.waits]
        self._loads, self._needs, self._followers, self._tails = links.loads, links.needs, links.followers, links.tails
        self._heap: list[tuple[float, float, int]] = []
        self._blocked: list[int] = []

    def run(self) -> Order | None:
        """Every step."""
        for number in range(len(self._steps)):
            if not self._steps[number].is_load and not self._waits[number]:
                self._offer(number)
        while self._heap or self._blocked:
            number = self._next()
            if number is None or not self._go(number):
                return None
        for number in self._links.alone:
            if not self._place(number):
                return None
        return Order(self._order, max(self._ends, default=0.0))

    def _offer(self, number: int, at_least: float = 0.0) -> None:
        first = (0.0, 0.0) if self._as_written else (at_least, -self._tails[number])
        heapq.heappush(self._heap, (*first, number))

    def _next(self) -> int | None:
        """The ready step that can start first, of those for which there is room."""
        if self._as_written:
            return heapq.heappop(self._heap)[2]
        self._blocked.sort()
        for number in self._blocked[:_LOOKED_AT]:
            self._offer(number)
        del self._blocked[:_LOOKED_AT]
        while self._heap:
            _, _, number = heapq.heappop(self._heap)
            start = self._start(number)
            if start is None:
                self._blocked.append(number)
                continue
            if not self._heap or (start, -self._tails[number], number) <= self._heap[0]:
                return number
            self._offer(number, start)
        for number in sorted(self._blocked):
            if self._start(number, in_turn=True) is not None:
                self._blocked.remove(number)
                return number
        return None

    def _bundle(self, number: int) -> list[int]:
        """The step and the loads that go right before it."""
        return [each for each in (*self._loads[number], number) if self._ends[each] < 0]

    def _start(self, number: int, *, in_turn: bool = False) -> float | None:
        """When a step could start, if it went next; ``None`` if there is no room, or not before its turn."""
        bundle = self._bundle(number)
        opened = {place: None for each in bundle for place in self._steps[each].touches if place not in self._open}
        if not opened and bundle == [number]:
            return self._ready(number, {}, {}, [])
        if not in_turn and opened and not self._room.allows(opened):
            return None
        positions = self._room.positions(opened)
        tried: list[Place] = []
        free: dict[Stream, float] = {}
        ends: dict[int, float] = {}
        time: float | None = 0.0
        for each in bundle:
            time = self._ready(each, ends, free, tried)
            if time is None:
                break
            if each != number:
                price = self._steps[each].cost
                served = self._dram.serve(time + price.unit, price.dram, take=False)
                ends[each] = served + price.latency
                free[price.cluster, price.queue] = max(served, time + price.setup)
        self._room.undo(tried, positions)
        return time

    def _ready(
        self, number: int, ends: dict[int, float], free: dict[Stream, float], opened: list[Place]
    ) -> float | None:
        """When a step can start: its unit is free, what precedes it is complete, and there is room for its places."""
        step = self._steps[number]
        stream, streams, handover = self._streams[number], self._streams, self._handover
        time = free[stream] if stream in free else self._free[stream]
        if not step.cost.closely:
            time = max(time, self._complete[stream])
        after = self._after[number]
        if after < 0:
            before = self._links.after[number]
            seen = (self._ends[each] + (0 if streams[each] == stream else handover) for each in before)
            after = self._after[number] = max(seen, default=0.0)
        time = max(time, after)
        for each in self._needs[number]:
            end = ends[each] if each in ends else self._ends[each]
            if streams[each] != stream:
                end += handover
            if end > time:
                time = end
        for place in step.touches:
            if place in self._open:
                continue
            since = self._room.open(place)
            if since is None:
                return None
            opened.append(place)
            time = max(time, since)
        return time

    def _go(self, number: int) -> bool:
        """Put a step and its loads into the order, and the stores that only waited for it; whether there is room."""
        pending = [number]
        while pending:
            current = pending.pop()
            if not all(self._place(each) for each in self._bundle(current)):
                return False
            for each in self._followers[current]:
                self._waits[each] -= 1
                if self._waits[each]:
                    continue
                if self._steps[each].cost.queue == Queue.ST and not self._loads[each] and not self._as_written:
                    pending.append(each)
                else:
                    self._offer(each)
        return True

    def _place(self, number: int) -> bool:
        """Put a step into the order and into modelled time; whether there is room, and the limit is kept."""
        step = self._steps[number]
        price = step.cost
        opened: list[Place] = []
        begin = self._ready(number, {}, {}, opened)
        if begin is None:
            return False
        for place in opened:
            self._room.reserve(place)
        served = self._dram.serve(begin + price.unit, price.dram)
        # The next one, as a rule of the same kind, is set up meanwhile.
        stream = self._streams[number]
        self._free[stream] = max(served, begin + price.setup)
        end = self._ends[number] = self._complete[stream] = served + price.latency
        self._ahead[stream] -= price.unit
        if max(self._free[stream] + self._ahead[stream], end) > self._limit:
            return False
        self._order.append(number)
        while self._oldest < len(self._steps) and self._ends[self._oldest] >= 0:
            self._oldest += 1
        self._room.advance(self._oldest)
        for place in step.touches:
            self._left[place] -= 1
            if not self._left[place]:
                self._room.close(place, end + self._handover)
        return True
