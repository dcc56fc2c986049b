"""A network on synthetic images: its throughput and latency here, and what the accelerator's models say of both, and of
power.

Here is this processor, measured by the clock and, where the system lets this user read it, by the energy counters of
its package (RAPL). The accelerator's time is that of the cycle model, its energy that of a model with five constants:

    energy on the chip = MACs * energy of a MAC + scratchpad bytes * energy of a byte
    energy of an image = energy on the chip + DRAM bytes * energy of a byte
    power of the chip  = idle power + energy on the chip / time
    power of the board = power of the chip + power of the rest of the board + energy of the DRAM's bytes / time

The constants stand in the machine's file, each with its origin. Nothing of this was measured on silicon.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from tilewright.errors import ArtifactError, MachineError
from tilewright.immutable import Immutable
from tilewright.limits import check_count

from ...artifact.artifact import Artifact
from ...machines.constants import EnergyConstants
from ...machines.machine import load_energy, samples
from ...report.details import details_of
from ...report.simulation import modelled_energy, simulate_artifact
from ...request import Request
from ...session import Session

_HELD = 2**9
"""Runs of a call whose results are held at most: more than there are workers for, and places in their queue."""

_COUNTERS = Path("/sys/class/powercap")


class Measured(Immutable):
    """Repeated calls on this processor.

    Attributes:
        seconds: of all repetitions.
        watts: mean power of the processor's package meanwhile, which all programs take together; None where it cannot
            be read.
    """

    repetitions: int
    batch: int
    seconds: float
    watts: float | None

    @property
    def latency(self) -> float:
        """Seconds of a call."""
        return self.seconds / self.repetitions

    @property
    def images_per_second(self) -> float:
        return self.repetitions * self.batch / self.seconds


class Modelled(Immutable):
    """What the models say of a call on the accelerator, of which CPU stages and transfers of the host are no part.

    Attributes:
        latency: seconds of a call.
        joules: of a call, without what the chip and the board take whatever they do.
        chip_watts, board_watts: mean power of all cards that are used; the board's includes the chip's.
    """

    machine: str
    latency: float
    images_per_second: float
    joules: float
    chip_watts: float
    board_watts: float


def measure(
    session: Session,
    *,
    batch: int,
    repetitions: int,
    counters: Path = _COUNTERS,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Measured:
    """Call a session again and again with the same random images.
    ``batch``: images of a call, which the session computes as many at once as it has workers.
    ``counters``: the folder of the energy counters.
    ``report``: called after each call, with a word, how many there were, and how many there will be."""
    batch, repetitions = check_count("batch", batch), check_count("repetitions", repetitions)
    rng = np.random.default_rng(0)
    inputs = {
        spec.name: rng.integers(0, 256, spec.shape).astype(spec.numpy, casting="unsafe") for spec in session.inputs
    }
    runs = -(-batch // session.inputs[0].shape[0])

    def call() -> None:
        running: deque[Request] = deque()
        for _ in range(runs):
            running.append(session.submit(inputs))
            if len(running) > _HELD:
                running.popleft().result()
        for request in running:
            request.result()

    call()
    meter = EnergyMeter(counters)
    start = time.monotonic()
    for done in range(1, repetitions + 1):
        call()
        meter.read()
        report("power", done, repetitions)
    seconds = time.monotonic() - start
    joules = meter.joules()
    return Measured(repetitions, batch, seconds, None if joules is None else joules / seconds)


def model(artifact: Artifact, *, batch: int, machine: str | Path | None = None) -> Modelled:
    """What the models say of an artifact.
    ``batch``: images of a call.
    ``machine``: name or file of the machine that states the energy constants; by default those of the one that the
    artifact was compiled for.
    Raises ArtifactError: it holds nothing for the accelerator; MachineError: no energy constants are known."""
    simulation = simulate_artifact(artifact)
    total, calls = simulation.total, batch / artifact.manifest.inputs[0].shape[0]
    constants = _constants(artifact, machine)
    if total.seconds <= 0:
        raise ArtifactError(f"the device programs of {artifact.origin} take no time")
    energy = modelled_energy(total, constants)
    return Modelled(
        machine=simulation.machine,
        latency=total.seconds * calls,
        images_per_second=batch / (total.seconds * calls),
        joules=energy.joules * calls,
        chip_watts=energy.chip_watts,
        board_watts=energy.board_watts,
    )


def _constants(artifact: Artifact, machine: str | Path | None) -> EnergyConstants:
    details = details_of(artifact)
    name = machine if machine is not None else details.machine or ""
    is_known = machine is not None or str(name).lower() in samples()
    found = load_energy(name) if is_known else details.energy
    if found is None:
        raise MachineError(
            f"machine {str(name)!r} states no energy constants",
            expected="a file with 'energy'",
            hint="Name such a file with --machine.",
        )
    return found


class EnergyMeter:
    """The energy of the processor's packages, as Linux counts it (``intel-rapl``), since this was made.

    The counters begin again at 0 after minutes of full load: `read` now and then."""

    def __init__(self, folder: Path = _COUNTERS) -> None:
        # Packages are intel-rapl:N; what has two colons is a part of one.
        self._folders = [each for each in sorted(folder.glob("intel-rapl:*")) if each.name.count(":") == 1]
        self._microjoules = 0
        self._last = self._counts()

    def _counts(self) -> list[tuple[int, int]] | None:
        """Of each package, what it counts and at which number it begins again; None where that cannot be read."""
        with suppress(OSError, ValueError):
            counts = [
                (int((each / "energy_uj").read_text()), int((each / "max_energy_range_uj").read_text()))
                for each in self._folders
            ]
            return counts or None
        return None

    def read(self) -> None:
        """Take in what has been counted since the last time."""
        counts = self._counts() if self._last is not None else None
        if counts is not None and self._last is not None:
            for (now, limit), (before, _) in zip(counts, self._last, strict=True):
                self._microjoules += now - before if now >= before else now - before + limit
        self._last = counts

    def joules(self) -> float | None:
        """All that has been counted; None where nothing can be."""
        self.read()
        return None if self._last is None else self._microjoules * 1e-6
