"""Regions of a graph: which nodes can run as one piece without waiting for anything in between.

Nodes are any hashable things; the passes give ops.
"""

from collections.abc import Hashable, Mapping, Sequence, Set
from typing import TypeVar

import networkx

Node = TypeVar("Node", bound=Hashable)


def assign_regions(producers: Mapping[Node, Sequence[Node]], chosen: Set[Node]) -> dict[Node, int]:
    """A region, counted from 0, for each chosen node, as few as possible.

    No path leaves a region and comes back, and regions do not wait for each other in a cycle. Nodes of a region need
    not be connected.

    Every node gets a level: as low as possible, never below that of a producer, odd for chosen nodes and even for the
    others. A path that leaves a region climbs a level and never comes down again, so chosen nodes of one level are a
    region; and a path from end to end has to change sides as often as there are levels. What is connected inside a
    level and reads nothing of it from outside then moves up to the level of its first reader, where its results need
    not travel.
    ``producers``: for every node those that it reads, which come before it.
    ``chosen``: the nodes to put into regions."""
    levels: dict[Node, int] = {}
    readers: dict[Node, list[Node]] = {node: [] for node in producers}
    for node in producers:
        level = 1 if node in chosen else 0
        for producer in producers[node]:
            level = max(level, levels[producer] + ((node in chosen) != (producer in chosen)))
            readers[producer].append(node)
        levels[node] = level
    for level in sorted({levels[node] for node in chosen}, reverse=True):
        _move_up(level, levels, producers, readers, chosen)
    number = {level: index for index, level in enumerate(sorted({levels[node] for node in chosen}))}
    return {node: number[levels[node]] for node in producers if node in chosen}


def _move_up(
    level: int,
    levels: dict[Node, int],
    producers: Mapping[Node, Sequence[Node]],
    readers: Mapping[Node, Sequence[Node]],
    chosen: Set[Node],
) -> None:
    graph = networkx.Graph()
    graph.add_nodes_from(node for node in chosen if levels[node] == level)
    graph.add_edges_from((p, node) for node in [*graph] for p in producers[node] if p in graph)
    for island in [*networkx.connected_components(graph)]:
        outside = [reader for node in island for reader in readers[node] if reader not in island]
        # The last level from which every reader can still be served.
        latest = min((levels[r] - (r not in chosen) for r in outside), default=level)
        if latest > level and any(r in chosen and levels[r] == latest for r in outside):
            levels.update(dict.fromkeys(island, latest))


def quotient(producers: Mapping[Node, Sequence[Node]], regions: Mapping[Node, int]) -> networkx.DiGraph:
    """The graph in which each region is one node, ``("region", number)``; other nodes stay themselves."""

    def merged(node: Node) -> Hashable:
        return ("region", regions[node]) if node in regions else node

    graph = networkx.DiGraph()
    for node in producers:
        graph.add_node(merged(node))
        graph.add_edges_from((merged(p), merged(node)) for p in producers[node] if merged(p) != merged(node))
    return graph


def are_convex(producers: Mapping[Node, Sequence[Node]], regions: Mapping[Node, int]) -> bool:
    """Whether no path leaves a region and comes back, also by way of other regions."""
    return networkx.is_directed_acyclic_graph(quotient(producers, regions))
