"""The ladder: one try after the other to quantise a network, each with more that makes integers exact."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from tilewright.blocks import cached_property
from tilewright.errors import TilewrightError, resources

from ....ir.clone import clone_module
from ....ir.core import Module
from ....passes.quantization.plan import EVERY
from ...calibration.ranges import BITS, RunFunction
from ...calibration.sample_sets import Held, Inputs
from ...calibration.statistics import Findings
from ...driver import Shared
from ...options import CompileOptions
from ...pipeline import simplify_pipeline
from ...progress import ProgressReport
from ..methods import FREE, METHODS, Choices
from ..quantize import quantize_module
from .goal import Goal
from .judging import LayerLoss, Outputs, Score, answers, doubts, first_shape, runner, score
from .layer_costs import LayerCosts, layer_costs
from .output_noise import Harmed, OutputNoise, growing, harmed_results, layers_to_keep, output_noise, whole_ranges
from .result import AGAIN, FailedRung, Rung
from .tries import Try, slow_methods

T = TypeVar("T")

LOOKED_AT = 8
"""Samples whose every value is compared, for the layers' losses."""

MOST_KEPT = 16
"""Layers that are kept in floating point, at most."""

WIDE_SHARES = (1 / 16, 1 / 4, 1 / 2, 3 / 4)
"""Of the results, the most harmed first, that get 16 bits before all activations do, which may take twice as long."""

BETWEEN, LEFT_OUT = 4, 3
"""Tries, at most, between a step that misses a goal and the next one, which reaches it; and with a result less."""

SAVED = 0.01
"""Of the modelled time: less than that is not worth a try."""

EXACT = 100.0
"""Decibels beyond which more of them choose nothing: 16 bits have 98."""

POOR = 20.0
"""Decibels on the samples that choose, in the mean of the outputs, below which results get 16 bits without a goal: a
hundredth of the power is noise."""


