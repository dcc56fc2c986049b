"""Modelled time of an artifact's device programs: what ``tilewright simulate`` prints.

No silicon is measured here. The times come from the cycle model, whose constants stand in the machine description.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from tilewright.errors import ArtifactError, UsageError

from ..artifact.artifact import Artifact
from ..execution.device import read_programs
from ..isa import Program
from ..isa.encoding import Queue
from ..machines.machine import Machine
from ..simulator.cycles import Event, Timeline, simulate
from ..simulator.left_out import BESIDE, COSTS
from ..simulator.verifier import verify_cards
from .details import PlacedOp, details_of
from .host import HostReport, report_host
from .table import MACS, Column, Table, on_lines, show_bytes, show_clusters, show_count, show_seconds


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


@dataclass(frozen=True)
class SimulatedTotal:
    """Modelled cost of one inference on the device; CPU stages are not part of it.

    Attributes:
        cycles, seconds: device programs one after the other, on the card that takes longest.
        macs: those of the network, on all cards; channels that are padded to whole blocks do not count.
        mac_utilization: macs as a share of the peak of the clusters that are used.
        machine_utilization: macs as a share of the peak of all clusters of all cards of the machine.
        dram_bytes: read and written on all cards, instructions included.
        clusters, cards: how many are used.
    """

    cycles: int
    seconds: float
    macs: int
    mac_utilization: float
    machine_utilization: float
    dram_bytes: int
    clusters: int
    cards: int


@dataclass(frozen=True)
class SimulatedLayer:
    """Modelled cost of a layer, as in the total; ``bound`` is what is busy longest: ``mac``, ``dram``,
    ``vector`` or ``link``."""

    name: str
    op: str
    cycles: int
    macs: int
    mac_utilization: float
    machine_utilization: float
    dram_bytes: int
    bound: str


@dataclass(frozen=True)
class Simulation:
    """Modelled execution of an artifact on its machine.

    Attributes:
        bound_shares: for each layer, how much of its cycles is busy what bounds it; the rest is waiting.
        parts: cycles that each cost adds somewhere on a card, by its name; they overlap each other and other work.
        without: costs that were left out.
        link_bytes: from card to card, where several run one network together.
        host: what the host does beside the device programs; no other figure contains any of it.
    """

    machine: str
    total: SimulatedTotal
    layers: tuple[SimulatedLayer, ...]
    bound_shares: tuple[float, ...]
    parts: dict[str, float]
    without: tuple[str, ...]
    link_bytes: int
    host: HostReport

    def to_text(self) -> str:
        columns = [
            Column("name", "layer"),
            Column("op", "operator", spare=True),
            Column("cycles", "cycles", show=lambda n: f"{n:,}", right=True),
            MACS,
            Column("mac_utilization", "MAC use", show=_percent, right=True),
            Column("machine_utilization", "of machine", show=_percent, right=True, spare=True),
            Column("dram_bytes", "DRAM", show=show_bytes, right=True),
            Column("bound", "bound"),
            Column("share", "busy", show=_percent, right=True),
        ]
        rows: list[Mapping[str, object]] = [
            {**asdict(layer), "share": share} for layer, share in zip(self.layers, self.bound_shares, strict=True)
        ]
        total, machine = self.total, ""
        if total.mac_utilization == total.machine_utilization:
            # The whole machine works: the column would say the same again.
            columns = [column for column in columns if column.key != "machine_utilization"]
            rows = [{key: value for key, value in row.items() if key != "machine_utilization"} for row in rows]
        else:
            machine = f", {total.machine_utilization:.1%} of the machine"
        parts = ", ".join(f"{name} {round(cycles):,}" for name, cycles in self.parts.items() if round(cycles))
        lines = [
            f"modelled on {self.machine}: {total.cycles:,} cycles, {show_seconds(total.seconds)}, "
            f"{show_count(total.macs)} MACs at {total.mac_utilization:.1%} of the peak "
            f"of {show_clusters(total.clusters, total.cards)}{machine}, {show_bytes(total.dram_bytes)} of DRAM traffic",
            *([f"cycles that costs add, of which some overlap: {parts}"] if parts else []),
            *([f"from card to card: {show_bytes(self.link_bytes)}, in the cycles above"] if self.link_bytes else []),
            *self.host.lines(),
            *([f"left out: {', '.join(self.without)}"] if self.without else []),
            "Times of the accelerator and of its links are modelled with the constants of the machine description, "
            "not measured on silicon.",
        ]
        return Table(columns, rows).text() + "".join(on_lines(line, 2) for line in lines)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share else ""


def device_programs(artifact: Artifact, stage: str) -> dict[str, tuple[Program, ...]]:
    """The device programs of an artifact by name, for each card that runs one together, decoded from their sections.

    Args:
        stage: the name of the command for messages.

    Raises:
        ArtifactError: the artifact holds none, or one is damaged.
        InstructionError: an instruction is malformed.
    """
    found = artifact.manifest.device_programs
    if not found:
        precision = artifact.manifest.precision
        is_compiled_for_one = precision == "int8"
        raise ArtifactError(
            f"{artifact.origin} holds no device program",
            stage=stage,
            found="the whole network on the CPU" if is_compiled_for_one else f"precision {precision}",
            hint="See by tilewright inspect why nothing runs on the accelerator."
            if is_compiled_for_one
            else "Compile the model with --precision int8.",
        )
    return {name: read_programs(artifact, name) for name in found}


def simulate_artifact(artifact: Artifact, without: Collection[str] = (), *, measured: bool = False) -> Simulation:
    """Run the cycle model over every device program of ``artifact``.

    Args:
        without: names of costs to leave out, of `tilewright.runtime.simulator.left_out`.
        measured: whether to run and measure what the host does, see `report_host`.

    Raises:
        ArtifactError: it holds none.
        UsageError: there is no such cost.
    """
    for name in without:
        if name not in COSTS and name not in BESIDE:
            raise UsageError("there is no such cost", expected=", ".join((*COSTS, *BESIDE)), found=name)
    programs = device_programs(artifact, "simulate")
    ops = {op.name: op for op in details_of(artifact).placement if op.on == "device"}
    machine = next(iter(programs.values()))[0].machine
    runs = [_runs(artifact, name) for name in programs]
    less = COSTS.keys() & set(without)
    timelines = [simulate(verify_cards(each, machine), without=less) for each in programs.values()]
    clusters = max(timeline.clusters for timeline in timelines)
    pairs = [*zip(timelines, runs, strict=True)]
    cards = max(run.cards * timeline.cards for timeline, run in pairs)
    taken = [(time, each, run) for each, run in pairs for time in layer_times(each, machine)]
    layers = [_layer(time, ops.get(time.name), each.clusters * each.cards, run, machine) for time, each, run in taken]
    cycles = sum(timeline.cycles * run.in_turn for timeline, run in pairs)
    macs = sum(layer.macs for layer in layers)
    peak = cycles * machine.cluster_macs_per_cycle
    total = SimulatedTotal(
        round(cycles),
        sum(timeline.seconds * run.in_turn for timeline, run in pairs),
        macs,
        macs / (peak * clusters * cards) if cycles else 0.0,
        macs / (peak * machine.clusters * machine.cards) if cycles else 0.0,
        sum(timeline.dram_bytes * run.times for timeline, run in pairs),
        clusters,
        cards,
    )
    return Simulation(
        machine.name,
        total,
        tuple(layers),
        tuple(time.bound_share for time, _, _ in taken),
        {name: sum(timeline.parts[name] * run.in_turn for timeline, run in pairs) for name in timelines[0].parts},
        tuple(sorted(without)),
        sum(timeline.link_bytes * run.times for timeline, run in pairs),
        report_host(artifact, programs, link="host-link" not in without, measured=measured),
    )


class _Runs(NamedTuple):
    """How often a device program runs for one inference, on so many cards at once."""

    times: int
    cards: int

    @property
    def in_turn(self) -> int:
        """Runs one after the other on the card that has most."""
        return -(-self.times // self.cards)


def _runs(artifact: Artifact, name: str) -> _Runs:
    engine = artifact.manifest.engines.get("device")
    times = engine.runs_of(name) if engine is not None else 1
    return _Runs(times, min(artifact.manifest.device_programs[name].cards, times))


def _layer(layer: LayerTime, op: PlacedOp | None, clusters: int, runs: _Runs, machine: Machine) -> SimulatedLayer:
    """A layer of the cycle model, which counts padded channels, with the operator and the MACs of the network."""
    counted = layer.macs * runs.times
    macs = op.macs if op is not None else counted
    utilization = layer.mac_utilization * macs / counted if counted else 0.0
    return SimulatedLayer(
        layer.name,
        op.op if op is not None else "",
        round(layer.cycles * runs.in_turn),
        macs,
        utilization,
        utilization * clusters * runs.cards / (machine.clusters * machine.cards),
        layer.dram_bytes * runs.times,
        layer.bound,
    )
