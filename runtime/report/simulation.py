"""Modelled time of an artifact's device programs: what ``tilewright simulate`` prints.

No silicon is measured here. The times come from the cycle model, whose constants stand in the machine description.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from tilewright.errors import ArtifactError

from ..artifact.artifact import Artifact
from ..isa import Program
from ..simulator.cycles import simulate
from ..simulator.layers import LayerTime, layer_times
from ..simulator.verifier import verify
from .details import details_of
from .placement import PlacedOp
from .table import Column, Table, on_one_line
from .units import MACS, show_bytes, show_count


@dataclass(frozen=True)
class SimulatedTotal:
    """Modelled cost of one inference on the device; CPU stages are not part of it.

    Attributes:
        cycles, seconds: device programs one after the other.
        macs: those of the network; channels that are padded to whole blocks do not count.
        mac_utilization: macs as a share of the peak of the one cluster that is used.
        dram_bytes: read and written.
    """

    cycles: int
    seconds: float
    macs: int
    mac_utilization: float
    dram_bytes: int


@dataclass(frozen=True)
class SimulatedLayer:
    """Modelled cost of one layer; ``bound`` is what limits it: ``mac``, ``dram``, ``vector`` or waiting."""

    name: str
    op: str
    cycles: int
    macs: int
    mac_utilization: float
    dram_bytes: int
    bound: str


@dataclass(frozen=True)
class Simulation:
    """Modelled execution of an artifact on its machine."""

    machine: str
    total: SimulatedTotal
    layers: tuple[SimulatedLayer, ...]

    def to_text(self) -> str:
        columns = [
            Column("name", "layer"),
            Column("op", "operator"),
            Column("cycles", "cycles", show=lambda n: f"{n:,}", right=True),
            MACS,
            Column("mac_utilization", "MAC use", show=lambda share: f"{share:.1%}" if share else "", right=True),
            Column("dram_bytes", "DRAM", show=show_bytes, right=True),
            Column("bound", "bound by"),
        ]
        table = Table(columns, [asdict(layer) for layer in self.layers])
        total = self.total
        return (
            f"{table.text()}modelled on {on_one_line(self.machine)}: {total.cycles:,} cycles, "
            f"{total.seconds * 1e3:.3f} ms, {show_count(total.macs)} MACs "
            f"at {total.mac_utilization:.1%} of the peak of one cluster, "
            f"{show_bytes(total.dram_bytes)} of DRAM traffic\n"
            "Times are modelled with the constants of the machine description, not measured on silicon.\n"
        )


def device_programs(artifact: Artifact, stage: str) -> dict[str, Program]:
    """The device programs of an artifact by name, decoded from their sections.

    Args:
        stage: the name of the command for messages.

    Raises:
        ArtifactError: the artifact holds none, or one is damaged.
        InstructionError: an instruction is malformed.
    """
    found = artifact.manifest.device_programs
    if not found:
        raise ArtifactError(
            f"{artifact.origin} holds no device program",
            stage=stage,
            found=f"precision {artifact.manifest.precision}",
            hint="Compile the model with --precision int8.",
        )
    return {name: Program.from_bytes(artifact.copy(each.instructions)) for name, each in found.items()}


def simulate_artifact(artifact: Artifact) -> Simulation:
    """Run the cycle model over every device program of ``artifact``.

    Raises:
        ArtifactError: it holds none.
    """
    programs = device_programs(artifact, "simulate")
    ops = {op.name: op for op in details_of(artifact).placement if op.on == "device"}
    machine = next(iter(programs.values())).machine
    timelines = [simulate(verify(program, program.machine)) for program in programs.values()]
    layers = [_layer(layer, ops.get(layer.name)) for each in timelines for layer in layer_times(each, machine)]
    cycles = sum(timeline.cycles for timeline in timelines)
    macs = sum(layer.macs for layer in layers)
    total = SimulatedTotal(
        round(cycles),
        sum(timeline.seconds for timeline in timelines),
        macs,
        macs / (cycles * machine.cluster_macs_per_cycle) if cycles else 0.0,
        sum(timeline.dram_bytes for timeline in timelines),
    )
    return Simulation(machine.name, total, tuple(layers))


def _layer(layer: LayerTime, op: PlacedOp | None) -> SimulatedLayer:
    """A layer of the cycle model, which counts padded channels, with the operator and the MACs of the network."""
    macs = op.macs if op is not None else layer.macs
    return SimulatedLayer(
        layer.name,
        op.op if op is not None else "",
        round(layer.cycles),
        macs,
        layer.mac_utilization * macs / layer.macs if layer.macs else 0.0,
        layer.dram_bytes,
        layer.bound,
    )
