"""The first cycle model: what every instruction costs, and when it runs if each unit takes its own one by one.

No data is touched. A unit starts an instruction when it is free and the waits are satisfied; loads and stores share
the DRAM, first come first served, and a transfer's latency delays its completion but not the next transfer. All
constants come from the machine description and are assumptions, so results are "modelled". A program never takes less
time than its multiplications at full rate, nor than its DRAM traffic at full bandwidth.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cost import Cost, cost
from ..isa.encoding import Queue, Stream
from ..isa.program import NO_LAYER
from ..machine import Machine
from .verifier import VerifiedProgram


@dataclass(frozen=True)
class Event:
    """One instruction in modelled time, in cycles from the start of the program."""

    stream: Stream
    index: int
    mnemonic: str
    start: float
    end: float
    cost: Cost
    layer: str | None


@dataclass(frozen=True)
class Timeline:
    """A program in modelled time.

    Attributes:
        events: all instructions, in a legal order of execution.
        cycles: when the last one is complete.
        seconds: the same at the clock of the machine.
        macs, dram_bytes: totals.
        mac_bound, dram_bound: least cycles that multiplications and DRAM traffic alone would take.
    """

    events: list[Event]
    cycles: float
    seconds: float
    macs: int
    dram_bytes: int
    mac_bound: float
    dram_bound: float

    @property
    def mac_utilization(self) -> float:
        """Share of the peak rate of one cluster."""
        return self.mac_bound / self.cycles if self.cycles else 0.0


@dataclass(frozen=True)
class LayerTime:
    """The share of a layer in a timeline.

    Attributes:
        name: of the layer.
        cycles: time that passes while the frontier of completed work is in this layer; layers sum to the total.
        macs, dram_bytes: totals of its instructions.
        mac_utilization: macs over the peak of one cluster while the layer runs: in its cycles, or in the time that
            its multiplications take if part of that is charged to the layer before.
        bound: the unit that is busy longest: ``mac``, ``vector`` or ``dram``.
    """

    name: str
    cycles: float
    macs: int
    mac_utilization: float
    dram_bytes: int
    bound: str


def simulate(verified: VerifiedProgram) -> Timeline:
    """When every instruction of a verified program runs, in modelled time."""
    program, machine = verified.program, verified.program.machine
    ends: dict[Stream, list[float]] = {stream: [] for stream in program.queues}
    unit_free = dict.fromkeys(program.queues, 0.0)
    dram_free = 0.0
    events: list[Event] = []
    # Instructions enter in order of the time at which they could start, so that DRAM serves whoever asks first.
    following = dict.fromkeys(program.queues, 0)
    while True:
        ready = [(_ready(verified, stream, following[stream], ends, unit_free), stream) for stream in program.queues]
        candidates = [(time, stream) for time, stream in ready if time is not None]
        if not candidates:
            break
        start, stream = min(candidates)
        index = following[stream]
        item = verified.queues[stream][index]
        price = cost(item, machine)
        end = start + price.unit
        unit_free[stream] = end
        if price.dram_bytes:
            dram_free = max(end, dram_free) + price.dram(machine)
            unit_free[stream] = dram_free
            end = dram_free + price.latency
        # Completion is in order: an instruction is complete only after those before it.
        end = max(end, ends[stream][-1]) if ends[stream] else end
        ends[stream].append(end)
        following[stream] += 1
        layer = int(program.layer_of[stream][index])
        name = None if layer == NO_LAYER else program.layers[layer]
        events.append(Event(stream, index, item.MNEMONIC, start, end, price, name))
    return _total(events, machine)


def _ready(
    verified: VerifiedProgram,
    stream: Stream,
    index: int,
    ends: dict[Stream, list[float]],
    unit_free: dict[Stream, float],
) -> float | None:
    """When the next instruction of a stream could start; None if it waits for one whose end is not known yet."""
    if index == len(verified.queues[stream]):
        return None
    time = unit_free[stream]
    for other, position in verified.targets[stream][index]:
        if position > len(ends[other]):
            return None
        if position:
            time = max(time, ends[other][position - 1])
    return time


def _total(events: list[Event], machine: Machine) -> Timeline:
    cycles = max((event.end for event in events), default=0.0)
    macs = sum(event.cost.macs for event in events)
    dram_bytes = sum(event.cost.dram_bytes for event in events)
    return Timeline(
        events,
        cycles,
        cycles / machine.clock_hertz,
        macs,
        dram_bytes,
        macs / machine.cluster_macs_per_cycle,
        dram_bytes / machine.dram_bytes_per_cycle,
    )


def layer_times(timeline: Timeline, machine: Machine) -> list[LayerTime]:
    """Per-layer table of a timeline, in order of completion.

    Overlapping work is charged once: events are taken by their ends, and each charges its layer with the time since
    the end before it. The cycles of the layers add up to those of the timeline.
    """
    layers: dict[str, list[tuple[Event, float]]] = {}
    at, name = 0.0, "(other)"
    for event in sorted(timeline.events, key=lambda entry: entry.end):
        name = event.layer or name
        layers.setdefault(name, []).append((event, event.end - at))
        at = event.end
    return [_layer_time(name, charged, machine) for name, charged in layers.items()]


def _layer_time(name: str, charged: list[tuple[Event, float]], machine: Machine) -> LayerTime:
    """The table's row of a layer from its events and the time charged for each."""
    cycles = sum(time for _, time in charged)
    macs = sum(event.cost.macs for event, _ in charged)
    moved = sum(event.cost.dram_bytes for event, _ in charged)
    busy = {
        "mac": sum(event.cost.unit for event, _ in charged if event.stream.queue == Queue.MAC),
        "vector": sum(event.cost.unit for event, _ in charged if event.stream.queue == Queue.VEC),
        "dram": sum(event.cost.dram(machine) for event, _ in charged),
    }
    utilization = macs / machine.cluster_macs_per_cycle / (max(cycles, busy["mac"]) or 1.0)
    return LayerTime(name, cycles, macs, utilization, moved, max(busy, key=lambda unit: busy[unit]))
