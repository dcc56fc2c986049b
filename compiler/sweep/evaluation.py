"""The machines of a sweep, each value of each field with each of the others; and one network on one machine, compiled
and modelled, and on many, by several processes, here or on a cluster.
"""

import json
import os
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tilewright.errors import (
    CalibrationError,
    InputError,
    MachineError,
    ModelError,
    ParseError,
    TilewrightError,
    TilewrightWarning,
    UsageError,
)
from tilewright.immutable import Immutable

from ...runtime.cluster.job import LOCAL, answers
from ...runtime.cluster.processes import Failed
from ...runtime.machines.fields import field_named, read_number, values_of
from ...runtime.machines.machine import FORMAT_VERSION, MachineFile, load_file, read_file
from ...runtime.report.details import details_of
from ...runtime.report.placement import device_share
from ...runtime.report.simulation import modelled_energy, simulate_artifact
from ..driver import compile_to_memory
from ..options import CompileOptions
from ..progress import silent

MOST = 10_000
"""Machines of a sweep."""


class Combination(Immutable):
    """One machine of a sweep.

    Attributes:
        values: of the fields that are set, in their order.
        text: the machine file.
        file: what the text says; None where there is no such machine.
        error: why not; empty where there is.
    """

    values: tuple[float, ...]
    text: str
    file: MachineFile | None
    error: str


def parse_settings(texts: Iterable[str]) -> dict[str, list[float]]:
    """Values by field from texts such as ``maps_bytes=64Ki,128Ki``.
    Raises UsageError: a text is of another form, or gives a field again."""
    found: dict[str, list[float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if name in found:
            raise UsageError(f"--set {name}=… is given twice", hint="Give all values of a field at once.")
        try:
            found[name] = [read_number(each) for each in values.split(",")]
        except ValueError as error:
            expected = "FIELD=NUMBER,… such as maps_bytes=64Ki,128Ki"
            raise UsageError(f"wrong --set: {error}", expected=expected, found=f"{text:.80}") from None
    return found


def combinations(base: MachineFile, settings: Mapping[str, Sequence[float]]) -> list[Combination]:
    """Every machine that differs from ``base`` in the fields that are set, in order of their values.
    Raises MachineError: there is no such field, or it is one of an energy model that the file does not state;
    UsageError: nothing is set, a field has no value or one twice, or there are too many machines."""
    if not settings:
        raise UsageError("a sweep has nothing to vary", hint="Give it fields with --set maps_bytes=64Ki,128Ki.")
    stated = values_of(base)
    for name, values in settings.items():
        if field_named(name).name not in stated:
            hint = "Give it a file with the object 'energy'."
            raise MachineError(f"machine {base.machine.name!r} states no energy model to set {name!r} of", hint=hint)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UsageError(f"a value of {name!r} is no number", expected="int or float", found=f"{value!r:.60}")
        if not values or len({*values}) != len(values):
            raise UsageError(f"the values of {name!r} must differ", expected="one at least", found=f"{values!r:.60}")
    count = prod(map(len, settings.values()))
    if count > MOST:
        raise UsageError("a sweep is of too many machines", expected=f"at most {MOST}", found=count)
    every = product(*map(sorted, settings.values()))
    return [combination(base, dict(zip(settings, values, strict=True))) for values in every]


def combination(base: MachineFile, values: Mapping[str, float]) -> Combination:
    """The machine that differs from ``base`` in these values."""
    described: dict[str, Any] = {"format": FORMAT_VERSION, **base.machine.to_dictionary()}
    if base.energy is not None:
        described["energy"] = asdict(base.energy)
    for name, value in values.items():
        part, _, own = name.rpartition(".")
        (described[part] if part else described)[own] = value
    text = json.dumps(described)
    try:
        return Combination((*values.values(),), text, read_file(text, base.machine.name), "")
    except MachineError as error:
        return Combination((*values.values(),), text, None, str(error))


Model = str | os.PathLike[str] | bytes
"""The path or the contents of a model: what files and other processes can be told of."""

OF_ALL = (UsageError, InputError, ParseError, ModelError, CalibrationError)
"""What is wrong with the model or the options, and so on every machine."""


class Figures(Immutable):
    """What is modelled of a network on a machine; CPU stages and transfers of the host are no part of it.
    ``cycles``, ``seconds``, ``mac_utilization``, ``machine_utilization``, ``dram_bytes``: as `SimulatedTotal` has them.
    ``device_macs_share``: of the network's multiplications, those that the machine does.
    ``joules``, ``board_watts``: as `Energy` has them; None where the machine states no energy model."""

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
    """Compile a network for a machine, the text of whose file this is, and model it.
    Raises TilewrightError: of `OF_ALL`."""
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
