"""Which layer of a program takes how much of its modelled time, and what bounds it."""

from __future__ import annotations

from dataclasses import dataclass

from ..isa.encoding import Queue
from ..machines.machine import Machine
from .cycles import Event, Timeline


@dataclass(frozen=True)
class LayerTime:
    """The share of a layer in a timeline.

    Attributes:
        name: of the layer.
        cycles: time that passes while the frontier of completed work is in this layer; layers sum to the total.
        macs, dram_bytes: totals of its instructions, their own bytes included.
        mac_utilization: macs over the peak of the clusters that the program uses while the layer runs: in its cycles,
            or in the time that its multiplications take if part of that is charged to the layer before.
        bound: what is busy longest: ``mac``, ``vector``, ``dram`` or ``link``.
        bound_share: how much of the cycles that is busy, at most 1: the rest is waiting.
    """

    name: str
    cycles: float
    macs: int
    mac_utilization: float
    dram_bytes: int
    bound: str
    bound_share: float


def layer_times(timeline: Timeline, machine: Machine) -> list[LayerTime]:
    """Per-layer table of a timeline, in order of completion.

    Overlapping work is charged once: events are taken by their ends, and each charges its layer with the time since
    the end before it. The cycles of the layers add up to those of the timeline. What is of no layer, the end of a
    queue, belongs to the layer before it, or else to the first.
    """
    layers: dict[str, list[tuple[Event, float]]] = {}
    events = sorted(timeline.events, key=lambda entry: entry.end)
    at, name = 0.0, next((event.layer for event in events if event.layer), "(other)")
    for event in events:
        name = event.layer or name
        layers.setdefault(name, []).append((event, event.end - at))
        at = event.end
    # Weights are loaded ahead: where a layer begins says nothing of what it reads.
    completed = sorted(layers.items(), key=lambda layer: layer[1][-1][0].end)
    return [_layer_time(name, charged, timeline, machine) for name, charged in completed]


def _layer_time(name: str, charged: list[tuple[Event, float]], timeline: Timeline, machine: Machine) -> LayerTime:
    """The table's row of a layer from its events and the time charged for each."""
    cycles = sum(time for _, time in charged)
    macs = sum(event.cost.macs for event, _ in charged)
    fetched = timeline.instruction_bytes * len(charged)
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
    return LayerTime(name, cycles, macs, utilization, moved, bound, min(busy[bound] / cycles, 1.0) if cycles else 0.0)
