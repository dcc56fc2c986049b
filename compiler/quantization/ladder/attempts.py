"""The tries to quantise a network, and how each does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from tilewright.blocks import cached_property
from tilewright.errors import TilewrightError, resources

from ....ir.clone import clone_module
from ....ir.core import Module
from ...calibration.runs import RunFunction
from ...calibration.sample_sets import Held, Inputs
from ...calibration.statistics import Findings
from ...driver import Shared
from ...options import CompileOptions
from ...pipeline import simplify_pipeline
from ...progress import ProgressReport
from ..methods import Choices
from ..quantize import quantize_module
from .goal import Goal
from .judging import LayerLoss, Outputs, Score, answers, doubts, first_shape, runner, score
from .layer_costs import LayerCosts, layer_costs
from .result import FailedRung, Rung
from .tries import Try

T = TypeVar("T")

LOOKED_AT = 8
"""Samples whose every value is compared, for the layers' losses."""

EXACT = 100.0
"""Decibels beyond which more of them choose nothing: 16 bits have 98."""


class Attempts:
    """The network in floating point, and the tries to quantise it.

    Choices of what to try next are made by the samples that were calibrated on; the others only judge.
    ``failed``: tries that are left out."""

    def __init__(
        self,
        module: Module,
        options: CompileOptions,
        methods: Sequence[str],
        used: Held,
        choosing: Held,
        held: Held,
        labels: np.ndarray | None,
        *,
        has_masks: bool = False,
    ) -> None:
        self._module, self._methods, self._labels, self._has_masks = module, methods, labels, has_masks
        wide = tuple(dict.fromkeys(options.wide))
        self._options = replace(options, calibration=used, calibration_limit=None, wide=wide)
        self.findings = Findings()
        self._used, self._choosing, self._held = used, choosing, held
        self._floating = clone_module(module)
        simplify_pipeline().run(self._floating)
        self._shape = first_shape(module)
        main = self._floating.main
        self._sizes = {name: each.type.elements for name, each in zip(main.result_names, main.results, strict=True)}
        run = runner(self._floating)
        self._expected: Outputs = self._answers(run, options.report, "run in floating point")
        self._own: Outputs = answers(run, self._choosing)
        self.rungs: list[Rung] = []
        self.tried: list[Try] = []
        self.failed: list[FailedRung] = []
        self._whole: tuple[str, ...] = ()
        self._lowering: list[str] = []
        self._is_timed = False

    @property
    def floating(self) -> Score:
        """The score in floating point."""
        return self._scored(self._expected)

    def _scored(self, found: Outputs) -> Score:
        """The score of answers to the samples that judge."""
        return score(self._expected, found, self._labels, self._shape, self._sizes, has_masks=self._has_masks)

    @property
    def discrete(self) -> frozenset[str]:
        """Outputs that are no numbers in floating point."""
        main = self._floating.main
        each = zip(main.result_names, main.results, strict=True)
        return frozenset(name for name, value in each if not value.type.dtype.is_float)

    @cached_property
    def _weighed(self) -> list[str]:
        """Outputs whose decibels choose: of numbers that are not zero throughout, if there are such."""
        parts = np.split(np.stack(self._own), np.cumsum([*self._sizes.values()])[:-1], axis=1)
        told = [name for name, part in zip(self._sizes, parts, strict=True) if name not in self.discrete and part.any()]
        return told or [*self._sizes]

    def doubts(self) -> list[str]:
        """What is doubtful of the labels."""
        return doubts(self._expected, self._labels, self._shape) if self._labels is not None else []

    def _answers(self, run: RunFunction, report: ProgressReport, stage: str = "judge") -> Outputs:
        total = len(self._held.samples)
        found = answers(run, self._held, lambda done: report(stage, done, total))
        report(stage, total, total)
        return found

    def attempt(self, what: str, methods: str, keep: Sequence[str], wide: Sequence[str] = ()) -> Score | None:
        """Quantise so, and judge it; ``None`` where it fails, unless it is the first, on which the others stand."""
        if not self.tried:
            return self._attempt(what, methods, keep, wide)
        return self._or_left_out(what, lambda: self._attempt(what, methods, keep, wide))

    def _attempt(self, what: str, methods: str, keep: Sequence[str], wide: Sequence[str]) -> Score:
        # What the ladder keeps may leave no integers to what a name stands for.
        choices = Choices(whole=self._whole, idle=set() if len(keep) > len(self._options.keep_float) else None)
        wide = tuple(dict.fromkeys((*self._options.wide, *wide)))

        def report(stage: str, done: int, total: int) -> None:
            self._options.report(f"{what.partition(':')[0]}: {stage}", done, total)

        options = replace(self._options, methods=methods, keep_float=tuple(keep), wide=wide, report=report)
        findings = None if self.tried else self.findings
        quantized = quantize_module(self._module, options, None, choices, findings)
        run = runner(quantized)
        found = self._scored(self._answers(run, report))
        chosen = score(self._own, answers(run, self._choosing), None, self._shape, self._sizes)
        choice = np.mean([min(chosen.outputs[name], EXACT) for name in self._weighed])
        prepared = choices.prepared
        assert prepared is not None
        wide = tuple(name for name in wide if name not in (choices.idle or ()))
        costs = self._costs(quantized) if self._is_timed else None
        self.rungs.append(Rung(what, found, float(choice), seconds=costs.total if costs is not None else None))
        self.tried.append(Try(methods, tuple(keep), wide, choices, prepared, quantized, costs))
        return found

    def _costs(self, quantized: Module) -> LayerCosts | None:
        """What a try takes; nothing is asked any more once that fails, and what others take is forgotten: a try whose
        time is not known would be the quickest of all."""
        costs = self._or_left_out("times of layers", lambda: layer_costs(quantized, self._options))
        if costs is None:
            self._is_timed = False
            self.rungs = [replace(each, seconds=None) for each in self.rungs]
            self.tried = [replace(each, costs=None) for each in self.tried]
        return costs

    def _or_left_out(self, what: str, make: Callable[[], T]) -> T | None:
        try:
            # Methods may take more memory than there is.
            return resources("quantize")(make)()
        except TilewrightError as error:
            self.failed.append(FailedRung(what, str(error)))
            return None

    def leave_out(self, index: int, error: TilewrightError) -> None:
        """Leave out a try that cannot be written. Raises TilewrightError: that, where no other try is left."""
        if len(self.tried) == 1:
            raise error
        self.failed.append(FailedRung(self.rungs[index].what, str(error)))
        del self.rungs[index], self.tried[index]

    def _quickest(self, goal: Goal) -> float:
        """Modelled seconds of the tries that meet the goal, the least; endless where there is none."""
        met = (each.seconds for rung, each in zip(self.rungs, self.tried, strict=True) if goal.met(rung.score))
        return min(met, default=math.inf)

    def _highest(self) -> Try:
        """The best try by the samples that choose, however many results have 16 bits."""
        return max(zip(self.rungs, self.tried, strict=True), key=lambda pair: pair[0].choice)[1]

    def _narrowest(self) -> Try:
        """The best try in which no more activations have 16 bits than the options name."""
        asked = [index for index, each in enumerate(self.tried) if each.wide == self._options.wide]
        return self.tried[max(asked, key=lambda index: (self.rungs[index].choice, index))]

    def best(self, goal: Goal) -> int:
        """The quickest try that meets the goal, modelled, and of several the last, else that of the highest choice."""
        met = [index for index, rung in enumerate(self.rungs) if goal.met(rung.score)]
        if not met:
            return int(np.argmax([rung.choice for rung in self.rungs]))
        return min(met, key=lambda index: (self.tried[index].seconds, -index))

    def options_of(self, index: int) -> CompileOptions:
        """The options by which a try is compiled."""
        return self._options_of(self.tried[index])

    def _options_of(self, tried: Try) -> CompileOptions:
        return replace(self._options, methods=tried.methods, keep_float=tried.keep, wide=tried.wide)

    def shared(self, index: int) -> Shared:
        """What samples made of the network in a try."""
        return Shared(self.tried[index].choices, self.findings)

    def losses(self, index: int) -> list[LayerLoss]:
        """What the values of a try lose, the most harmed first."""
        return self.tried[index].losses(self._floating, some_of(self._used), self._options.report)


def some_of(held: Held) -> Sequence[Inputs]:
    return held.samples[:: max(1, len(held.samples) // LOOKED_AT)][:LOOKED_AT]
