"""The shares of layers in the modelled time of a device program, and the bytes that they move on chip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tilewright.immutable import Immutable

from ..isa.encoding import Instruction, Queue, Space
from ..isa.matrix import Convolve, ConvolveDepthwise
from ..isa.program import NO_LAYER
from ..isa.vector import MapInstruction
from ..machines.cost import cost
from ..machines.machine import CHANNEL_BLOCK, Machine
from ..machines.vector_unit import map_bytes
from ..simulator.timeline import Event, Timeline
from ..simulator.verifier import OrderedProgram

_COMPUTING = (Queue.MAC, Queue.VEC)


class LayerTime(Immutable):
    """The share of a layer in a timeline.

    Attributes:
        name: of the layer.
        cycles: time that passes while the frontier of completed work is in this layer; layers sum to the total.
        macs, dram_bytes: totals of its instructions, their own bytes included.
        array_steps: cycles in which the arrays multiply, of all clusters.
        clusters: how many compute, of all cards.
        mac_utilization: macs over the peak of the clusters that the program uses while the layer runs: in its cycles,
            or in the time that its multiplications take if part of that is charged to the layer before.
        bound: what is busy longest: ``mac``, ``vector``, ``dram`` or ``link``.
        bound_share: how much of the cycles that is busy, at most 1: the rest is waiting.
    """

    name: str
    cycles: float
    macs: int
    array_steps: int
    clusters: int
    mac_utilization: float
    dram_bytes: int
    bound: str
    bound_share: float


class Charge(NamedTuple):
    """The time from the end of one event to that of the next, which is charged for it to a layer."""

    layer: str
    event: Event
    start: float
    end: float


def charges(timeline: Timeline) -> Iterator[Charge]:
    """What each event of a timeline costs, overlapping work once: events are taken by their ends, and each charges its
    layer with the time since the end before it. What is of no layer, the end of a queue, belongs to the layer before
    it, or else to the first.
    """
    events = sorted(timeline.events, key=lambda entry: entry.end)
    at, name = 0.0, next((event.layer for event in events if event.layer), "(other)")
    for event in events:
        name = event.layer or name
        yield Charge(name, event, at, event.end)
        at = event.end


def layer_times(timeline: Timeline, machine: Machine) -> list[LayerTime]:
    """The layers of a timeline, in order of completion; their cycles add up to its own."""
    layers: dict[str, list[tuple[Event, float]]] = {}
    for name, event, start, end in charges(timeline):
        layers.setdefault(name, []).append((event, end - start))
    # Weights are loaded ahead: where a layer begins says nothing of what it reads.
    completed = sorted(layers.items(), key=lambda layer: layer[1][-1][0].end)
    return [_layer_time(name, charged, timeline, machine) for name, charged in completed]


def _layer_time(name: str, charged: list[tuple[Event, float]], timeline: Timeline, machine: Machine) -> LayerTime:
    """The table's row of a layer from its events and the time charged for each."""
    cycles = sum(time for _, time in charged)
    macs = sum(event.cost.macs for event, _ in charged)
    fetched = sum(timeline.instruction_bytes[event.stream][event.index] for event, _ in charged)
    moved = sum(event.cost.dram_bytes for event, _ in charged) + fetched
    clusters = timeline.clusters
    busy = {
        "mac": sum(event.cost.unit for event, _ in charged if event.stream.queue == Queue.MAC) / clusters,
        "vector": sum(event.cost.unit for event, _ in charged if event.stream.queue == Queue.VEC) / clusters,
        "dram": sum(event.cost.dram(machine) for event, _ in charged) + fetched / machine.dram_bytes_per_cycle,
        "link": sum(event.cost.link(machine) for event, _ in charged) if timeline.parts["card-link"] else 0.0,
    }
    peak = machine.cluster_macs_per_cycle * clusters * timeline.cards
    utilization = macs / peak / (max(cycles, busy["mac"]) or 1.0)
    bound = max(busy, key=lambda unit: busy[unit])
    steps = sum(event.cost.steps for event, _ in charged if event.stream.queue == Queue.MAC)
    computing = {event.stream[::2] for event, _ in charged if event.layer and event.stream.queue in _COMPUTING}
    share = min(busy[bound] / cycles, 1.0) if cycles else 0.0
    return LayerTime(name, cycles, macs, steps, len(computing), utilization, moved, bound, share)


def scratchpad_traffic(ordered: OrderedProgram, machine: Machine) -> Counter[str]:
    """Bytes of scratchpads that instructions read and write, by layer, see `scratchpad_bytes`."""
    found = Counter[str]()
    for stream, items in ordered.queues.items():
        program = ordered.programs[stream.card]
        for item, layer in zip(items, program.layer_of[stream._replace(card=0)].tolist(), strict=True):
            moved = scratchpad_bytes(item, stream.cluster, machine) if layer != NO_LAYER else 0
            if moved:
                found[program.layers[layer]] += moved
    return found


def scratchpad_bytes(item: Instruction, cluster: int, machine: Machine) -> int:
    """Bytes that an instruction of a cluster reads from scratchpads and writes to them.

    The array reads weights in every step, and the pixels of a dense convolution; of a depthwise one it keeps lines
    along a row. The vector unit reads what it makes an element of, window by window. All else passes once.
    """
    read = {Space.MAPS, Space.WEIGHTS} if isinstance(item, (Convolve, ConvolveDepthwise)) else set[Space]()
    again = 0
    if isinstance(item, Convolve):
        again = cost(item, machine).steps * machine.input_lanes * (machine.output_lanes + machine.pixel_lanes)
    elif isinstance(item, ConvolveDepthwise):
        rows = item.output_height * item.kernel_height * item.input_width * item.blocks * CHANNEL_BLOCK
        again = cost(item, machine).steps * machine.depthwise_taps * machine.output_lanes + rows
    elif isinstance(item, MapInstruction):
        read, again = {Space.MAPS}, map_bytes(item)
    touched = (access for access in item.accesses(cluster) if access.space not in {Space.DRAM, *read})
    return again + sum(access.bytes for access in touched)
