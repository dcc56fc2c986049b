"""Calibration in tests: on the reference interpreter, which is slow and the oracle of the fast way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from tilewright.compiler.calibration.ranges import MinMax, make_statistics
from tilewright.compiler.calibration.runs import RunFunction, collect_statistics
from tilewright.compiler.calibration.sample_sets import Inputs
from tilewright.ir import interp
from tilewright.ir.core import Module, Op, Value
from tilewright.passes.quantization.parameters import Range
from tilewright.passes.quantization.quantize import Quantize


def interpreter(module: Module, values: Mapping[str, Value]) -> RunFunction:
    """A run function on the reference interpreter, which needs no kernels; slow.

    Args:
        values: parameters and results of ``module.main`` to return, by the name to return them under.
    """
    names: dict[Value, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    parameters: Collection[Value] = module.main.parameters

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}

        def keep(value: Value, array: np.ndarray) -> None:
            found.update(dict.fromkeys(names.get(value, ()), array))

        def observe(op: Op, results: tuple[np.ndarray, ...]) -> None:
            for value, array in zip(op.results, results, strict=True):
                keep(value, array)

        for parameter in parameters:
            keep(parameter, inputs[parameter.name])
        interp.run(module, inputs, observe=observe)
        return found

    return run


def collect_ranges(
    run: RunFunction,
    samples: Iterable[Inputs],
    names: Iterable[str],
    method: str = "mse",
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Range]:
    """The ranges of values over samples, as calibration finds them."""
    statistics: dict[str, MinMax] = {name: make_statistics(method) for name in names}
    collect_statistics(run, samples, statistics, report=report)
    return {name: each.range() for name, each in statistics.items()}


def quantize_with(
    ranges: Mapping[str, Range],
    activations: str = "i8",
    keep: tuple[str, ...] = (),
    *,
    exact_sums: bool = False,
    slopes: bool = False,
) -> Quantize:
    """The pass for ranges as they are collected."""
    bounds = tuple((name, low, high) for name, (low, high) in ranges.items())
    return Quantize(bounds, activations, keep, exact_sums=exact_sums, slopes=slopes)
