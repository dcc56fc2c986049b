"""Addresses that go round and round: what has been free for longest is taken first."""

from __future__ import annotations

from bisect import bisect_left, insort

from ....ir.tile.types import EVERY_CLUSTER

Range = tuple[int, int]
"""First byte, and one past the last."""


class RoundRobin:
    """The addresses of one scratchpad of each cluster.

    Args:
        size: of the scratchpad, in bytes.
        position: where each cluster goes on.
    """

    def __init__(self, size: int, position: dict[int, int] | None = None) -> None:
        self.size = size
        self.position = dict(position or {})
        self._taken: dict[int, list[Range]] = {}

    def find(self, cluster: int, size: int) -> int | None:
        """The next piece of so many bytes that is free in a cluster, or in every one; its first byte."""
        position = self.position
        if cluster == EVERY_CLUSTER:
            start = max(position.values(), default=0)
            taken = sorted(each for ranges in self._taken.values() for each in ranges)
        else:
            start = position.get(cluster, position.get(EVERY_CLUSTER, 0))
            own, every = self._taken.get(cluster, []), self._taken.get(EVERY_CLUSTER)
            taken = sorted([*own, *every]) if every else own
        for first in (start, 0):
            for begin, stop in taken:
                if begin >= first + size:
                    break
                first = max(first, stop)
            if first + size <= self.size:
                return first
        return None

    def take(self, cluster: int, address: int, size: int) -> None:
        """Give out what has been found."""
        insort(self._taken.setdefault(cluster, []), (address, address + size))
        if cluster == EVERY_CLUSTER:
            self.position.clear()
        self.position[cluster] = address + size

    def release(self, cluster: int, address: int, size: int) -> None:
        """Take back what has been given out."""
        ranges = self._taken[cluster]
        del ranges[bisect_left(ranges, (address, address + size))]
