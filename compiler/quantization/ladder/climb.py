"""The ladder: one try after the other to quantise a network, each with more that makes integers exact."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ....passes.device.tiling.tile_searches import shared_searches
from ...calibration.ranges import BITS
from ..methods import FREE, METHODS
from ..wide_values import EVERY
from .attempts import Attempts, some_of
from .goal import Goal
from .judging import Score
from .output_noise import Harmed, OutputNoise, growing, harmed_results, layers_to_keep, output_noise, whole_ranges
from .result import AGAIN
from .tries import Try, slow_methods

MOST_KEPT = 16
"""Layers that are kept in floating point, at most."""

WIDE_SHARES = (1 / 16, 1 / 4, 1 / 2, 3 / 4)
"""Of the results, the most harmed first, that get 16 bits before all activations do, which may take twice as long."""

BETWEEN, LEFT_OUT = 4, 3
"""Tries, at most, between a step that misses a goal and the next one, which reaches it; and with a result less."""

SAVED, LEAST = 0.01, 0.001
"""Of the modelled time: less than that is not worth a try, and what takes less has no price."""

POOR = 20.0
"""Decibels on the samples that choose, in the mean of the outputs, below which results get 16 bits without a goal: a
hundredth of the power is noise."""


class Search(Attempts):
    """The order in which tries are made."""

    @shared_searches()
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
        slow, may_widen = slow_methods(best, self.tried, SAVED), not self._options.wide
        for names in dict.fromkeys((tuple(slow), tuple(slow)[:1])) if slow else ():
            seconds = best.seconds - math.fsum(slow[name] for name in names)
            without = self._without(names, best) if seconds < (1 - SAVED) * self._quickest(goal) else None
            if without is not None and may_widen and not goal.met(self.rungs[-1].score):
                self._widen(goal, without, self._noise(without))
        if is_met:
            return
        noise = self._noise(best)
        if may_widen:
            self._widen(goal, best, noise, f" and {', '.join(slow)}" if slow else "")
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
        what = f"without {', '.join(slow)}: what takes time; rows below are without it, too, unless they say otherwise"
        found = self.attempt(what, ",".join(methods) or "none", base.keep)
        return self.tried[-1] if found is not None and self.tried[-1].seconds < base.seconds else None

    def _noise(self, tried: Try) -> OutputNoise | None:
        """What each rounding of a try does to the outputs."""
        what = "ranking of layers by what their rounding does"
        return self._or_left_out(what, lambda: output_noise(tried.prepared, some_of(self._used), self._options.report))

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
            lambda: whole_ranges(best.prepared, best.choices.extremes, some_of(self._choosing), self._options.report),
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
        harmed = self._harmed(base, noise) if noise is not None else []

        def attempt(chosen: Sequence[Harmed], which: str = "") -> Score | None:
            if len(chosen) == len(harmed) != 1:
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

    def _harmed(self, base: Try, noise: OutputNoise) -> list[Harmed]:
        """The results of a try, the most harmed first over the time that 16 bits take longer, where that is known."""
        options = self._options_of(base)

        def priced() -> list[Harmed]:
            price = partial(base.price, self._module, options)
            return harmed_results(base.prepared, noise, price, LEAST * base.seconds, self._options.report)

        found = self._or_left_out("times of results of 16 bits", priced) if base.costs is not None else None
        return harmed_results(base.prepared, noise) if found is None else found

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
