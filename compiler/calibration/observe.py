"""Runs a network over a calibration set and gathers the range of each value of interest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tilewright.errors import CalibrationError

from ...passes.quantization.parameters import Range
from ..console import ProgressReport, silent
from .dataset import CalibrationSet, Inputs
from .ranges import make_statistics

RunFunction = Callable[[Inputs], Mapping[str, np.ndarray]]
"""From inputs by name to the observed values by name."""

STAGE = "calibration"


def collect_ranges(
    run: RunFunction,
    samples: CalibrationSet,
    *,
    method: str = "mse",
    percentile: float = 99.99,
    report: ProgressReport = silent,
) -> dict[str, Range]:
    """Range of each value that ``run`` returns, over all samples.

    Args:
        run: called once for each sample; always returns the same names.
        method: ``mse``, ``minmax`` or ``percentile``, see :mod:`.ranges`.
        percentile: for the method of that name.

    Raises:
        CalibrationError: no samples, a bad one, or one that makes a value infinite or not a number.
        UsageError: there is no such method.
    """
    make_statistics(method, percentile)
    statistics = {}
    total = len(samples)
    report(STAGE, 0, total)
    done = 0
    for inputs in samples:
        for name, array in run(inputs).items():
            if array.dtype.kind == "f" and not _is_finite(array):
                raise CalibrationError(
                    f"the network computes numbers that are not finite on calibration sample {done}",
                    stage=STAGE,
                    found=f"NaN or infinity in {name!r}",
                    hint="Check the preprocessing (mean, scale), or leave the sample out.",
                )
            if name not in statistics:
                statistics[name] = make_statistics(method, percentile)
            statistics[name].observe(array)
        done += 1
        report(STAGE, done, total)
    if done == 0:
        raise CalibrationError("the calibration set is empty", stage=STAGE, expected="at least one sample")
    return {name: each.range() for name, each in statistics.items()}


def _is_finite(array: np.ndarray) -> bool:
    # A sum shows most cases without a second array; one that overflows is looked at closely.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())
