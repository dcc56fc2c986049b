"""A network in floating point on calibration samples: compiled once, run as often as methods look at it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

import numpy as np

from ...codegen.cpu.llvm.named_targets import PORTABLE
from ...codegen.cpu.llvm.target import TargetDescription
from ...ir.core import Module, Value
from ...passes.quantization.parameters import Range
from ..options import CompileOptions
from .dataset import CalibrationSet, Inputs, RandomSet, open_calibration_set
from .ranges import STAGE, RunFunction, collect_ranges, compiled
from .statistics import Findings
from .watch import Watch


class Observation:
    """What values of a module are on the samples of options, which hold calibration data.

    Args:
        values: by the names under which they are asked for.
        findings: receives what the samples are like, when ranges are asked for.
    """

    def __init__(
        self, module: Module, values: Mapping[str, Value], options: CompileOptions, findings: Findings | None = None
    ) -> None:
        self._module, self._values, self._options, self._findings = module, values, options, findings

    @cached_property
    def _watch(self) -> Watch | None:
        if self._findings is None or isinstance(self.samples, RandomSet):
            return None
        return Watch(self._module, self.samples, self._options)

    @cached_property
    def _run(self) -> RunFunction:
        # Rounding differs between processors, and so would the scales. Code for named ones is to be the same wherever
        # it is made.
        is_named = all(target.level for target in TargetDescription.several(self._options.target or "host"))
        watched = self._watch.outputs if self._watch is not None else {}
        target = PORTABLE if is_named else "host"
        return compiled(self._module, {**self._values, **watched}, self._options.report, target)

    @cached_property
    def samples(self) -> CalibrationSet:
        """The samples.

        Raises:
            CalibrationError: as :func:`open_calibration_set` says.
        """
        options = self._options
        assert options.calibration is not None
        inputs = {parameter.name: parameter.type for parameter in self._module.main.parameters}
        return open_calibration_set(
            options.calibration, inputs, preprocessing=options.preprocessing, limit=options.calibration_limit
        )

    def ranges(self, names: Collection[str], whole: Collection[str] = ()) -> dict[str, Range]:
        """As :func:`collect_ranges`, of the values of these names."""

        watch, findings, options = self._watch, self._findings, self._options
        compute = self._run if watch is None else watch.watched(self._run)

        def run(inputs: Inputs) -> Mapping[str, np.ndarray]:
            found = compute(inputs)
            return {name: found[name] for name in names}

        ranges = collect_ranges(
            run,
            self.samples if watch is None else watch.samples,
            method=options.calibration_method,
            percentile=options.percentile,
            report=options.report,
            whole=whole,
        )
        if watch is not None and findings is not None:
            watch.report(findings)
            self._findings = None
        return ranges

    def arrays(self) -> Iterator[Inputs]:
        """All values by name on each sample, in order."""
        total = len(self.samples)
        for index, inputs in enumerate(self.samples):
            self._options.report(STAGE, index, total)
            found = self._run(inputs)
            yield {name: found[name] for name in self._values}
        self._options.report(STAGE, total, total)
