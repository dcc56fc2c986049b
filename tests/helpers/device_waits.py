"""Which waits of device programs the verifier would miss: every one removed or weakened, proved again where it matters.

The proof of a whole program for each of its waits takes hours for networks. What an instruction must know to be done
does not depend on waits, though: of each other stream, the last conflicting instruction before it, since an accepted
program orders all conflicts, and one with fewer waits orders no others. So a changed program is accepted exactly if
what its instructions know still covers that, and what they know changes from the changed one on, mostly not far.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator

import instruction_set as isa
from device_cases import Case

from tilewright.runtime.isa.hazards import LastTouch
from tilewright.runtime.simulator import verifier
from tilewright.runtime.simulator.verifier import Place, verify_cards

Change = tuple[Place, tuple[isa.Wait, ...]]
"""An instruction, and the waits that it gets."""


def weakened(case: Case) -> Iterator[Change]:
    """Each wait removed, and each one step weaker."""
    for stream in case.streams:
        for index, item in enumerate(case.instructions(stream)):
            for at, wait in enumerate(item.waits):
                for weaker in ((), (wait._replace(value=wait.value - 1),)):
                    if not weaker or weaker[0].value:
                        yield (stream, index), (*item.waits[:at], *weaker, *item.waits[at + 1 :])


def with_waits(case: Case, change: Change) -> Case:
    """The programs with other waits of one instruction."""
    (stream, index), waits = change
    item = dataclasses.replace(case.instructions(stream)[index], waits=waits)
    return case.changed(stream, index, isa.encode(item))


class Waits:
    """What the waits of an accepted program are needed for."""

    def __init__(self, case: Case) -> None:
        verified = verify_cards(case.programs, case.machine)
        self._queues, self._receives = verified.queues, verified.receives
        self._sends = {end: start for start, end in self._receives.items()}
        self._streams = list(self._queues)
        self._numbers = {stream: number for number, stream in enumerate(self._streams)}
        self._cards = {card: [s for s in self._streams if s.card == card] for card in range(len(case.programs))}
        self._signals = {s: [i + 1 for i, each in enumerate(q) if each.signal] for s, q in self._queues.items()}
        self._own = verifier._all_targets(self._queues, {})
        order, self._targets, self._clocks = verifier._order(self._queues, self._receives)
        self._ranks = {place: rank for rank, place in enumerate(order)}
        self._waiting: dict[Place, list[Place]] = {}
        for stream, every in self._targets.items():
            for index, targets in enumerate(every):
                for other, position in targets:
                    self._waiting.setdefault((other, position - 1), []).append((stream, index))
        self._needed = self._conflicts(case, order)

    def _conflicts(self, case: Case, order: list[Place]) -> dict[Place, list[tuple[int, int]]]:
        """By instruction, numbers of streams and the positions there that must be done before it."""
        touched = [LastTouch(case.machine, program.regions) for program in case.programs]
        found: dict[Place, list[tuple[int, int]]] = {}
        for stream, index in order:
            own, seen = self._cards[stream.card], touched[stream.card]
            accesses = self._queues[stream][index].accesses(stream.cluster)
            last = seen.conflicts(stream.number, accesses, [0] * len(own))
            found[stream, index] = [(self._numbers[s], p) for s, p in zip(own, last, strict=True) if p and s != stream]
            seen.record(stream.number, index + 1, accesses)
        return found

    def accepts(self, change: Change) -> bool:
        """Whether the verifier would accept the program without what a wait says."""
        place, waits = change
        stream, index = place
        item = dataclasses.replace(self._queues[stream][index], waits=waits)
        own = verifier._targets(stream, index, item, self._cards[stream.card], self._signals)
        changed = {place: (*own, *self._targets[stream][index][len(self._own[stream][index]) :])}
        if place in self._sends:
            # A send waits for all that its receive waits for.
            start, position = self._sends[place]
            changed[start, position] = (*self._own[start][position], place, *own)
        clocks: dict[Place, list[int]] = {}
        pending = [(self._ranks[each], each) for each in changed]
        heapq.heapify(pending)
        while pending:
            _, now = heapq.heappop(pending)
            clock = self._clock(now, changed.get(now), clocks)
            if now in clocks or clock == self._clocks[now[0]][now[1]]:
                continue
            if any(position > clock[number] for number, position in self._needed[now]):
                return False
            clocks[now] = clock
            after = now[0], now[1] + 1
            following = [*self._waiting.get(now, ()), *([after] if after in self._ranks else ())]
            for each in following:
                heapq.heappush(pending, (self._ranks[each], each))
        return True

    def _clock(self, place: Place, targets: tuple[Place, ...] | None, clocks: dict[Place, list[int]]) -> list[int]:
        """As the verifier computes what an instruction knows, where that of some others has changed."""
        stream, index = place
        clock = list(self._clock_of((stream, index - 1), clocks)) if index else [0] * len(self._streams)
        clock[self._numbers[stream]] = index
        for other, position in self._targets[stream][index] if targets is None else targets:
            number = self._numbers[other]
            if position > clock[number]:
                clock = list(map(max, clock, self._clock_of((other, position - 1), clocks)))
                clock[number] = max(clock[number], position)
        return clock

    def _clock_of(self, place: Place, clocks: dict[Place, list[int]]) -> list[int]:
        return clocks[place] if place in clocks else self._clocks[place[0]][place[1]]
