"""What the passes that divide a graph by a minimum cut share: the price of a value that crosses the border."""

from __future__ import annotations

from collections.abc import Hashable, Set
from typing import TYPE_CHECKING

from ..ir.core import Value

if TYPE_CHECKING:
    import networkx


def charge_crossing(graph: networkx.DiGraph, value: Value, source: Hashable, readers: Set[Hashable], cost: int) -> None:
    """Charge ``cost`` once if any reader of ``value`` stands on another side than its source, in either direction."""
    there, back = ("there", value), ("back", value)
    graph.add_edge(source, there, capacity=cost)
    graph.add_edge(back, source, capacity=cost)
    for reader in readers - {source}:
        graph.add_edge(there, reader)
        graph.add_edge(reader, back)
