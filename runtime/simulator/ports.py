"""Who uses the shared port of a cluster's maps when, and what others have to wait for that.

Transfers to and from DRAM pass first, as its bursts do not wait; moves and the vector unit take what they leave, and
the vector unit what moves leave. What passes is spread evenly over the time of its instruction.

Which part of a transfer or move passes while another instruction works is, as the order of DRAM requests, fixed by the
program as it runs on the machine that it was planned for. So here too every time is a maximum of sums of durations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..isa.attention import MoveWeights
from ..isa.encoding import Instruction, Queue, Space, Stream


class Part(NamedTuple):
    """The part of an instruction, a number of a stream, that passes meanwhile: 0 to 1."""

    stream: Stream
    number: int
    share: float


Parts = Mapping[tuple[Stream, int], Sequence[Part]]
"""By stream and number of the instruction that yields."""


class _Use(NamedTuple):
    number: int
    start: float
    end: float


class Ports:
    """The shared ports of the maps of all clusters, over one pass of the engine."""

    def __init__(self) -> None:
        # By card and cluster, and by the stream whose instructions pass, which do so one after the other.
        self._uses: dict[tuple[int, int], dict[Stream, list[_Use]]] = {}

    def use(self, item: Instruction, stream: Stream, number: int, start: float, end: float) -> None:
        """An instruction passes in that time."""
        for cluster in clusters_of(item, stream):
            self._uses.setdefault((stream.card, cluster), {}).setdefault(stream, []).append(_Use(number, start, end))

    def meanwhile(self, cluster: int, stream: Stream, start: float, end: float) -> list[Part]:
        """What of others passes in that time, of those that do not yield to this stream."""
        found: list[Part] = []
        for other, uses in self._uses.get((stream.card, cluster), {}).items():
            if other == stream:
                continue
            for use in reversed(uses):
                if use.end <= start:
                    break
                both = min(use.end, end) - max(use.start, start)
                if both > 0:
                    found.append(Part(other, use.number, both / (use.end - use.start)))
        return found


def clusters_of(item: Instruction, stream: Stream) -> list[int]:
    """The clusters whose shared port of the maps an instruction takes, each once."""
    if stream.queue == Queue.MAC or (stream.queue == Queue.LW and not isinstance(item, MoveWeights)):
        return []
    touched = (access.cluster for access in item.accesses(stream.cluster) if access.space is Space.MAPS)
    return [*dict.fromkeys(touched)]
