"""One network on one machine: compiled, and modelled; and on many, by several processes, here or on a cluster."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tilewright.errors import (
    CalibrationError,
    InputError,
    ModelError,
    ParseError,
    TilewrightError,
    TilewrightWarning,
    UsageError,
)
from tilewright.immutable import Immutable

from ...runtime.cluster.job import LOCAL, answers
from ...runtime.cluster.processes import Failed
from ...runtime.machines.machine import load_file
from ...runtime.report.details import details_of
from ...runtime.report.placement import device_share
from ...runtime.report.simulation import modelled_energy, simulate_artifact
from ..driver import compile_to_memory
from ..options import CompileOptions
from ..progress import silent

Model = str | os.PathLike[str] | bytes
"""The path or the contents of a model: what files and other processes can be told of."""

OF_ALL = (UsageError, InputError, ParseError, ModelError, CalibrationError)
"""What is wrong with the model or the options, and so on every machine."""


class Figures(Immutable):
    """What is modelled of a network on a machine; CPU stages and transfers of the host are no part of it.

    Attributes:
        cycles, seconds, mac_utilization, machine_utilization, dram_bytes: as `SimulatedTotal` has them.
        device_macs_share: of the network's multiplications, those that the machine does.
        joules, board_watts: as `Energy` has them; None where the machine states no energy model.
    """

    cycles: int
    seconds: float
    mac_utilization: float
    machine_utilization: float
    dram_bytes: int
    device_macs_share: float
    joules: float | None
    board_watts: float | None


class Outcome(Immutable):
    """What became of a machine: figures, or why there are none; ``is_final`` if that will be so again."""

    figures: Figures | None
    error: str = ""
    is_final: bool = True


def evaluate(model: Model, options: CompileOptions, machine: str) -> Outcome:
    """Compile a network for a machine and model it.

    Args:
        machine: the text of its file.

    Raises:
        TilewrightError: of `OF_ALL`.
    """
    with TemporaryDirectory(prefix="tilewright") as folder, warnings.catch_warnings():
        # They concern the network, and `tilewright compile` tells them once.
        warnings.simplefilter("ignore", TilewrightWarning)
        path = Path(folder) / "machine.json"
        path.write_text(machine)
        try:
            return Outcome(_figures(model, replace(options, machine=path)))
        except OF_ALL:
            raise
        except TilewrightError as error:
            return Outcome(None, str(error))
        except Exception as error:
            return Outcome(None, f"internal error: {type(error).__name__}: {error}", is_final=False)


def _figures(model: Model, options: CompileOptions) -> Figures:
    artifact = compile_to_memory(model, replace(options, precision="int8", engines="device"))
    total = simulate_artifact(artifact).total
    constants = load_file(Path(str(options.machine))).energy
    energy = None if constants is None or not total.seconds else modelled_energy(total, constants)
    return Figures(
        *(total.cycles, total.seconds, total.mac_utilization, total.machine_utilization, total.dram_bytes),
        device_share(details_of(artifact).placement),
        *((None, None) if energy is None else (energy.joules, energy.board_watts)),
    )


def outcomes(
    model: Model, options: CompileOptions, machines: Sequence[str], jobs: int, on: str = LOCAL
) -> Generator[tuple[int, Outcome], None, None]:
    """What becomes of each machine, with its number, as soon as it is known; closing the iterator ends all work."""
    jobs = min(jobs, len(machines))
    if on != LOCAL or jobs > 1:
        options = replace(options, report=silent)
    with closing(answers(partial(evaluate, model, options), deque(enumerate(machines)), on, jobs)) as found:
        for number, answer in found:
            if isinstance(answer, Failed):
                if isinstance(answer.error, TilewrightError):
                    raise answer.error
                answer = Outcome(None, answer.text, is_final=False)
            yield number, answer
