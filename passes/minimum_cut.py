"""What the passes that divide a graph by a minimum cut share: the price of a value that crosses the border."""

from collections.abc import Hashable, Set

import networkx

from ..ir.core import Value


def charge_crossing(graph: networkx.DiGraph, value: Value, source: Hashable, readers: Set[Hashable], cost: int) -> None:
    """Charge ``cost`` once if any reader of ``value`` stands on another side than its source, in either direction."""
    there, back = ("there", value), ("back", value)
    graph.add_edge(source, there, capacity=cost)
    graph.add_edge(back, source, capacity=cost)
    for reader in readers - {source}:
        graph.add_edge(there, reader)
        graph.add_edge(reader, back)
