"""Calibration of a module: run it on samples, attach the ranges that its quantisation needs."""

from __future__ import annotations

from collections.abc import Callable

from ...ir.clone import clone_module
from ...ir.core import Module
from ...passes.quantization_parameters import Range
from ...passes.quantize import attach_ranges, values_to_calibrate
from .dataset import Source, open_calibration_set
from .observe import Report, RunFunction, collect_ranges, interpreter
from .preprocessing import Preprocessing


def observed_module(module: Module, keep: tuple[str, ...] = ()) -> Module:
    """A copy of ``module`` whose outputs are the values to calibrate, under the names of ``values_to_calibrate``.

    Args:
        keep: names of operators or nodes that stay in floating point, as for the pass ``quantize``.
    """
    copy = clone_module(module)
    values = values_to_calibrate(copy, keep)
    copy.main.set_results(list(values.values()), list(values))
    return copy


def calibrate(
    module: Module,
    source: Source,
    *,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    method: str = "mse",
    percentile: float = 99.99,
    keep: tuple[str, ...] = (),
    prepare: Callable[[Module], RunFunction] | None = None,
    report: Report = lambda stage, done, total: None,
) -> dict[str, Range]:
    """Attach to ``module``, a network in floating point, the ranges that the pass ``quantize`` needs.

    Args:
        source, preprocessing, limit, seed: see :func:`tilewright.compiler.calibration.dataset.open_calibration_set`.
        method, percentile: see :func:`tilewright.compiler.calibration.observe.collect_ranges`.
        keep: names of operators or nodes that stay in floating point.
        prepare: makes a function that runs an :func:`observed_module` on inputs by name; by default the reference
            interpreter runs it, slowly.
        report: called as ``report(stage, done, total)``.

    Returns:
        The ranges by name.

    Raises:
        CalibrationError: the data is missing, does not fit, or makes the network compute what is not finite.
        UsageError: there is no such method.
    """
    inputs = {parameter.name: parameter.type for parameter in module.main.parameters}
    samples = open_calibration_set(source, inputs, preprocessing=preprocessing, limit=limit, seed=seed)
    if prepare is not None:
        run = prepare(observed_module(module, keep))
    else:
        run = interpreter(module, values_to_calibrate(module, keep))
    ranges = collect_ranges(run, samples, method=method, percentile=percentile, report=report)
    attach_ranges(module, ranges, keep)
    return ranges
