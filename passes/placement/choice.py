"""What ops cost on the device and on the host, and which of those that the device can run had better run there."""

import math
from collections.abc import Iterable, Set
from typing import NamedTuple

import networkx

from tilewright.blocks import cached_property
from tilewright.immutable import Immutable

from ...ir.core import Function, Op, Value
from ...ir.feature_map import VIEWS, is_view, map_shape, may_be_packed
from ...ir.op import Operator
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Elementwise, Max, Min, Mul, Sub
from ...ir.ops.movement import Concat, DepthToSpace, Slice, Transpose
from ...ir.ops.pooling import GlobalPool, MaxPool, Pool
from ...ir.ops.quantization import Dequantize, Quantize, Requantize
from ...ir.ops.shape import Reshape
from ...ir.ops.unary import Unary
from ...runtime.machines.cost import host_link_cycles
from ...runtime.machines.machine import Machine
from ..device.tiling.candidates import Misfit
from ..device.tiling.tile_searches import TileSearches
from ..minimum_cut import charge_crossing
from .device_support import is_weight, maps_of
from .regions import assign_regions

HOST_STEP_SECONDS = 1e-6
"""Of starting one kernel on the host, with caches that hold other data."""

HOST_MACS = 5e10
"""8-bit multiply-accumulates a second of a nominal host with AVX2 (0223): all that compile place alike."""

HOST_WEIGHTS = 4e9
"""Bytes of weights a second: of products of one pixel or row, which use each weight once, that is what takes time."""

HOST_LOOP = 2e10
"""Bytes a second of conversions between real numbers and integers, and of what is computed in their loops (0241)."""

HOST_BYTES: tuple[tuple[tuple[type[Operator], ...], float], ...] = (
    ((Quantize, Dequantize), HOST_LOOP),
    ((Add, Concat, DepthToSpace, GlobalPool, Max, Min, Mul, Slice, Sub, Transpose), 1e10),
    ((Pool, Requantize, Unary), 3.5e9),
    ((Operator,), 1e9),
)
"""Bytes of feature maps a second that it reads and writes, by operators: conversions, vectors, tables and pools, all
others."""

HOST_ORDER = 2.5e9
"""Elements a second that it puts into the order of the device, or back."""


BESIDE_PRODUCTS = 0.75
"""Of the price of an op of the device that multiplies nothing, what a network with others takes longer for it: its
pieces are computed, and moved, while others are multiplied (0261)."""


