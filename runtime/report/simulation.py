"""Modelled time and energy of an artifact's device programs: what ``tilewright simulate`` prints.

No silicon is measured here. The times come from the cycle model, whose constants stand in the machine description.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import NamedTuple

from tilewright.errors import ArtifactError, MachineError, UsageError
from tilewright.immutable import Immutable

from ..artifact.artifact import Artifact
from ..execution.device import read_programs
from ..isa.program import Program
from ..machines.constants import EnergyConstants
from ..machines.machine import Machine
from ..machines.machine import load as load_machine
from ..simulator.cycles import simulate
from ..simulator.dram import Traffic
from ..simulator.left_out import BESIDE, COSTS
from ..simulator.timeline import Timeline
from ..simulator.verifier import OrderedProgram, verify_cards
from .details import PlacedOp, details_of
from .layer_times import HostReport, LayerTime, layer_times, report_host, scratchpad_traffic
from .table import MACS, Column, Table, on_lines, show_bytes, show_clusters, show_count, show_seconds


class SimulatedTotal(Immutable):
    """Modelled cost of one inference on the device; CPU stages are not part of it.

    Attributes:
        cycles, seconds: device programs one after the other, on the card that takes longest.
        macs: those of the network, on all cards; channels that are padded to whole blocks do not count.
        mac_utilization: macs as a share of the peak of the clusters that are used.
        machine_utilization: macs as a share of the peak of all clusters of all cards of the machine.
        dram_bytes: read and written on all cards, instructions included.
        sram_bytes: read from scratchpads and written to them on all cards, see `scratchpad_bytes`.
        clusters, cards: how many are used.
    """

    cycles: int
    seconds: float
    macs: int
    mac_utilization: float
    machine_utilization: float
    dram_bytes: int
    sram_bytes: int
    clusters: int
    cards: int


class SimulatedLayer(Immutable):
    """Modelled cost of a layer, as in the total.

    Attributes:
        output: shape of its result; None where the artifact does not tell.
        lane_fill: macs as a share of what the multipliers could do in the cycles in which the arrays multiply; None
            without multiplications. The rest are lanes without work: channels, pixels or taps that do not divide.
        clusters: how many compute it, of all cards.
        sram_bytes: read from scratchpads and written to them, see `scratchpad_bytes`.
        bound: what is busy longest: ``mac``, ``dram``, ``vector`` or ``link``.
    """

    name: str
    op: str
    output: tuple[int, ...] | None
    cycles: int
    macs: int
    mac_utilization: float
    machine_utilization: float
    lane_fill: float | None
    clusters: int
    dram_bytes: int
    sram_bytes: int
    bound: str


class Simulation(Immutable):
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
            Column("output", "output", show=lambda shape: "×".join(map(str, shape)), spare=True),
            Column("cycles", "cycles", show=lambda n: f"{n:,}", right=True),
            MACS,
            Column("mac_utilization", "MAC use", show=_percent, right=True),
            Column("machine_utilization", "of machine", show=_percent, right=True, spare=True),
            Column("lane_fill", "lane fill", show=_percent, right=True, spare=True),
            Column("clusters", "clusters", right=True, spare=True),
            Column("dram_bytes", "DRAM", show=show_bytes, right=True),
            Column("sram_bytes", "SRAM", show=show_bytes, right=True, spare=True),
            Column("bound", "bound"),
            Column("share", "busy", show=_percent, right=True),
        ]
        rows: list[Mapping[str, object]] = [
            {**asdict(layer), "share": share} for layer, share in zip(self.layers, self.bound_shares, strict=True)
        ]
        total = self.total
        if total.mac_utilization == total.machine_utilization:
            # The whole machine works: the column would say the same again.
            columns = [column for column in columns if column.key != "machine_utilization"]
            rows = [{key: value for key, value in row.items() if key != "machine_utilization"} for row in rows]
        return Table(columns, rows).text() + "".join(on_lines(line, 2) for line in self.lines())

    def lines(self) -> list[str]:
        """What is said of the whole, in sentences."""
        total, machine = self.total, ""
        if total.mac_utilization != total.machine_utilization:
            machine = f", {total.machine_utilization:.1%} of the machine"
        parts = ", ".join(f"{name} {round(cycles):,}" for name, cycles in self.parts.items() if round(cycles))
        return [
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


def _percent(share: float) -> str:
    return f"{share:.1%}" if share else ""


def device_programs(artifact: Artifact, stage: str) -> dict[str, tuple[Program, ...]]:
    """The device programs of an artifact by name, for each card that runs one together, decoded from their sections.
    ``stage``: the name of the command for messages.
    Raises ArtifactError: the artifact holds none, or one is damaged; InstructionError: an instruction is malformed."""
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


def check_machine(artifact: Artifact, name_or_path: str) -> None:
    """Refuse an artifact that was compiled for another machine than this one.
    Raises ArtifactError: it holds no device program; MachineError: it was, and how the two differ; or there is no such
    machine."""
    machine = load_machine(name_or_path)
    for programs in device_programs(artifact, "simulate").values():
        own = programs[0].machine
        if own.hash != machine.hash:
            raise MachineError(
                f"{artifact.origin} was compiled for machine {own.name!r}, and its schedule is for no other one",
                stage="simulate",
                expected=own.name,
                found=f"{machine.name} (artifact, machine): {'; '.join(own.differences(machine))}",
                hint=f"Compile the model with --machine {name_or_path} and simulate that artifact, or compare machines "
                "with `tilewright sweep MODEL`.",
            )


class SimulatedProgram(NamedTuple):
    """A device program in modelled time, whole; ``in_turn`` is how often it runs, one run after the other."""

    name: str
    ordered: OrderedProgram
    timeline: Timeline
    traffic: Traffic
    in_turn: int


def simulate_artifact(
    artifact: Artifact,
    without: Collection[str] = (),
    *,
    measured: bool = False,
    observe: Callable[[SimulatedProgram], object] | None = None,
) -> Simulation:
    """Run the cycle model over every device program of ``artifact``.
    ``without``: names of costs to leave out, of `tilewright.runtime.simulator.left_out`.
    ``measured``: whether to run and measure what the host does, see `report_host`.
    ``observe``: called with each device program in turn.
    Raises ArtifactError: it holds none; UsageError: there is no such cost."""
    for name in without:
        if name not in COSTS and name not in BESIDE:
            raise UsageError("there is no such cost", expected=", ".join((*COSTS, *BESIDE)), found=name)
    programs = device_programs(artifact, "simulate")
    details, touched = details_of(artifact), Counter[str]()
    ops = {op.name: op for op in details.placement if op.on == "device"}
    outputs = {layer.name: layer.output for layer in details.layers}
    machine = next(iter(programs.values()))[0].machine
    runs = [_runs(artifact, name) for name in programs]
    less = COSTS.keys() & set(without)
    timelines: list[Timeline] = []
    for (name, each), run in zip(programs.items(), runs, strict=True):
        ordered, traffic = verify_cards(each, machine), None if observe is None else Traffic()
        touched.update({layer: moved * run.times for layer, moved in scratchpad_traffic(ordered, machine).items()})
        timelines.append(simulate(ordered, without=less, traffic=traffic))
        if observe is not None and traffic is not None:
            observe(SimulatedProgram(name, ordered, timelines[-1], traffic, run.in_turn))
    clusters = max(timeline.clusters for timeline in timelines)
    pairs = [*zip(timelines, runs, strict=True)]
    cards = max(run.cards * timeline.cards for timeline, run in pairs)
    taken = [(time, each, run) for each, run in pairs for time in layer_times(each, machine)]
    layers = [
        _layer(
            *(time, ops.get(time.name), outputs.get(time.name), each.clusters * each.cards),
            *(run, machine, touched[time.name]),
        )
        for time, each, run in taken
    ]
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
        touched.total(),
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


def _layer(
    layer: LayerTime,
    op: PlacedOp | None,
    output: tuple[int, ...] | None,
    clusters: int,
    runs: _Runs,
    machine: Machine,
    sram_bytes: int,
) -> SimulatedLayer:
    """A layer of the cycle model, which counts padded channels, with the operator and the MACs of the network."""
    counted = layer.macs * runs.times
    macs = op.macs if op is not None else counted
    utilization = layer.mac_utilization * macs / counted if counted else 0.0
    possible = layer.array_steps * runs.times * machine.cluster_macs_per_cycle
    return SimulatedLayer(
        layer.name,
        op.op if op is not None else "",
        output,
        round(layer.cycles * runs.in_turn),
        macs,
        utilization,
        utilization * clusters * runs.cards / (machine.clusters * machine.cards),
        macs / possible if possible else None,
        layer.clusters * runs.cards,
        layer.dram_bytes * runs.times,
        sram_bytes,
        layer.bound,
    )


class Energy(NamedTuple):
    """What one inference takes, without CPU stages and transfers of the host.
    ``joules``: without what the chip and the board take whatever they do.
    ``chip_watts``, ``board_watts``: mean power of all cards that are used; the board's includes the chip's."""

    joules: float
    chip_watts: float
    board_watts: float


def modelled_energy(total: SimulatedTotal, constants: EnergyConstants) -> Energy:
    """Multiplications of the network, accesses of scratchpads and DRAM traffic at their prices, and what is taken
    whatever is done; ``total`` must take some time."""
    compute = (total.macs * constants.mac_picojoules + total.sram_bytes * constants.sram_byte_picojoules) * 1e-12
    memory = total.dram_bytes * constants.dram_byte_picojoules * 1e-12
    chip = constants.idle_watts * total.cards + compute / total.seconds
    board = chip + constants.board_watts * total.cards + memory / total.seconds
    return Energy(compute + memory, chip, board)
