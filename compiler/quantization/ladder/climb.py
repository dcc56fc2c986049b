"""The ladder: one try after the other to quantise a network, each with more that makes integers exact."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from tilewright.blocks import cached_property
from tilewright.errors import TilewrightError, resources

from ....ir.clone import clone_module
from ....ir.core import Module, Value
from ....ir.types import TensorType
from ....passes.quantization.plan import EVERY
from ....passes.quantization.quantize import quantized_types
from ...calibration.ranges import BITS, RunFunction, compiled
from ...calibration.sample_sets import Held, Inputs
from ...calibration.statistics import Findings
from ...driver import Shared
from ...options import CompileOptions
from ...pipeline import simplify_pipeline
from ...progress import ProgressReport
from ..methods import METHODS, Choices, Prepared
from ..quantize import quantize_module
from ..smooth_maps import function_behind
from .goal import Goal
from .judging import LayerLoss, Outputs, Score, answers, doubts, first_shape, losses, runner, score
from .layer_costs import layer_seconds
from .output_noise import Kept, OutputNoise, harmed_results, layers_to_keep, output_noise, whole_ranges
from .result import AGAIN, FailedRung, Rung

T = TypeVar("T")

LOOKED_AT = 8
"""Samples whose every value is compared, for the layers' losses."""

MOST_KEPT = 16
"""Layers that are kept in floating point, at most."""

WIDE_SHARES = (1 / 16, 1 / 4, 1 / 2, 3 / 4)
"""Of the results, the most harmed first, that get 16 bits before all activations do, which may take twice as long."""

EXACT = 100.0
"""Decibels beyond which more of them choose nothing: 16 bits have 98."""

POOR = 20.0
"""Decibels on the samples that choose, in the mean of the outputs, below which results get 16 bits without a goal: a
hundredth of the power is noise."""