class CostModel(Immutable):
    """Times in seconds.
    ``clusters``: of the machine, that share the work of each op.
    ``host_macs_per_second``: 8-bit multiply-accumulates of the host."""

    machine: Machine
    clusters: int = 1
    host_macs_per_second: float = HOST_MACS

    @cached_property
    def _searches(self) -> TileSearches:
        return TileSearches(self.machine, clusters=self.clusters)

    def on_host(self, op: Op) -> float:
        """Of one op on the CPU."""
        if isinstance(op.operator, Reshape):
            return 0.0
        if _is_in_a_loop(op):
            return _bytes(op.results) / HOST_LOOP
        size = _bytes(maps_of(op))
        if isinstance(op.operator, Pool):
            # Maxima are taken of rows, then of columns; each sum of all that its window holds.
            reads = (sum if isinstance(op.operator, MaxPool) else math.prod)(op.operator.kernel)
            size = op.result.type.elements * reads
        rate = next(rate for operators, rate in HOST_BYTES if isinstance(op.operator, operators))
        weights = _bytes(v for index, v in enumerate(op.operands) if v is not None and is_weight(op, index))
        product = max(op.macs / self.host_macs_per_second, weights / HOST_WEIGHTS)
        return HOST_STEP_SECONDS + product + size / rate

    def on_device(self, op: Op, packed: bool = False, kept: frozenset[Value] = frozenset()) -> float:
        """Of one op that the device can run.
        ``packed``: whether the pixels of the map that it reads lie without padding.
        ``kept``: maps that other ops of the device make and read, which stay on chip if they fit."""
        if is_view(op):
            return 0.0
        small = frozenset(v for v in kept if map_shape(v.type).padded_elements <= self.machine.maps_bytes // 2)
        found = self._searches.of(op, packed=packed, kept=small).cheapest(self.machine.maps_bytes, taken=0.0)
        assert not isinstance(found, Misfit), "the device can run the op"
        return found[0] / self.machine.clock_hertz

    def moving(self, value: Value, packed: bool = False) -> float:
        """Of one tensor to the device or back, ``packed`` if its pixels have no padding there."""
        size = value.type.elements if packed else map_shape(value.type).padded_elements
        return host_link_cycles(self.machine, size) / self.machine.clock_hertz + value.type.elements / HOST_ORDER

    @property
    def region(self) -> float:
        """Of starting a region, and of learning that it is done: messages, however short."""
        return 2 * host_link_cycles(self.machine, 0) / self.machine.clock_hertz


def _bytes(values: Iterable[Value]) -> int:
    return sum(value.type.elements * value.type.dtype.bytes for value in values)


def _is_in_a_loop(op: Op) -> bool:
    """Whether the host computes an op on real numbers in the loop of its only reader."""
    if not isinstance(op.operator, Elementwise) or not op.result.type.dtype.is_float or len(op.result.uses) != 1:
        return False
    ((reader, _),) = op.result.uses
    return isinstance(reader, Op) and isinstance(reader.operator, (Elementwise, Quantize))


_DEVICE = "device"
_HOST = "host"
_TICKS = 1e12
"""Capacities are whole numbers, as the algorithms for cuts want them: picoseconds."""


def producers_of(function: Function) -> dict[Op, list[Op]]:
    """The ops that each op of a function reads, in the order of the ops."""
    return {op: list(dict.fromkeys(v.producer for v in op.inputs if v.producer is not None)) for op in function.ops}


def cheapest(function: Function, candidates: Set[Op], forced: Set[Op], model: CostModel) -> set[Op]:
    """The candidates to run on the device so that the network takes least time, all of ``forced`` among them.

    A minimum cut, with device and host as its ends: an op on one side pays its time there, and a tensor pays for
    moving once in each direction in which it crosses. What starting a region costs is no matter of single ops: regions
    that do not save that much are given up afterwards, the least useful first. Where both are the same the host runs
    the op.

    A map of few channels is smaller, and cheaper to convolve, where the host makes it: the cut takes that for granted
    of what no candidate makes, and what does nothing else of the first ops is tried on both sides."""
    chosen = cut(function, candidates, forced, model)
    producers = producers_of(function)
    best, left = seconds_of(candidates, chosen, model), candidates
    for op in function.ops:
        is_first = op in left and op not in forced and not op.macs and left.isdisjoint(producers[op])
        if is_first and any(_is_packed(v, left - {op}) for v in op.results):
            without = cut(function, left - {op}, forced, model)
            if (found := seconds_of(candidates, without, model)) < best:
                left, chosen, best = left - {op}, without, found
    for island, new_regions in islands(function, candidates, chosen):
        # The cut supposes all candidates on the device; what stays on chip, and how maps lie, is another matter now.
        is_busy = not all(isinstance(op.operator, VIEWS) for op in island)
        if is_busy and times(island, chosen, new_regions, model).gain > 0:
            chosen = chosen | island
    while True:
        regions = assign_regions(producers, chosen)
        members: dict[int, set[Op]] = {}
        for op, number in regions.items():
            members.setdefault(number, set()).add(op)
        gains = {n: times(ops, chosen - ops, 1, model).gain for n, ops in members.items() if not ops & forced}
        worst = min(gains, key=lambda number: gains[number], default=None)
        if worst is None or gains[worst] > 0:
            return chosen
        chosen = {op for op in chosen if regions[op] != worst}


class PieceTimes(NamedTuple):
    """What some ops take: on the host, on the device, and what they add to starting regions and moving tensors."""

    host: float
    device: float
    border: float

    @property
    def gain(self) -> float:
        """Seconds saved on the device; negative where it costs more."""
        return self.host - self.device - self.border


def times(piece: Set[Op], others: Set[Op], new_regions: int, model: CostModel) -> PieceTimes:
    """What ``piece`` takes while ``others`` are on the device, where it makes so many regions more."""
    values = {v for op in piece for v in maps_of(op)}
    beside = {op for v in values for op in (v.producer, *v.users) if op is not None and op in others}
    together = {*piece, *others}
    # Exact sums, since sets have no order and the same network must always give the same numbers.
    border = math.fsum(
        [
            *(_moving(v, together, model) - _moving(v, others, model) for v in values),
            *(_on_device(op, together, model) - _on_device(op, others, model) for op in beside),
        ]
    )
    host, device = math.fsum(map(model.on_host, piece)), math.fsum(_on_device(op, together, model) for op in piece)
    return PieceTimes(host, device, border + new_regions * model.region)


def seconds_of(ops: Set[Op], chosen: Set[Op], model: CostModel) -> float:
    """What ops take with their tensors, ``chosen`` on the device and the others on the host; starting regions apart."""
    times = [_on_device(op, chosen, model) if op in chosen else model.on_host(op) for op in ops]
    return math.fsum([*times, *(_moving(v, chosen, model) for v in {v for op in ops for v in maps_of(op)})])


def _is_packed(value: Value, chosen: Set[Op]) -> bool:
    """Whether the pixels of a value lie without padding on the device, while ``chosen`` are there."""
    readers = [user for user in value.users if user in chosen]
    return value.producer not in chosen and bool(readers) and may_be_packed(value, readers)


def _on_device(op: Op, chosen: Set[Op], model: CostModel) -> float:
    """Of an op on the device, while ``chosen`` are there."""
    kept = frozenset(v for v in maps_of(op) if v.producer in chosen and all(user in chosen for user in _readers(v)))
    seconds = model.on_device(op, isinstance(op.operator, Conv) and _is_packed(op.inputs[0], chosen), kept)
    return seconds if op.macs or not any(other.macs for other in chosen) else seconds * BESIDE_PRODUCTS


def _moving(value: Value, chosen: Set[Op], model: CostModel) -> float:
    """Of a value while ``chosen`` are on the device: once if anyone on the other side reads it."""
    is_made_there = value.producer is not None and value.producer in chosen
    crosses = any((user in chosen) != is_made_there for user in _readers(value))
    return model.moving(value, _is_packed(value, chosen)) if crosses else 0.0


def _readers(value: Value) -> list[Op | Function]:
    """Who reads a value as a feature map, or returns it."""
    return [user for user, index in value.uses if not (isinstance(user, Op) and is_weight(user, index))]


def cut(function: Function, candidates: Set[Op], forced: Set[Op], model: CostModel) -> set[Op]:
    """As :func:`cheapest`, while starting a region costs nothing."""
    graph = networkx.DiGraph()
    graph.add_nodes_from((_DEVICE, _HOST))
    for op in candidates:
        # One tick more, so that the host gets what costs nothing on either side.
        graph.add_edge(op, _HOST, capacity=round(_on_device(op, candidates, model) * _TICKS) + 1)
        graph.add_edge(_DEVICE, op, capacity=math.inf if op in forced else round(model.on_host(op) * _TICKS))
    values = (value for op in function.ops for value in (*op.inputs, *op.results))
    for value in dict.fromkeys((*function.parameters, *values)):
        source = value.producer if value.producer in candidates else _HOST
        readers = {user if user in candidates else _HOST for user in _readers(value)}
        if not readers <= {source}:
            seconds = model.moving(value, _is_packed(value, candidates))
            charge_crossing(graph, value, source, readers, round(seconds * _TICKS))
    return {op for op in networkx.minimum_cut(graph, _DEVICE, _HOST)[1][0] if isinstance(op, Op)}


def islands(function: Function, candidates: Set[Op], chosen: Set[Op]) -> list[tuple[set[Op], int]]:
    """The candidates that were not chosen, in pieces that would have stood in one region, connected.

    Each comes with the number of regions that it would have added."""
    producers = producers_of(function)
    regions = assign_regions(producers, candidates)
    graph = networkx.Graph()
    graph.add_nodes_from(op for op in function.ops if op in candidates and op not in chosen)
    for op in [*graph]:
        sources = (v.producer for v in op.inputs if v.producer in graph)
        graph.add_edges_from((source, op) for source in sources if regions[source] == regions[op])
    count = len(set(assign_regions(producers, chosen).values()))
    found = map(set[Op], networkx.connected_components(graph))
    return [(piece, len({*assign_regions(producers, {*chosen, *piece}).values()}) - count) for piece in found]
