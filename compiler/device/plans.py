"""What the schedule of each device function is made for: of several plans, the one that the cycle model finds fastest.

A schedule is chosen by prices, which rank the tiles of single ops, so that one made for all of a machine may be
slower than one made for less of it. A *draft* is a schedule that is modelled and thrown away. With the effort

- ``quick`` the plan is the machine itself, of several clusters in up to three orders, as any plan (decision 0230);
- ``normal`` also half of the maps scratchpad, if that is at most 1 % dearer, and half, a quarter, … of the
  clusters, and where one cluster works on its own, ops computed in turn by stripes of rows
  (:mod:`tilewright.passes.device.cascades`); and of a program of few instructions, other tiles;
- ``thorough`` every machine below this one: with half, a quarter, … of each of the `AXES` and of the clusters, in all
  combinations, down to `FLOORS`.

A program is no slower on a machine that has more of anything (decision 0023), and whatever plans a machine has by
``thorough``, one that has twice as much of an axis, of all of its fields, has as well if the half is above the floors.
So a network that is compiled anew for that one is never slower than before, exactly; with ``normal`` this holds for
clusters alone, but for what fewer bytes are worth (`rank`); both hold before other tiles are tried. Capacity only rules
plans out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import inf

from tilewright.blocks import cached_property
from tilewright.errors import MachineError, PassError
from tilewright.immutable import Immutable

from ...codegen.device.program import Assembled, assemble
from ...ir.annotations import IMAGES, MAP, PLAN, SPLIT, Plan, PlannedTile, Split
from ...ir.clone import clone_module, put_back
from ...ir.core import Function, Module, Op
from ...passes.base import Verification
from ...passes.device.boxes import tile_annotation
from ...passes.device.fused_pairs import fused_convolution
from ...passes.device.order_tiles import Orders, OrderTiles
from ...passes.device.ordering.program import Steps
from ...passes.device.outline_device import device_functions, planned_machine
from ...passes.device.planning.plan_scratchpads import PlanScratchpads
from ...passes.device.tile_device import KEPT_SHARE, TileDevice, set_planned_tiles
from ...passes.device.tiling.tile_search import least_steps, splits, tile_sizes
from ...passes.device.tiling.tile_searches import shared_searches
from ...passes.pipeline import Pipeline
from ...runtime.machines.machine import Machine
from ...runtime.simulator.cycles import simulate
from ...runtime.simulator.verifier import drafted

BESIDE_RINGS = 0.75
"""Of the maps scratchpad, what maps may take that stay on chip whole where others lie in rings."""

SHARES = (KEPT_SHARE, BESIDE_RINGS, BESIDE_RINGS / 2, 0.0)
"""Maps that stay on chip may leave no piece between them that is large enough for a tile: then less of them."""

AXES: tuple[tuple[str, ...], ...] = (
    ("maps_bytes",),
    ("weight_bytes", "accumulator_bytes", "parameter_bytes"),
    ("dram_bytes_per_second",),
    ("pixel_lanes", "maps_banks", "vector_lanes"),
)
"""What a plan takes half of at once."""

FLOORS = {"maps_bytes": 1 << 16, "weight_bytes": 1 << 16, "dram_bytes_per_second": 4 * 10**9, "pixel_lanes": 4}
"""The first field of each axis is not halved below this."""


@shared_searches()
def choose_plans(
    module: Module,
    machine: Machine,
    schedule: Pipeline,
    tiles: Pipeline,
    clusters: int,
    effort: str = "normal",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> "dict[str, Draft]":
    """Annotate every device function with the plan whose schedule is the fastest on the machine.

    Args:
        schedule: from device functions to such with tiles and addresses in DRAM.
        tiles: from there to tile programs with addresses on chip.
        clusters: how many may work on an image.
        report: of each draft, one of how many.

    Returns:
        The draft that won, by name of the function. Nothing is proved of it.
    """
    functions = device_functions(module)
    wanted = [*plans(machine, clusters, effort)]
    total = len(wanted) * len(functions)
    found: dict[str, Draft] = {}
    for number, function in enumerate(functions):
        drafts = _Drafts(module, function, machine, schedule, tiles, effort)
        for index, plan in enumerate(wanted):
            # How many images a call computes follows from the clusters that share them out.
            if plan.clusters < clusters and IMAGES.is_at(function):
                continue
            drafts.add(plan)
            report(number * len(wanted) + index + 1, total)
        best = found[function.name] = drafts.best() if effort == "quick" else drafts.best_with_other_tiles()
        for each in (function, best.function):
            # Drafts in several orders share a function.
            PLAN.set(each, best.plan)
    return found


def plans(machine: Machine, clusters: int, effort: str) -> Iterator[Plan]:
    """The plans to compare, without what is kept: the machine itself first."""
    counts = [clusters >> halvings for halvings in range(clusters.bit_length() if effort != "quick" else 1)]
    if effort == "thorough":
        chains = [[(), *_halves(machine, axis)] for axis in AXES]
        machines = [tuple(field for reduced in each for field in reduced) for each in product(*chains)]
    else:
        machines = [(), *_halves(machine, AXES[0], 1)][: 1 if effort == "quick" else 2]
    for count, reduced in product(counts, machines):
        # Only one cluster on its own computes ops in turn; what is cheaper that way need not be drafted without.
        if count == 1 and effort != "quick":
            yield Plan(count, BESIDE_RINGS, reduced, cascades=True)
        yield Plan(count, KEPT_SHARE, reduced)


def _halves(machine: Machine, axis: tuple[str, ...], most: int = 64) -> Iterator[tuple[tuple[str, int], ...]]:
    """Half, a quarter, … of an axis, as long as there is such a machine."""
    for halvings in range(1, most + 1):
        values = {name: getattr(machine, name) >> halvings for name in axis}
        if values[axis[0]] < FLOORS[axis[0]] or any(getattr(machine, n) % (1 << halvings) for n in axis):
            return
        try:
            machine.reduced(values)
        except MachineError:
            return
        yield tuple(values.items())


_WORTH = 1.01
"""Of the least price so far for as many clusters, above which `normal` does not lower another plan: for one function,
prices are more exact than that (decision 0195). So is the time that orders are made in, beside the first order's."""

