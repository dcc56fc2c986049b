"""What an object of the Accelerator API knows of itself and of its networks, for ``GetInfo`` and the debug report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tilewright.blocks import cached_property

from ...artifact.artifact import Artifact
from ...artifact.manifest import TensorSpec
from ...isa.program import Program
from ...machines.machine import Machine
from ...report.simulation import Simulation, device_programs, simulate_artifact
from ...simulator.cycles import simulate
from ...simulator.timeline import Timeline
from ...simulator.verifier import verify_cards
from .flags import Flags
from .networks.binary import Batch

Generation = Literal[2, 3]

VERSIONS: dict[Generation, str] = {2: "v0.3.16", 3: "2022.1.0"}
"""What ``GetInfo('version')`` says in each generation: the versions that programs and wrappers compare with."""


class Network:
    """A loaded network; what is told of it is computed when it is first asked for.
    ``artifact``: what was loaded."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    @property
    def on_device(self) -> bool:
        """Whether anything of it runs on the accelerator."""
        return bool(self.artifact.manifest.device_programs)

    @cached_property
    def programs(self) -> dict[str, tuple[Program, ...]]:
        """Its device programs by name, for each card that runs one together; none where it is computed in floating
        point."""
        return device_programs(self.artifact, "GetInfo") if self.on_device else {}

    @property
    def machine(self) -> Machine | None:
        """What it was compiled for; ``None`` where nothing runs on the accelerator."""
        return next((cards[0].machine for cards in self.programs.values()), None)

    @cached_property
    def timelines(self) -> dict[str, Timeline]:
        """Its device programs in modelled time, by name."""
        verified = {name: verify_cards(cards, cards[0].machine) for name, cards in self.programs.items()}
        return {name: simulate(program) for name, program in verified.items()}

    @cached_property
    def simulation(self) -> Simulation | None:
        """The modelled time of one image on the clusters that its program uses; ``None`` where nothing runs on the
        accelerator."""
        return simulate_artifact(self.artifact) if self.on_device else None


@dataclass
class Facts:
    """What is known of an object; the object keeps it up to date.

    Attributes:
        flags: as they are set.
        generation: the second (``FWDNXT``) or the third (``MDLA``).
        machine: what stands for the card.
        networks: those that are loaded, in order.
        batch: the images that they are computed for together; while none is loaded, those by the flags.
        card: the first of its virtual cards, counted from 0.
        most_cards: how many virtual cards there can be.
        compile_seconds, init_seconds: how long these calls took, measured on the host.
        run_seconds: how long the last run took, measured on the host, which is not the device's time.
        busy: whether a submission is being computed now.
    """

    flags: Flags
    generation: Generation
    machine: Machine
    networks: Sequence[Network] = ()
    batch: Batch = field(default_factory=Batch)
    card: int = 0
    most_cards: int = 1
    compile_seconds: float = 0.0
    init_seconds: float = 0.0
    run_seconds: float = 0.0
    busy: Callable[[], bool] = field(default=lambda: False)

    @property
    def inputs(self) -> list[TensorSpec]:
        """The inputs of all networks."""
        return [spec for network in self.networks for spec in network.artifact.manifest.inputs]

    @property
    def outputs(self) -> list[TensorSpec]:
        """The outputs of all networks."""
        return [spec for network in self.networks for spec in network.artifact.manifest.outputs]

    @property
    def modelled_seconds(self) -> float | None:
        """Device time of a call by the cycle model: each cluster, or all together, computes its images one after the
        other, all clusters and cards at once; ``None`` where nothing runs on the accelerator."""
        simulations = [network.simulation for network in self.networks]
        found = [simulation.total.seconds for simulation in simulations if simulation is not None]
        return self.batch.images * sum(found) if found else None
