"""Graphs of the passes, compared with networkx: pieces that hang together, and minimum cuts."""

from __future__ import annotations

from collections.abc import Hashable

import networkx
from property_tests import given, st

from tilewright.passes.graphs import UNLIMITED, FlowNetwork, pieces

NODES = 9


@given(st.dictionaries(st.integers(0, NODES), st.lists(st.integers(0, NODES), max_size=3)))
def test_pieces(neighbours: dict[int, list[int]]) -> None:
    graph = networkx.Graph()
    graph.add_nodes_from(neighbours)
    graph.add_edges_from((node, each) for node, others in neighbours.items() for each in others if each in neighbours)
    assert pieces(neighbours) == [*networkx.connected_components(graph)]


def cuts(edges: dict[tuple[int, int], int | None]) -> tuple[set[int], set[Hashable]]:
    """The side of node 0 of the cut to node 1: what networkx finds, and what we do."""
    graph, network = networkx.DiGraph(), FlowNetwork(0, 1)
    graph.add_nodes_from((0, 1))
    for (source, target), capacity in edges.items():
        limit = {} if capacity is None else {"capacity": capacity}
        graph.add_edge(source, target, **limit)
        network.add(source, target, UNLIMITED if capacity is None else capacity)
    return networkx.minimum_cut(graph, 0, 1)[1][0], network.cut(0, 1)


inner = st.tuples(st.integers(2, NODES), st.integers(2, NODES))
ends = st.tuples(st.just(0), st.integers(1, NODES)) | st.tuples(st.integers(2, NODES), st.just(1))
capacities = st.sampled_from([0, 1, 2, 3, 7])


@given(st.dictionaries(inner, capacities | st.none(), max_size=30), st.dictionaries(ends, capacities, max_size=12))
def test_the_side_of_a_minimum_cut(
    among: dict[tuple[int, int], int | None], at_the_ends: dict[tuple[int, int], int]
) -> None:
    expected, found = cuts({edge: room for edge, room in among.items() if edge[0] != edge[1]} | {**at_the_ends})
    assert found == expected


def test_where_several_cuts_cost_as_much_most_nodes_stay_with_the_source() -> None:
    assert cuts({(0, 2): 1, (2, 3): 1, (3, 1): 1}) == ({0, 2, 3}, {0, 2, 3})


def test_flow_goes_back_where_that_lets_more_pass() -> None:
    expected, found = cuts({(0, 2): 1, (2, 3): 1, (3, 1): 1, (0, 4): 1, (4, 3): 1, (2, 5): 1, (5, 6): 1, (6, 1): 1})
    assert found == expected