_FAR = 1.2
"""Cycles for each of the price of a draft, mostly more than it takes: what takes as long on fewer clusters is drafted
only if the best of all others takes longer still (decision 0202)."""

_TRIED = 1 << 12
"""Instructions that one draft for each op may make (decision 0231); it has up to three, each for up to all `SHARES`."""

_BYTES = 0.01
"""A plan that moves a quarter more bytes has to be faster by this power of 1.25, 0.2 %."""


def rank(cycles: float, dram_bytes: int, *, exact: bool) -> tuple[float, int]:
    """What the best of several plans has the least of.
    ``exact``: cycles alone count, and bytes between plans that take equally long."""
    return cycles if exact else cycles * dram_bytes**_BYTES, dram_bytes


def _halve(sizes: list[int], possible: Sequence[range], way: int, clusters: int) -> bool:
    """Halve the rows (0) or columns (1) of a tile, or, where a cluster has several below each other, turn it into half
    as much of all rows of that cluster (3); whether it is another one then."""
    before, cut = sizes[:2], way % 2
    if way == 3:
        rows = possible[0]
        sizes[0] = -(-rows[-1] // (clusters * rows.step)) * rows.step
    size, step = sizes[cut] * before[0] // sizes[0] if cut else sizes[cut], possible[cut].step
    sizes[cut] = max(-(-size // (2 * step)), 1) * step
    return sizes[:2] != before and (way < 3 or sizes[0] > before[0])


class Draft(Immutable):
    """The schedule of a function by one plan.

    Attributes:
        plan: what it was made by.
        price: of all its ops, in cycles.
        function: with tiles and addresses in DRAM.
        module: has nothing but the function, as a tile program with addresses.
        assembled: the same as instructions.
    """

    plan: Plan
    price: float
    function: Function
    module: Module
    assembled: Assembled

    @property
    def cycles(self) -> float:
        """Modelled."""
        return self.modelled[0]

    @cached_property
    def modelled(self) -> tuple[float, int]:
        """Cycles, and bytes between DRAM and chip."""
        timeline = simulate(drafted(self.assembled.assembler))
        return timeline.cycles, timeline.dram_bytes


class _Lowered(Immutable):
    """A tile program that orders are made of.
    ``module``: has nothing but the program; its ops change places.
    ``written``: the ops in the order in which they were lowered.
    ``orders``: that they can have."""

    price: float
    scheduled: Function
    module: Module
    written: tuple[Op, ...]
    orders: Orders

    def as_written(self) -> Module:
        """A copy whose ops are in that order."""
        copy = clone_module(self.module)
        ((function, twin),) = zip(self.module.functions.values(), copy.functions.values(), strict=True)
        twins = dict(zip([*function.ops], [*twin.ops], strict=True))
        *others, last = self.written
        for op in others:
            twin.move_before(twins[op], twins[last])
        return copy


class _Drafts:
    """The drafts of a function, of which the best is remembered.
    ``effort``: with ``thorough`` the fastest is the best, whatever it moves; and the same tiles for another machine
    count as another schedule: addresses and the order of requests differ."""

    def __init__(
        self, module: Module, function: Function, machine: Machine, schedule: Pipeline, tiles: Pipeline, effort: str
    ) -> None:
        self._is_thorough = effort == "thorough"
        self._module, self._name, self._machine = module, function.name, machine
        self._schedule, self._tiles = schedule, tiles
        self._ordering = [isinstance(each, OrderTiles) for each in tiles.passes].index(True)
        self._function = function
        self._best: Draft | None = None
        self._error: PassError | None = None
        self._seen: list[object] = []
        # Plans that are not drafted as long as prices are to be believed, and the cycles that they take at least.
        self._far: list[tuple[float, Plan]] = []
        # By number of clusters.
        self._prices: dict[int, float] = {}

    def best(self) -> Draft:
        """The one of the least `rank`, of these the first."""
        if self._best is None:
            assert self._error is not None
            raise self._error
        for steps, plan in self._far:
            if steps < self._best.cycles:
                self._draft(plan)
        return self._best

    def best_with_other_tiles(self) -> Draft:
        """The best; of a small program also of those with another tile or split of one op, one change after the other.

        The next op waits for what tiles and clusters make of this one, and no price knows for how long: in a small
        program that is much of its time, and few drafts are needed to find out."""
        best = self.best()
        ops = [op for op in best.function.ops if fused_convolution(op) is None]
        if best.plan.cascades or len(ops) * len(best.assembled.assembler.order) > _TRIED:
            return best
        for name, index in product([op.result.name for op in ops], (2, 0, 1, 3)):
            best = self._best or best
            op = next(op for op in best.function.ops if op.result.name == name)
            sizes, split = [*tile_annotation(op)], SPLIT.get(op)
            others: list[Split | None] = [split]
            if index == 2:
                # The other split, of which there is one at most.
                others = [each for each in splits(op, best.plan.clusters) if each != split]
            elif not _halve(sizes, tile_sizes(op)[:2], index, best.plan.clusters if split == "rows" else 1):
                continue
            if not others:
                continue
            change = name, (sizes[0], sizes[1], sizes[2], sizes[3]), others[0]
            tiles = (*(each for each in best.plan.tiles if each[0] != name), change)
            self._draft(best.plan._replace(tiles=tiles, order="tiles"), (best, change))
        best = self._best or best
        if not best.plan.tiles:
            return best
        # What reports say of maps follows from all tiles.
        return replace(best, function=self._scheduled(best.plan)[0].functions[self._name])

    def add(self, plan: Plan) -> None:
        """Draft the schedule of a plan if it may be the best."""
        if self._best is not None and plan.clusters < self._best.plan.clusters:
            # Not even with one array busy all the time would it be faster.
            steps = sum(least_steps(op, self._machine, plan.clusters) for op in self._function.ops)
            if not self._is_thorough and 0 < _FAR * self._best.price <= steps:
                self._far.append((steps, plan))
                return
            if self._best.cycles <= steps:
                return
        self._draft(plan)

    def _draft(self, plan: Plan, changed: "tuple[Draft, PlannedTile] | None" = None) -> None:
        """With as much kept on chip as leaves room for the rest.
        ``changed``: a draft by a plan that is the same but for one tile, and that tile."""
        for share in (each for each in SHARES if each <= plan.kept_share):
            current = plan._replace(kept_share=share)
            try:
                lowered = self._lowered(current, changed if share == plan.kept_share else None)
                if lowered is None:
                    return
                gain = self._arrange(lowered, lowered.module, current)
                first = self._make(lowered, lowered.module, current)
            except PassError as error:
                # Of other tiles it is known that the smallest fit.
                fitting = (PlanScratchpads.name,) if plan.tiles else (TileDevice.name, PlanScratchpads.name)
                if error.__cause__ is not None or error.stage not in fitting:
                    raise
                self._error = self._error or error
                if error.stage != PlanScratchpads.name:
                    return
                continue
            # Orders are made in a time of their own, which is not quite that of the engine.
            most = inf if self._is_thorough else _WORTH * first.cycles
            if gain is not None and plan.clusters > 1:
                self._order_again(lowered, current._replace(order="layers"), most)
            if gain and (lowered.orders.written or 0.0) <= most:
                self._order_again(lowered, current._replace(order="written"), most)
            return

    def _lowered(self, plan: Plan, changed: "tuple[Draft, PlannedTile] | None") -> "_Lowered | None":
        """The tile program by a plan; ``None`` where it is known, or cannot be the best."""
        draft, price = self._scheduled(plan, changed)
        is_dear = not plan.tiles and price > _WORTH * self._prices.get(plan.clusters, price)
        if not self._is_thorough and (is_dear or self._is_known(draft)):
            return None
        scheduled = clone_module(draft).functions[self._name]
        for each in self._tiles.passes[: self._ordering]:
            each.run(draft, verification=Verification.OFF)
        # What takes most of the time comes from here on.
        function = draft.functions[self._name]
        with self._tiles.passes[self._ordering].at_work():
            orders = Orders(function, planned_machine(function, self._machine))
            if self._is_slower(function, plan, orders):
                return None
        return _Lowered(price, scheduled, draft, (*function.ops,), orders)

    def _scheduled(self, plan: Plan, changed: "tuple[Draft, PlannedTile] | None" = None) -> tuple[Module, float]:
        """A module that has nothing but the function, with tiles and addresses in DRAM, and its price."""
        draft = clone_module(self._module, {self._name})
        if changed is not None:
            # Prices choose the same maps and tiles again; what is said of maps is not read by any pass.
            put_back(draft, changed[0].function)
        function = draft.functions[self._name]
        PLAN.set(function, plan)
        if changed is not None:
            set_planned_tiles([*function.ops], [changed[1]], plan.clusters)
            return draft, changed[0].price
        # Nothing is proved of a draft.
        return draft, sum(each.price for each in self._schedule.run(draft, verification=Verification.OFF))

    def _arrange(self, lowered: "_Lowered", draft: Module, plan: Plan) -> float | None:
        """Put a tile program into the order of a plan; result as of `Orders.arrange`."""
        function = draft.functions[self._name]
        PLAN.set(function, plan)
        with self._tiles.passes[self._ordering].at_work():
            return lowered.orders.arrange(function, plan.order)

    def _make(self, lowered: "_Lowered", draft: Module, plan: Plan) -> Draft:
        """Give a tile program in its order addresses, and remember what it makes if that is the best."""
        for each in self._tiles.passes[self._ordering + 1 :]:
            each.run(draft, verification=Verification.OFF)
        price, exact, best = lowered.price, self._is_thorough, self._best
        self._prices[plan.clusters] = min(self._prices.get(plan.clusters, price), price)
        function = draft.functions[self._name]
        made = Draft(plan, price, lowered.scheduled, draft, assemble(function, self._machine))
        if best is None or rank(*made.modelled, exact=exact) < rank(*best.modelled, exact=exact):
            self._best = made
        return made

    def _order_again(self, lowered: "_Lowered", plan: Plan, most: float) -> None:
        """The same in another order if that is to take ``most`` cycles; it may not fit where the first one did."""
        draft = lowered.as_written()
        gain = self._arrange(lowered, draft, plan) or 0.0
        # What stays as it is written is drafted as such.
        if plan.order == "layers" and (not gain or (lowered.orders.written or 0.0) * (1 - gain) > most):
            return
        try:
            self._make(lowered, draft, plan)
        except PassError as error:
            if error.__cause__ is not None or error.stage != PlanScratchpads.name:
                raise

    def _is_slower(self, function: Function, plan: Plan, orders: Orders) -> bool:
        """Whether a tile program takes longer than the fastest one in whatever order."""
        if self._best is None:
            return False
        # With less room an instruction costs the same.
        is_alike = all(name == "maps_bytes" for name, _ in plan.reduced)
        steps = orders.steps if is_alike else Steps.apart(function, self._machine)
        return steps.least > self._best.cycles

    def _is_known(self, draft: Module) -> bool:
        """Whether another one had the same tiles, for whatever reason; remembers these."""
        tiles = [(op.name, op.annotations | {MAP.key: None}) for op in draft.functions[self._name].ops]
        if tiles in self._seen:
            return True
        self._seen.append(tiles)
        return False
