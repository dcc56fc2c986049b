"""Networks, one after the other, on Tilewright and on its peers: agreement first, then times."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import tilewright
from tilewright.errors import CalibrationWarning, TilewrightError, warn

from ...runtime.execution.shapes import shape_of
from ...runtime.native.host import processors
from ...runtime.report.details import details_of
from ...runtime.report.execution import random_inputs
from ..driver import compile_to_file
from ..frontend.formats import frozen_arrays, known_names, known_tensors
from ..frontend.input_shapes import names_in
from ..options import CompileOptions
from ..progress import ProgressReport, silent
from .contenders import LOADERS, OURS, Loaded, is_quantized
from .measure import Start, Times, first_results, run_alone, take_turns

FLOAT_TOLERANCE, INTEGER_TOLERANCE = 1e-2, 0.3
"""How far the outputs of a contender may be from ours, as the length of the difference over that of the output; the
second where one of the two rounds to integers, which no two programs do alike. Random inputs are hard on some networks:
a variance of almost equal numbers, taken as the difference of two means, has few digits that are right."""

NEGLIGIBLE = 1e-3
"""Outputs whose elements are smaller than this are taken to be of this size: those of a sigmoid near 0 differ between
programs by more than a thousandth of themselves, and mean the same."""

STARTS = 11
"""Fresh processes of each contender, at most."""


@dataclass
class NetworkResult:
    """One network on some threads.

    Attributes:
        times: by contender, ours first.
        computes_with: by contender, what it says that it computes with.
        left_out: by contender, why it was not measured.
        ratio: the time of the best peer over ours; None without one.
        starts: of fresh processes, by contender; for the first number of threads only.
    """

    network: str
    threads: int
    precision: str
    times: dict[str, Times]
    computes_with: dict[str, str]
    left_out: dict[str, str]
    ratio: float | None
    starts: dict[str, Start] = field(default_factory=dict)


@dataclass
class Comparison:
    """All networks.

    Attributes:
        processor: its name, as the system has it.
        processors: how many this process may use.
        versions: by contender, and of Python and NumPy.
        not_installed: the peers that are not there, which are the names of their packages as well.
        geometric_means: of the ratios, by number of threads.
        wrong: what contenders computed something else than we did, and how far off they are.
        interrupted: whether Ctrl-C ended it, before all networks were measured.
    """

    processor: str
    processors: int
    versions: dict[str, str]
    not_installed: list[str]
    rounds: int
    networks: list[NetworkResult] = field(default_factory=list)
    geometric_means: dict[int, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    interrupted: bool = False


_Network = tuple[Path, str, Mapping[str, np.ndarray]]
"""A model, the precision that it is compiled in, and its inputs."""


def processor_name() -> str:
    """What the system calls the processor."""
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        information = ""
    lines = (line.partition(":") for line in information.splitlines())
    names = (value.strip() for key, _, value in lines if key.strip() == "model name")
    return next(names, platform.processor() or platform.machine())


def compare(
    models: Sequence[Path],
    peers: Sequence[str],
    threads: Sequence[int],
    rounds: int,
    options: CompileOptions,
    folder: Path,
) -> Comparison:
    """Measure each network on each number of threads; artifacts are written into ``folder``.
    Raises KeyboardInterrupt: Ctrl-C, unless something is measured, which it is the end of then."""
    versions = {OURS: tilewright.__version__}
    for name in peers:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    here = [name for name in peers if name in versions]
    versions |= {"numpy": np.__version__, "python": platform.python_version()}
    missing = [name for name in peers if name not in versions]
    found = Comparison(processor_name(), processors(), versions, missing, rounds)
    networks: list[_Network] = []
    for number, (model, own) in enumerate(zip(models, own_options(models, options), strict=True)):
        options.report(f"compile {model.stem}", number, len(models))
        try:
            artifact = compile_to_file(model, folder / f"{number}.twa", replace(own, report=silent))
            inputs = random_inputs(artifact.manifest.inputs, np.random.default_rng(0))
            # Others read what is a constant of ours.
            inputs = {**inputs, **frozen_arrays(model, own.freeze or {})}
        except TilewrightError as error:
            error.message = f"{model.name}: {error.message}"
            raise
        networks.append((model, artifact.manifest.precision, inputs))
        for each in details_of(artifact).warnings:
            warn(f"{model.name}: {each}", CalibrationWarning)
        if len(views := artifact.in_shapes()) > 1:
            warn(f"{model.name} has {len(views)} shapes, and is measured in {shape_of(views[0])}", CalibrationWarning)
    try:
        for (number, given), count in product(enumerate(networks), threads):
            model, precision, inputs = given
            files = {OURS: str(folder / f"{number}.twa")} | {name: str(model.absolute()) for name in here}
            network = _measure(given, files, count, found, options.report)
            found.networks.append(network)
            if count == threads[0]:
                options.report(f"{model.stem}, fresh processes", 0, 1)
                taking_part = {name: files[name] for name in network.times}
                network.starts = first_results(taking_part, count, precision, inputs, min(rounds, STARTS))
    except KeyboardInterrupt:
        if not found.networks:
            raise
        found.interrupted = True
    for count in threads:
        ratios = [each.ratio for each in found.networks if each.threads == count and each.ratio is not None]
        if ratios:
            found.geometric_means[count] = float(np.exp(np.mean(np.log(ratios))))
    return found


def own_options(models: Sequence[Path], options: CompileOptions) -> list[CompileOptions]:
    """The options for each model, with those shapes, values and bounds that are given for names that it has, or that no
    model has, which its import refuses."""
    frozen, shapes, bounds = options.freeze or {}, options.input_shapes or {}, options.bounds or {}
    names = names_in(shapes) | {*frozen}
    if len(models) == 1 or not (names or bounds):
        return [options] * len(models)
    known = _with_unknown(names, [known_names(model, names) for model in models])
    tensors = _with_unknown({*bounds}, [known_tensors(model, bounds) for model in models])
    every = [shapes] if isinstance(shapes, Mapping) else shapes
    return [
        replace(
            options,
            input_shapes=[{name: each[name] for name in each if name in own} for each in every],
            freeze={name: frozen[name] for name in frozen if name in own},
            bounds={name: bounds[name] for name in bounds if name in within},
        )
        for own, within in zip(known, tensors, strict=True)
    ]


def _with_unknown(names: set[str], known: Sequence[set[str]]) -> list[set[str]]:
    """What each model knows of some names, and those that none does."""
    return [each | names.difference(*known) for each in known]


def _measure(
    network: _Network, files: Mapping[str, str], threads: int, found: Comparison, report: ProgressReport
) -> NetworkResult:
    model, precision, inputs = network
    shapes = {name: list(array.shape) for name, array in inputs.items()}
    exact = precision == "fp32" and not is_quantized(str(model))
    ready: dict[str, Loaded] = {}
    expected: Mapping[str, Any] = {}
    left_out: dict[str, str] = {}
    for name, file in files.items():
        try:
            if name != OURS:
                # Some do not refuse a network, but crash, which is to end a process of their own alone.
                run_alone(name, file, threads, precision, inputs)
            ready[name] = LOADERS[name](file, threads, precision, shapes)
            results = ready[name].run(inputs)
        except Exception as error:
            # Peers raise what they like; that one of them cannot run a network is a result.
            if name == OURS:
                raise
            ready.pop(name, None)
            left_out[name] = str(error).strip().partition("\n")[0] or type(error).__name__
            continue
        expected = expected or results
        distance = difference(results, expected)
        if not distance <= (FLOAT_TOLERANCE if exact else INTEGER_TOLERANCE):
            del ready[name]
            left_out[name] = f"its outputs differ from ours by {distance:.1e} of their length"
            found.wrong.append(f"{name} on {model.stem} with threads={threads} by {distance:.1e}")
    stage = f"{model.stem}, threads={threads}"
    runs = {name: partial(each.run, inputs) for name, each in ready.items()}
    times = take_turns(runs, found.rounds, lambda done: report(stage, done, found.rounds))
    peers = [each.median for name, each in times.items() if name != OURS]
    return NetworkResult(
        model.stem,
        threads,
        precision,
        times,
        {name: each.computes_with for name, each in ready.items()},
        left_out,
        min(peers) / times[OURS].median if peers else None,
    )


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """How far the worst output is off, as the length of the difference over that of the output; infinite where outputs
    have other shapes, or where one of both has no finite number. An output whose name the contender does not give is
    found by its place. Names of classes are not compared, and maps from these to numbers as the numbers, sorted."""
    worst = 0.0
    # What a sequence holds are outputs of their own here.
    items = {name: other for name, other in found.items() if isinstance(other, list)}
    found = {**found, **{f"{name}.{at}": item for name, other in items.items() for at, item in enumerate(other)}}
    for number, (name, array) in enumerate(expected.items()):
        other = found.get(name, found.get(f"#{number}"))
        if isinstance(other, list) and other and isinstance(other[0], Mapping):
            array, other = np.sort(array), np.sort([[*row.values()] for row in other])
        if isinstance(other, np.ndarray) and other.dtype.kind in "OU":
            continue
        if other is None or np.shape(other) != array.shape:
            return float("inf")
        wanted, got = array.astype(np.float64), np.asarray(other, np.float64)
        # What is undefined for random inputs is so for both.
        is_same = ~np.isfinite(wanted) & ((wanted == got) | (np.isnan(wanted) & np.isnan(got)))
        wanted, got = np.where(is_same, 0, wanted), np.where(is_same, 0, got)
        length = max(float(np.linalg.norm(wanted)), NEGLIGIBLE * wanted.size**0.5) or 1.0
        distance = float(np.linalg.norm(got - wanted)) / length
        worst = max(worst, distance if np.isfinite(distance) else float("inf"))
    return worst
