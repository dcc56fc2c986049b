"""Regions of random graphs: convex, free of circles, and as few as there can be."""

from __future__ import annotations

import networkx
from property_tests import given, st

from tilewright.passes.placement.regions import are_convex, assign_regions

Graph = tuple[list[int], dict[int, list[int]], set[int]]


@st.composite
def graphs(draw: st.DrawFn, most: int = 14) -> Graph:
    """Nodes 0, 1, … that read earlier ones, and some of them chosen."""
    count = draw(st.integers(1, most))
    producers = {
        node: sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else [] for node in range(count)
    }
    chosen = draw(st.sets(st.integers(0, count - 1)))
    return list(range(count)), producers, chosen


def as_graph(order: list[int], producers: dict[int, list[int]]) -> networkx.DiGraph:
    graph = networkx.DiGraph()
    graph.add_nodes_from(order)
    graph.add_edges_from((p, node) for node in order for p in producers[node])
    return graph


def comes_back(graph: networkx.DiGraph, members: set[int]) -> bool:
    """Whether a path leaves ``members`` and enters them again, found by walking."""
    return not members.isdisjoint(behind(graph, behind(graph, members) - members))


def behind(graph: networkx.DiGraph, starts: set[int]) -> set[int]:
    """The nodes that a path from one of these reaches."""
    found: set[int] = set()
    for node in sorted(graph):
        if not (starts | found).isdisjoint(graph.predecessors(node)):
            found.add(node)
    return found


def changes(graph: networkx.DiGraph, chosen: set[int]) -> int:
    """Most separate runs of chosen nodes on one path: so many regions there must be."""
    runs: dict[int, int] = {}
    for node in networkx.topological_sort(graph):
        before = [runs[p] + (node in chosen and p not in chosen) for p in graph.predecessors(node)]
        runs[node] = max([int(node in chosen), *before])
    return max(runs.values(), default=0)


@given(graphs())
def test_no_path_leaves_a_region_and_comes_back(made: Graph) -> None:
    order, producers, chosen = made
    regions = assign_regions(producers, chosen)
    assert set(regions) == chosen
    graph = as_graph(order, producers)
    for number in set(regions.values()):
        assert not comes_back(graph, {node for node in chosen if regions[node] == number})
    assert are_convex(producers, regions)


@given(graphs())
def test_there_are_no_more_regions_than_the_graph_asks_for(made: Graph) -> None:
    order, producers, chosen = made
    regions = assign_regions(producers, chosen)
    assert len(set(regions.values())) == changes(as_graph(order, producers), chosen)
    assert sorted(set(regions.values())) == list(range(len(set(regions.values()))))


@given(graphs(8), st.data())
def test_convexity_is_told_from_its_absence(made: Graph, data: st.DataObject) -> None:
    """Any grouping at all: regions with a way back, or that wait for each other, are noticed."""
    order, producers, chosen = made
    regions = {node: data.draw(st.integers(0, 2)) for node in sorted(chosen)}
    graph = as_graph(order, producers)
    merged = networkx.DiGraph()
    merged.add_edges_from(
        (regions.get(a, ("alone", a)), regions.get(b, ("alone", b)))
        for a, b in graph.edges
        if regions.get(a, ("alone", a)) != regions.get(b, ("alone", b))
    )
    assert are_convex(producers, regions) == (not list(networkx.simple_cycles(merged)))


def test_the_diamond_around_a_node_on_the_host() -> None:
    """0 feeds 1 on the host and 2; both feed 3: 0 and 3 must not be together."""
    regions = assign_regions({0: [], 1: [0], 2: [0], 3: [1, 2]}, {0, 2, 3})
    assert regions[0] != regions[3]
    assert regions[2] == regions[0]


def test_an_island_moves_to_its_reader() -> None:
    """1 reads nothing of the first region, so it runs with its reader 4 and its result stays on the device."""
    regions = assign_regions({0: [], 1: [], 2: [0], 3: [2], 4: [1, 3]}, {0, 1, 4})
    assert regions == {0: 0, 1: 1, 4: 1}


def test_a_region_may_be_of_several_pieces() -> None:
    assert assign_regions({0: [], 1: []}, {0, 1}) == {0: 0, 1: 0}