class Search:
    """The network in floating point, and the tries to quantise it.

    Choices of what to try next are made by the samples that were calibrated on; the others only judge.

    Attributes:
        failed: tries that are left out.
    """

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
        self._options = replace(options, calibration=used, calibration_limit=None)
        self.findings = Findings()
        self._used, self._choosing, self._held = used, choosing, held
        self._floating = clone_module(module)
        simplify_pipeline().run(self._floating)
        self._shape = first_shape(module)
        main = self._floating.main
        self._sizes = {name: each.type.elements for name, each in zip(main.result_names, main.results, strict=True)}
        run = runner(self._floating)
        self._expected: Outputs = self._answers(run, options.report, "run in floating point")
        self._own: Outputs = answers(run, self._choosing.samples)
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
        found: Outputs = []
        for index, inputs in enumerate(self._held.samples):
            report(stage, index, total)
            found += answers(run, [inputs])
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
        chosen = score(self._own, answers(run, self._choosing.samples), None, self._shape, self._sizes)
        choice = np.mean([min(chosen.outputs[name], EXACT) for name in self._weighed])
        prepared = choices.prepared
        assert prepared is not None
        wide = tuple(name for name in wide if name not in (choices.idle or ()))
        costs = self._costs(quantized) if self._is_timed else None
        self.rungs.append(Rung(what, found, float(choice), seconds=costs.total if costs is not None else None))
        self.tried.append(Try(methods, tuple(keep), wide, choices, prepared, quantized, costs))
        return found

    def _costs(self, quantized: Module) -> LayerCosts | None:
        """What a try takes; nothing is asked any more once that fails."""
        costs = self._or_left_out("times of layers", lambda: layer_costs(quantized, self._options))
        self._is_timed = costs is not None
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

    def climb(self, goal: Goal) -> None:
        """Try methods as far as the goal needs; without one all of them, and 16 bits where integers of 8 are poor, but
        nothing is kept in floating point."""
        given, self._is_timed = [*self._options.keep_float], goal.words is not None
        methods: list[str] = []
        if self._options.weights_bits < BITS:
            # Weights are learnt once.
            methods += self._methods
            what = f"all methods, weights of {self._options.weights_bits} bits"
        else:
            what = "ranges of values alone"
        is_met = goal.met(self.attempt(what, ",".join(methods) or "none", given))
        is_met = is_met or (not methods and self._add(methods, given, goal))
        if not self._is_wanting(goal):
            return
        best = self.tried[self.best(goal)] if is_met else self._narrowest()
        slow = slow_methods(best, self.tried, SAVED)
        without = self._without(slow, best) if slow else None
        may_widen = not self._options.wide
        if without is not None and may_widen and not goal.met(self.rungs[-1].score):
            self._widen(goal, without, self._noise(without))
        if is_met:
            return
        noise = self._noise(best)
        if may_widen:
            self._widen(goal, best, noise, f" and {', '.join(slow)}" if without is not None else "")
        if self._quickest(goal) < math.inf:
            return
        highest = self._highest()
        if may_widen and highest.wide and self._add_again(self._lowering, [*highest.names], given, goal, highest.wide):
            return
        if goal.words is None or noise is None:
            return
        highest = self._highest()
        if self._keep(goal, best, noise) or highest.wide == best.wide:
            return
        # What 16 bits leave is another noise: weights have most of it.
        noise = self._noise(highest)
        if noise is not None:
            self._keep(goal, highest, noise, " besides")

    def _without(self, slow: Sequence[str], base: Try) -> Try | None:
        """A try without methods that take time, in place of which results of 16 bits may do, and with those that take
        none; ``None`` where it fails, or is not quicker."""
        further = {*base.names, *(name for name in FREE if name not in self._lowering)}
        methods = [name for name in self._methods if name in further and name not in slow]
        what = f"without {', '.join(slow)}: what takes time; rows below are without it, too, unless they name it"
        found = self.attempt(what, ",".join(methods) or "none", base.keep)
        return self.tried[-1] if found is not None and self.tried[-1].seconds < base.seconds else None

    def _quickest(self, goal: Goal) -> float:
        """Modelled seconds of the tries that meet the goal, the least; endless where there is none."""
        met = (each.seconds for rung, each in zip(self.rungs, self.tried, strict=True) if goal.met(rung.score))
        return min(met, default=math.inf)

    def _noise(self, tried: Try) -> OutputNoise | None:
        """What each rounding of a try does to the outputs."""
        what = "ranking of layers by what their rounding does"
        return self._or_left_out(what, lambda: output_noise(tried.prepared, _some(self._used), self._options.report))

    def _add(self, methods: list[str], keep: Sequence[str], goal: Goal) -> bool:
        """Add methods one after the other, where the samples that choose say that they help; whether the goal is met.
        ``methods``: receives those that are there."""
        for name in self._methods:
            count = len(self.rungs)
            if self._helps(f"+ {name}: {METHODS[name]}", [*methods, name], keep):
                methods.append(name)
            elif len(self.rungs) > count:
                self._lowering.append(name)
            if goal.met(self.rungs[-1].score):
                return True
        # What lowered the choice stands on others now.
        order = self._methods.index
        before = [name for name in self._lowering if methods and order(name) < order(methods[-1])]
        if self._add_again(before, methods, keep, goal):
            return True
        self._lowering = [name for name in self._lowering if name not in methods]
        if len(self._sizes) == 1:
            # Nothing is to be weighed: of one output the samples that choose see little but chance.
            return False
        best, what = self._narrowest(), "+ ranges"
        found = self._or_left_out(
            what,
            lambda: whole_ranges(best.prepared, best.choices.extremes, _some(self._choosing), self._options.report),
        )
        self._whole = found or ()
        what += f": from the smallest to the largest number for {len(self._whole)} of them, by each output's error"
        if self._whole and not self._helps(what, methods, keep):
            self._whole = ()
        return goal.met(self.rungs[-1].score)

    def _helps(self, what: str, methods: Sequence[str], keep: Sequence[str], wide: Sequence[str] = ()) -> bool:
        """Whether a further try is at least as good as all before, and another."""
        before = max(rung.choice for rung in self.rungs)
        found = self.attempt(what, ",".join(methods) or "none", keep, wide)
        if found is None:
            return False
        if found in [each.score for each in self.rungs[:-1]]:
            # The network has nothing for it.
            del self.rungs[-1], self.tried[-1]
            return False
        is_better = self.rungs[-1].choice >= before
        self.rungs[-1] = replace(self.rungs[-1], rejected=not is_better)
        return is_better

    def _is_wanting(self, goal: Goal) -> bool:
        """Whether more than methods is to be tried: for a goal, or where integers are poor."""
        if goal.words is not None:
            return True
        return self._options.weights_bits >= BITS and max(each.choice for each in self.rungs) < POOR

    def _widen(self, goal: Goal, base: Try, noise: OutputNoise | None, how: str = "") -> None:
        """Give results of a try 16 bits, in words how, the most harmed first over the time that it takes.
        ``noise``: what its roundings do; ``None`` where that is not known."""
        seconds = base.costs.here if base.costs is not None else {}
        harmed = harmed_results(base.prepared, noise, seconds) if noise is not None else []

        def attempt(chosen: Sequence[Harmed], which: str = "") -> Score | None:
            if len(chosen) == len(harmed):
                return self.attempt(f"+ all activations in 16 bits{how}", base.methods, base.keep, [EVERY])
            what = f"+ {len(chosen)}{which} result{'s' if len(chosen) > 1 or which else ''} in 16 bits{how}"
            return self.attempt(what, base.methods, base.keep, [each.name for each in chosen])

        counts = [max(1, round(share * len(harmed))) for share in WIDE_SHARES] if harmed else []
        counts = dict.fromkeys([*counts, len(harmed)])
        count = self._fewest(goal, base, [*counts], lambda count: attempt(harmed[:count]))
        chosen, which = harmed[:count], f" of {count}"
        # Without the last one it is missed: those that do more are needed, too.
        room = chosen[-1].noise if chosen else 0.0
        likely = sorted((each for each in chosen if each.noise < room), key=lambda each: -each.seconds)
        for each in likely[:LEFT_OUT]:
            fewer = [other for other in chosen if other is not each]
            if each.noise < room and fewer and goal.met(attempt(fewer, which)):
                chosen, room = fewer, room - each.noise

    def _fewest(self, goal: Goal, base: Try, counts: Sequence[int], attempt: Callable[[int], Score | None]) -> int:
        """Make tries of more and more, until the goal is met, then some between the last two; how many meet it, the
        fewest, and 0 if none do, or not before another try is quicker."""
        missed, count, seconds = 0, 0, base.seconds
        for count in counts:
            if not self._is_wanting(goal) or seconds >= (1 - SAVED) * self._quickest(goal):
                return 0
            if goal.met(attempt(count)):
                break
            missed, seconds = count, self.tried[-1].seconds
        else:
            return 0
        for _ in range(BETWEEN):
            middle = (missed + count) // 2
            if middle == missed or seconds >= (1 - SAVED) * self._quickest(goal):
                break
            if goal.met(attempt(middle)):
                count = middle
            else:
                missed, seconds = middle, self.tried[-1].seconds
        return count

    def _add_again(
        self, names: Sequence[str], methods: list[str], keep: Sequence[str], goal: Goal, wide: Sequence[str] = ()
    ) -> bool:
        """Add methods that lowered the choice before, where they do not now; whether the goal is met.
        ``methods``: receives those that are there."""
        for name in names:
            if self._helps(f"+ {name}{AGAIN}", [*methods, name], keep, wide):
                methods.append(name)
            if goal.met(self.rungs[-1].score):
                return True
        return False

    def _keep(self, goal: Goal, base: Try, noise: OutputNoise, how: str = " in floating point") -> bool:
        """Keep more and more layers of a try in floating point, in words how; whether the goal is met."""
        costs = base.costs
        if costs is None:
            return False
        what = "choice of layers in floating point"
        ways = self._or_left_out(what, lambda: [*layers_to_keep(base.prepared, noise, costs.more, MOST_KEPT)]) or []

        def attempt(count: int) -> Score | None:
            nodes = ways[count - 1].nodes
            what = f"+ {len(nodes)} layer{'s' if len(nodes) > 1 else ''}{how}"
            return self.attempt(what, base.methods, [*self._options.keep_float, *nodes], base.wide)

        return self._fewest(goal, base, growing(ways, goal.min_sqnr), attempt) > 0

    def _highest(self) -> Try:
        """The best try by the samples that choose, however many results have 16 bits."""
        return max(zip(self.rungs, self.tried, strict=True), key=lambda pair: pair[0].choice)[1]

    def _narrowest(self) -> Try:
        """The best try in which no more activations have 16 bits than the options name."""
        asked = [index for index, each in enumerate(self.tried) if each.wide == tuple(self._options.wide)]
        return self.tried[max(asked, key=lambda index: (self.rungs[index].choice, index))]

    def best(self, goal: Goal) -> int:
        """The quickest try that meets the goal, modelled, and of several the last, else that of the highest choice."""
        met = [index for index, rung in enumerate(self.rungs) if goal.met(rung.score)]
        if not met:
            return int(np.argmax([rung.choice for rung in self.rungs]))
        return min(met, key=lambda index: (self.tried[index].seconds, -index))

    def options_of(self, index: int) -> CompileOptions:
        """The options by which a try is compiled."""
        tried = self.tried[index]
        return replace(self._options, methods=tried.methods, keep_float=tried.keep, wide=tried.wide)

    def shared(self, index: int) -> Shared:
        """What samples made of the network in a try."""
        return Shared(self.tried[index].choices, self.findings)

    def losses(self, index: int) -> list[LayerLoss]:
        """What the values of a try lose, the most harmed first."""
        return self.tried[index].losses(self._floating, _some(self._used), self._options.report)


def _some(held: Held) -> Sequence[Inputs]:
    return held.samples[:: max(1, len(held.samples) // LOOKED_AT)][:LOOKED_AT]
