"""Who uses the shared port of a cluster's maps when, and what others have to wait for that.

Transfers to and from DRAM pass first, as its bursts do not wait; moves and the vector unit take what they leave, and
the vector unit what moves leave. What passes is spread evenly over the time of its instruction.

Which part of a transfer or move passes while another instruction works is, as the order of DRAM requests, fixed by the
program as it runs on the machine that it was planned for. So here too every time is a maximum of sums of durations.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..isa.accesses import Space
from ..isa.attention import MoveWeights
from ..isa.encoding import Instruction, Queue, Stream

_MOMENT = 1e-6
"""Cycles that are no time: of sums of floating point."""


class Part(NamedTuple):
    """The part of an instruction, a number of a stream, that passes meanwhile: 0 to 1."""

    stream: Stream
    number: int
    share: float


Parts = Mapping[tuple[Stream, int], Sequence[Part]]
"""By stream and number of the instruction that yields."""


class _Use(NamedTuple):
    """That an instruction passes in this time, with so many cycles of the port."""

    number: int
    start: float
    end: float
    cycles: int

    @property
    def rate(self) -> float:
        return self.cycles / (self.end - self.start)


class Ports:
    """The shared ports of the maps of all clusters, over one pass of the engine."""

    def __init__(self) -> None:
        # By card and cluster, and by the stream whose instructions pass, which do so one after the other.
        self._uses: dict[tuple[int, int], dict[Stream, list[_Use]]] = {}

    def use(self, item: Instruction, stream: Stream, number: int, cycles: int, time: tuple[float, float]) -> None:
        """An instruction passes with so many cycles from a time to another."""
        for cluster in clusters_of(item, stream):
            of_cluster = self._uses.setdefault((stream.card, cluster), {})
            of_cluster.setdefault(stream, []).append(_Use(number, *time, cycles))

    def others(self, stream: Stream, cluster: int, since: float) -> Iterator[tuple[Stream, _Use]]:
        """What streams pass that do not yield to this one, but for what has passed before."""
        for other, uses in self._uses.get((stream.card, cluster), {}).items():
            for use in reversed(uses) if other != stream else ():
                if use.end <= since:
                    break
                yield other, use


class Yielding:
    """An instruction that yields the port of a cluster, while it works.
    ``parts``: what has passed meanwhile, by stream and number."""

    def __init__(self, stream: Stream, cluster: int, start: float, least: float, port: int) -> None:
        self._stream, self._cluster, self._start, self._least, self._port = stream, cluster, start, least, port
        self._at, self._taken = start, 0.0
        self.parts: dict[tuple[Stream, int], float] = {}

    def next_look(self, ports: Ports, time: float) -> float:
        """When it ends, by what passes until that time, if that is then; else when to look again at the latest."""
        rate, change = 0.0, math.inf
        for other, use in ports.others(self._stream, self._cluster, self._at):
            both = min(use.end, time) - max(use.start, self._at)
            if both > 0:
                share = both / (use.end - use.start)
                self.parts[other, use.number] = self.parts.get((other, use.number), 0.0) + share
                self._taken += share * use.cycles
            if use.end > time:
                rate += use.rate * (use.start <= time)
                change = min(change, use.end if use.start <= time else use.start)
        self._at = time
        left = self._start + max(self._least, self._port + self._taken) - time
        if left <= _MOMENT:
            return time
        return min(time + left / (1 - rate), change) if rate < 1 else change


def clusters_of(item: Instruction, stream: Stream) -> list[int]:
    """The clusters whose shared port of the maps an instruction takes, each once."""
    if stream.queue == Queue.VEC:
        return [stream.cluster]
    if stream.queue == Queue.MAC or (stream.queue == Queue.LW and not isinstance(item, MoveWeights)):
        return []
    touched = (access.cluster for access in item.accesses(stream.cluster) if access.space is Space.MAPS)
    return [*dict.fromkeys(touched)]
