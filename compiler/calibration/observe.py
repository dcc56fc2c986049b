"""Runs a network over a calibration set, on kernels compiled for that, and gathers ranges of values of interest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from tilewright.errors import CalibrationError

from ...codegen.cpu.llvm.target import TargetDescription
from ...codegen.package import Package, add_engine
from ...codegen.time_limit import KERNELS
from ...ir.annotations import EXTENTS
from ...ir.clone import clone_module
from ...ir.core import Module, Value
from ...passes.quantization.parameters import Range
from ...runtime.artifact.artifact import Artifact
from ...runtime.session import load
from ..pipeline import cpu_pipeline
from ..progress import ProgressReport, silent
from .dataset import CalibrationSet, Inputs
from .ranges import MinMax, make_statistics

RunFunction = Callable[[Inputs], Mapping[str, np.ndarray]]
"""From inputs by name to the observed values by name."""

STAGE = "calibration"
COMPILING = f"{KERNELS} (calibration)"


def collect_ranges(
    run: RunFunction,
    samples: CalibrationSet,
    *,
    method: str = "mse",
    percentile: float = 99.99,
    report: ProgressReport = silent,
    whole: Collection[str] = (),
) -> dict[str, Range]:
    """Range of each value that ``run`` returns, over all samples.

    Args:
        run: called once for each sample; always returns the same names.
        method: ``mse``, ``minmax`` or ``percentile``, see :mod:`.ranges`.
        percentile: for the method of that name.
        whole: names of values whose range is from the smallest to the largest number, whatever the method is.

    Raises:
        CalibrationError: a bad sample, or one that makes a value infinite or not a number.
        UsageError: there is no such method.
    """
    statistics: dict[str, MinMax] = {}
    total = len(samples)
    report(STAGE, 0, total)
    for index, inputs in enumerate(samples):
        for name, array in run(inputs).items():
            if array.dtype.kind == "f" and not _is_finite(array):
                raise CalibrationError(
                    f"the network computes numbers that are not finite on calibration sample {index}",
                    stage=STAGE,
                    found=f"NaN or infinity in {name!r}",
                    hint="Check the preprocessing (mean, scale), or leave the sample out.",
                )
            if name not in statistics:
                statistics[name] = MinMax() if name in whole else make_statistics(method, percentile)
            statistics[name].observe(array)
        report(STAGE, index + 1, total)
    return {name: each.range() for name, each in statistics.items()}


def _is_finite(array: np.ndarray) -> bool:
    # A sum shows most cases without a second array; one that overflows is looked at closely.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def compiled(module: Module, values: Mapping[str, Value], report: ProgressReport = silent) -> RunFunction:
    """A run function on CPU kernels, which take milliseconds where the reference interpreter takes seconds.

    Args:
        values: parameters and results of ``module.main`` to return, by the name to return them under.
        report: called as the kernels are compiled.
    """
    positions = {value: index for index, value in enumerate(_values_of(module))}
    copy = clone_module(module)
    twins = _values_of(copy)
    parameters = {name: value.name for name, value in values.items() if value in module.main.parameters}
    computed = {name: twins[positions[value]] for name, value in values.items() if name not in parameters}
    copy.main.set_results(list(computed.values()), list(computed))
    EXTENTS.drop(copy.main)
    cpu_pipeline().run(copy)
    package = Package(copy, "fp32", "calibration")
    target = TargetDescription.host()
    add_engine(package, "float", copy, target, report=lambda _, done, total: report(COMPILING, done, total))
    session = load(Artifact.open(package.to_bytes()))

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        return {**session.run(inputs), **{name: inputs[source] for name, source in parameters.items()}}

    return run


def _values_of(module: Module) -> list[Value]:
    return [*module.main.parameters, *(value for op in module.main.ops for value in op.results)]