@dataclass(frozen=True)
class Try:
    """How a network was quantised.

    Attributes:
        keep, wide: what the options name, and what the ladder adds.
        prepared: the network before its weights were rounded.
    """

    methods: str
    keep: tuple[str, ...]
    wide: tuple[str, ...]
    choices: Choices
    prepared: Prepared
    quantized: Module

    @property
    def types(self) -> dict[str, TensorType]:
        """How each value that is quantised is stored, by name."""
        plan = self.prepared.plan()
        ranges = [(name, *range) for name, range in self.prepared.ranges.items()]
        found = quantized_types(plan, ranges, wide=self.prepared.wide)
        return {name: found[value] for name, value in plan.values.items()}


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
        self.rungs.append(Rung(what, found, float(choice)))
        wide = tuple(name for name in wide if name not in (choices.idle or ()))
        self.tried.append(Try(methods, tuple(keep), wide, choices, prepared, quantized))
        return found

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
        given = [*self._options.keep_float]
        methods: list[str] = []
        if self._options.weights_bits < BITS:
            # Weights are learnt once.
            methods += self._methods
            what = f"all methods, weights of {self._options.weights_bits} bits"
        else:
            what = "ranges of values alone"
        if goal.met(self.attempt(what, ",".join(methods) or "none", given)):
            return
        if not methods and self._add(methods, given, goal):
            return
        if not self._is_wanting(goal):
            return
        best = self._narrowest()
        noise = self._noise(best)
        costs = (lambda: layer_seconds(best.quantized, self._options)[0]) if goal.words is not None else dict
        seconds = self._or_left_out("costs of layers", costs) or {}
        harmed = harmed_results(best.prepared, noise, seconds) if noise is not None else []
        if not self._options.wide and self._widen(goal, methods, given, harmed):
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

    def _widen(self, goal: Goal, methods: list[str], keep: Sequence[str], harmed: list[str]) -> bool:
        """Give results 16 bits, and add then what lowered the choice in 8 bits, whose noise may have hidden what it
        brings; whether the goal is met.
        ``harmed``: results, the most harmed first; none where they are not known."""
        counts = dict.fromkeys(max(1, round(share * len(harmed))) for share in WIDE_SHARES) if harmed else ()
        ways = [(f"+ {count} result{'s' if count > 1 else ''} in 16 bits", harmed[:count]) for count in counts]
        for what, wide in [*ways, ("+ all activations in 16 bits", [EVERY])]:
            if not self._is_wanting(goal):
                break
            if goal.met(self.attempt(what, ",".join(methods) or "none", keep, wide)):
                return True
        best = self._highest()
        return bool(best.wide) and self._add_again(self._lowering, [*methods], keep, goal, best.wide)

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

        def cheapest() -> list[Kept]:
            return [*layers_to_keep(base.prepared, noise, layer_seconds(base.quantized, self._options)[1], MOST_KEPT)]

        tried, ways = 0, self._or_left_out("costs of layers in floating point", cheapest) or []
        for way in ways:
            # Twice as many each time, and at least as many as are expected to do.
            expected = goal.min_sqnr is None or way.sqnr >= goal.min_sqnr
            if way is ways[-1] or (expected and len(way.nodes) >= 2 * tried):
                tried = len(way.nodes)
                what = f"+ {tried} layer{'s' if tried > 1 else ''}{how}"
                if goal.met(self.attempt(what, base.methods, [*self._options.keep_float, *way.nodes], base.wide)):
                    return True
        return False

    def _highest(self) -> Try:
        """The best try by the samples that choose, however many results have 16 bits."""
        return max(zip(self.rungs, self.tried, strict=True), key=lambda pair: pair[0].choice)[1]

    def _narrowest(self) -> Try:
        """The best try in which no more activations have 16 bits than the options name."""
        asked = [index for index, each in enumerate(self.tried) if each.wide == tuple(self._options.wide)]
        return self.tried[max(asked, key=lambda index: self.rungs[index].choice)]

    def best(self, goal: Goal) -> int:
        """The first try that meets the goal, else that of the highest choice."""
        met = [index for index, rung in enumerate(self.rungs) if goal.met(rung.score)]
        return met[0] if met else int(np.argmax([rung.choice for rung in self.rungs]))

    def options_of(self, index: int) -> CompileOptions:
        """The options by which a try is compiled."""
        tried = self.tried[index]
        return replace(self._options, methods=tried.methods, keep_float=tried.keep, wide=tried.wide)

    def shared(self, index: int) -> Shared:
        """What samples made of the network in a try."""
        return Shared(self.tried[index].choices, self.findings)

    def losses(self, index: int) -> list[LayerLoss]:
        """What the values of a try lose, the most harmed first."""
        tried = self.tried[index]
        types = tried.types
        a, b = _named(self._floating, types), _named(tried.quantized, types)
        # Attention in integers may give its name to a result by heads; what was divided by channel has lost its tensor.
        shared = {name: (value, b[name]) for name, value in a.items() if name in b}
        types = {
            name: types[name]
            for name, (real, value) in shared.items()
            if value.type.shape == real.type.shape and (value.origin or not real.origin)
        }
        if not types:
            return []
        first = compiled(self._floating, {name: a[name] for name in types}, self._options.report)
        second = compiled(tried.quantized, {name: b[name] for name in types}, self._options.report)
        runs = [(first(inputs), second(inputs)) for inputs in _some(self._used)]
        exact = {name: [arrays[name] for arrays, _ in runs] for name in types}
        found = {name: [_real(arrays[name], b[name]) for _, arrays in runs] for name in types}
        behind = {name: function_behind(value) for name, value in tried.prepared.plan().values.items()}
        functions = {name: function.reference for name, function in behind.items() if function is not None}
        return losses(exact, found, types, functions)


def _some(held: Held) -> Sequence[Inputs]:
    return held.samples[:: max(1, len(held.samples) // LOOKED_AT)][:LOOKED_AT]


def _named(module: Module, names: Mapping[str, TensorType]) -> dict[str, Value]:
    return {value.name: value for op in module.main.ops for value in op.results if value.name in names}


def _real(array: np.ndarray, value: Value) -> np.ndarray:
    quant = value.type.quant
    if quant is None:
        return array
    scale, zero = quant.broadcast(array.ndim)
    return (array.astype(np.int64) - zero).astype(np.float32) * scale
