"""Which of the ops that the device can run had better run there."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

import networkx

from ..ir.core import Function, Op, Value
from .device_support import is_weight
from .placement_cost import CostModel
from .regions import assign_regions

_DEVICE = "device"
_HOST = "host"
_TICKS = 1e12
"""Capacities are whole numbers, as the algorithms for cuts want them: picoseconds."""


def producers_of(function: Function) -> dict[Op, list[Op]]:
    """The ops that each op of a function reads."""
    return {op: list(dict.fromkeys(v.producer for v in op.inputs if v.producer is not None)) for op in function.ops}


def cheapest(function: Function, candidates: Set[Op], forced: Set[Op], model: CostModel) -> set[Op]:
    """The candidates to run on the device so that the network takes least time, all of ``forced`` among them.

    A minimum cut, with device and host as its ends: an op on one side pays its time there, and a tensor pays for
    moving once in each direction in which it crosses. What starting a region costs is no matter of single ops: regions
    that do not save that much are given up afterwards, the least useful first. Where both are the same the host runs
    the op.
    """
    chosen = cut(function, candidates, forced, model)
    order, producers = [*function.ops], producers_of(function)
    while True:
        regions = assign_regions(order, producers, chosen)
        gains = {number: gain(ops, model) for number, ops in _by_region(regions).items() if not ops & forced}
        worst = min(gains, key=lambda number: gains[number], default=None)
        if worst is None or gains[worst] > 0:
            return chosen
        chosen = {op for op in chosen if regions[op] != worst}


def _by_region(regions: Mapping[Op, int]) -> dict[int, set[Op]]:
    found: dict[int, set[Op]] = {}
    for op, number in regions.items():
        found.setdefault(number, set()).add(op)
    return found


class RegionTimes(NamedTuple):
    """Seconds of the ops of a region on the host and on the device, and of starting it and moving its tensors."""

    host: float
    device: float
    border: float


def times(ops: Set[Op], model: CostModel) -> RegionTimes:
    """What a region of these ops takes, and what they take on the host."""
    crossing = {v for op in ops for v in _map_operands(op) if v.producer is None or v.producer not in ops}
    crossing |= {v for op in ops for v in op.results if v.is_returned or any(user not in ops for user in v.users)}
    return RegionTimes(
        sum(map(model.on_host, ops)), sum(map(model.on_device, ops)), model.region + sum(map(model.moving, crossing))
    )


def gain(ops: Set[Op], model: CostModel) -> float:
    """Seconds that a region of these ops saves altogether; negative where it costs more."""
    found = times(ops, model)
    return found.host - found.device - found.border


def _map_operands(op: Op) -> list[Value]:
    return [v for i, v in enumerate(op.operands) if v is not None and not is_weight(op, i)]


def cut(function: Function, candidates: Set[Op], forced: Set[Op], model: CostModel) -> set[Op]:
    """As :func:`cheapest`, while starting a region costs nothing."""
    graph = networkx.DiGraph()
    graph.add_nodes_from((_DEVICE, _HOST))
    for op in candidates:
        # One tick more, so that the host gets what costs nothing on either side.
        graph.add_edge(op, _HOST, capacity=round(model.on_device(op) * _TICKS) + 1)
        if op in forced:
            graph.add_edge(_DEVICE, op)
        else:
            graph.add_edge(_DEVICE, op, capacity=round(model.on_host(op) * _TICKS))
    values = dict.fromkeys(function.parameters)
    for op in function.ops:
        values.update(dict.fromkeys((*op.inputs, *op.results)))
    for value in values:
        _connect(graph, value, candidates, model)
    return {op for op in networkx.minimum_cut(graph, _DEVICE, _HOST)[1][0] if isinstance(op, Op)}


def _connect(graph: networkx.DiGraph, value: Value, candidates: Set[Op], model: CostModel) -> None:
    """Charge for moving ``value`` once if a reader stands on another side than the producer, in either direction."""
    source = value.producer if value.producer in candidates else None
    readers: dict[Op, None] = {}
    is_read_by_host = value.is_returned
    for user, index in value.uses:
        if not isinstance(user, Op) or user not in candidates:
            is_read_by_host = True
        elif not is_weight(user, index):
            readers[user] = None
    if source is not None and (readers or is_read_by_host):
        price, down = round(model.moving(value) * _TICKS), ("to the host", value)
        graph.add_edge(source, down, capacity=price)
        graph.add_edges_from((down, reader) for reader in (*readers, *[_HOST] * is_read_by_host))
    if readers:
        price, up = round(model.moving(value) * _TICKS), ("to the device", value)
        graph.add_edge(up, source if source is not None else _HOST, capacity=price)
        graph.add_edges_from((reader, up) for reader in readers)


def islands(function: Function, candidates: Set[Op], chosen: Set[Op]) -> list[set[Op]]:
    """The candidates that were not chosen, as the connected pieces of regions that they would have made."""
    regions = assign_regions([*function.ops], producers_of(function), candidates)
    graph = networkx.Graph()
    graph.add_nodes_from(op for op in function.ops if op in candidates and op not in chosen)
    for op in [*graph]:
        sources = (v.producer for v in op.inputs if v.producer in graph)
        graph.add_edges_from((source, op) for source in sources if regions[source] == regions[op])
    return [set(piece) for piece in networkx.connected_components(graph)]
