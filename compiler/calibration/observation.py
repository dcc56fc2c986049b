"""A network in floating point on calibration samples: compiled once, run as often as methods look at it."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tilewright.blocks import cached_property
from tilewright.immutable import Immutable

from ...codegen.cpu.llvm.target import PORTABLE
from ...ir.clone import clone_module
from ...ir.core import Module, Value
from ...ir.ops.activation import Activation
from ...passes.quantization.parameters import Range
from ..options import CompileOptions
from .computations import Seen, computations
from .dataset import open_calibration_set
from .ranges import MinMax, make_statistics
from .runs import STAGE, Kernels, RunFunction, collect_statistics, compiled, run_on, values_of
from .sample_sets import CalibrationSet, Held, Inputs, RandomSet, between, files_of, has_noise, numbers_of, shards_of
from .statistics import NOISE, Findings
from .watch import Watch

SHARD = 32
"""Samples of a shard, where they are shared out."""


_NONE: Mapping[str, Activation] = {}


class Observation:
    """What values of a module are on the samples of options, which hold calibration data.
    ``values``: by the names under which they are asked for.
    ``findings``: receives what the samples are like, when ranges are asked for."""

    def __init__(
        self, module: Module, values: Mapping[str, Value], options: CompileOptions, findings: Findings | None = None
    ) -> None:
        self._module, self._values, self._options, self._findings = module, values, options, findings
        self._inputs = {parameter.name: parameter.type for parameter in module.main.parameters}

    def fix(self) -> None:
        """Look at the values as they are now, whatever is changed in the module later."""
        copy = clone_module(self._module)
        twins = dict(zip(values_of(self._module), values_of(copy), strict=True))
        self._module, self._values = copy, {name: twins[value] for name, value in self._values.items()}

    @cached_property
    def made_of(self) -> dict[str, str]:
        """What each value is computed from."""
        found = computations(self._module)
        return {name: found[value] for name, value in self._values.items()}

    @property
    def seen(self) -> Seen:
        """What was found of the samples, as long as they are held."""
        return self.samples.seen if isinstance(self.samples, Held) else {}

    @cached_property
    def _watch(self) -> Callable[..., Watch] | None:
        """Makes what looks at samples, given the numbers of the first and behind the last."""
        if self._findings is None or isinstance(self.samples, RandomSet):
            return None
        results = len(self._module.main.results)
        return partial(Watch, self._inputs, results, self.samples, self._options.preprocessing)

    @cached_property
    def _run(self) -> Kernels:
        outputs = self._watch().outputs if self._watch is not None else []
        watched = dict(zip(outputs, self._module.main.results, strict=False))
        # Rounding differs between processors, and scales are to be the same wherever and for whichever they are made.
        return compiled(self._module, {**self._values, **watched}, self._options.report, PORTABLE)

    @cached_property
    def samples(self) -> CalibrationSet:
        """The samples."""
        options = self._options
        assert options.calibration is not None
        found = open_calibration_set(
            options.calibration, self._inputs, preprocessing=options.preprocessing, limit=options.calibration_limit
        )
        if self._findings is not None and NOISE not in self._findings.warnings and has_noise(found):
            self._findings.warnings.append(NOISE)
        return found

    def ranges(
        self, names: Collection[str], whole: Collection[str] = (), functions: Mapping[str, Activation] = _NONE
    ) -> dict[str, Range]:
        """The range of each of the values of these names, over all samples.

        Those that were asked for before of the same samples are not looked for again.
        ``whole``: names of values whose range is from the smallest to the largest number, whatever the method is.
        ``functions``: what alone is made of values, by name, for methods that ask what rounding changes.
        Raises CalibrationError: a bad sample, or one that makes a value infinite or not a number."""
        options, total, seen = self._options, len(self.samples), self.seen
        method = options.calibration_method, options.percentile
        keys: dict[str, Hashable] = {name: (self.made_of[name], *method, functions.get(name)) for name in names}
        wholly: dict[str, Hashable] = {name: (self.made_of[name], MinMax) for name in names}
        keys |= {name: wholly[name] for name in names if name in whole}
        new = [name for name in names if keys[name] not in seen]
        statistics: dict[str, Callable[[], MinMax]] = {
            name: MinMax
            if name in whole
            else partial(make_statistics, *method, functions[name].reference if name in functions else None)
            for name in new
        }
        if new or self._watch is not None:
            found = self._collected(statistics, total)
            seen.update({wholly[name]: MinMax.range(each) for name, each in found.items()})
            seen.update({keys[name]: each.range() for name, each in found.items()})
        return {name: seen[keys[name]] for name in names}

    def extremes(self, names: Collection[str]) -> dict[str, Range]:
        """From the smallest to the largest number of those of the values that were looked at, if samples are held."""
        keys: dict[str, Hashable] = {name: (self.made_of[name], MinMax) for name in names} if self.seen else {}
        return {name: self.seen[key] for name, key in keys.items() if key in self.seen}

    def _collected(self, statistics: Mapping[str, Callable[[], MinMax]], total: int) -> dict[str, MinMax]:
        """Statistics of values by name, over all samples, given what makes empty ones."""
        options = self._options
        seeing = Seeing(self._run, self.samples, statistics, self._watch)
        if options.shares is None:
            parts = [seeing((0, total), lambda done: options.report(STAGE, done, total))]
        else:
            parts = options.shares(seeing, shards_of(self.samples, SHARD), files_of(self.samples))
        found, watch = {name: make() for name, make in statistics.items()}, self._watch and self._watch()
        for part in parts:
            for name, seen in part["values"].items():
                other = statistics[name]()
                vars(other).update(seen)
                found[name].include(other)
            if watch is not None:
                watch.include(part["watch"])
        if watch is not None and self._findings is not None:
            watch.report(self._findings)
            self._findings, self._watch = None, None
        return found

    def arrays(self) -> Iterator[Inputs]:
        """All values by name on each sample, in order."""
        total = len(self.samples)
        for index, (number, inputs) in enumerate(zip(numbers_of(self.samples), self.samples, strict=True)):
            self._options.report(STAGE, index, total)
            found = run_on(self._run, inputs, number)
            yield {name: found[name] for name in self._values}
        self._options.report(STAGE, total, total)


class Seeing(Immutable):
    """What values of a network are on some of the samples, as numbers, lists and arrays; of no process alone.

    What is seen of samples one after the other, in pieces of any size, is exactly what is seen of all of them.
    ``statistics``: makers of those of each value, by name.
    ``watch``: makes what looks at samples, if they are to be looked at."""

    run: RunFunction
    samples: CalibrationSet
    statistics: Mapping[str, Callable[[], MinMax]]
    watch: Callable[..., Watch] | None

    def __call__(self, shard: Sequence[int], report: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
        """What is seen of the samples from one number to before another."""
        first, last = shard
        samples, run, watch = between(self.samples, first, last), self.run, None
        if self.watch is not None:
            watch = self.watch(first, last)
            samples, run = iter(watch.samples), watch.watched(run)
        found = {name: make() for name, make in self.statistics.items()}
        report(0)
        collect_statistics(run, samples, found, numbers=numbers_of(self.samples)[first:last], report=report)
        values = {name: vars(each) for name, each in found.items()}
        return {"values": values, "watch": watch.seen() if watch is not None else None}
