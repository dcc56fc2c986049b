"""What the passes ask of graphs: pieces that hang together, and minimum cuts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from itertools import pairwise
from typing import TypeVar

from ..ir.core import Value

Node = TypeVar("Node", bound=Hashable)

UNLIMITED = 1 << 100
"""The capacity of an edge that no cut may take."""


def pieces(neighbours: Mapping[Node, Iterable[Node]]) -> list[set[Node]]:
    """The nodes in sets that hang together, by their first node; neighbours that are no nodes count for nothing."""
    of = {node: {node} for node in neighbours}
    for node, others in neighbours.items():
        for other in others:
            small, large = sorted((of[node], of.get(other, of[node])), key=len)
            if small is not large:
                large |= small
                of.update(dict.fromkeys(small, large))
    return list({id(piece): piece for piece in of.values()}.values())


class FlowNetwork:
    """Nodes, and edges from one to the other that have a capacity."""

    def __init__(self, *nodes: Hashable) -> None:
        self._left: dict[Hashable, dict[Hashable, int]] = {node: {} for node in nodes}

    def add(self, source: Hashable, target: Hashable, capacity: int = UNLIMITED) -> None:
        self._left.setdefault(source, {})[target] = capacity
        self._left.setdefault(target, {}).setdefault(source, 0)

    def charge_crossing(self, value: Value, source: Hashable, readers: Set[Hashable], cost: int) -> None:
        """Charge ``cost`` once if a reader of ``value`` stands on another side than its source, in either direction."""
        there, back = ("there", value), ("back", value)
        self.add(source, there, cost)
        self.add(back, source, cost)
        for reader in readers - {source}:
            self.add(there, reader)
            self.add(reader, back)

    def cut(self, source: Hashable, sink: Hashable) -> set[Hashable]:
        """The nodes on the side of ``source`` of the minimum cut that leaves most nodes there; once for each network.

        Dinic's algorithm: as long as something can flow, all that can on shortest ways.
        """
        while True:
            distance = {sink: 0}
            for node in (queue := [sink]):
                found = [each for each in self._left[node] if self._left[each][node] and each not in distance]
                distance.update(dict.fromkeys(found, distance[node] + 1))
                queue += found
            if source not in distance:
                return self._left.keys() - distance.keys()
            for way in self._shortest(source, sink, distance):
                amount = min(self._left[a][b] for a, b in pairwise(way))
                for a, b in pairwise(way):
                    self._left[a][b] -= amount
                    self._left[b][a] += amount

    def _shortest(self, source: Hashable, sink: Hashable, distance: Mapping[Hashable, int]) -> Iterator[list[Hashable]]:
        """Ways with room on every edge, as long as there are any of the length that ``distance`` gives to the sink."""
        untried, way = {node: [*self._left[node]] for node in distance}, [source]
        while way:
            node = way[-1]
            if node == sink:
                yield way
                way = [source]
                continue
            edges, room, nearer = untried[node], self._left[node], distance[node] - 1
            while edges and not (room[edges[-1]] and distance.get(edges[-1]) == nearer):
                edges.pop()
            if edges:
                way.append(edges[-1])
            else:
                # No way leads on from here, and so none leads here.
                way.pop()
                for before in way[-1:]:
                    untried[before].pop()
