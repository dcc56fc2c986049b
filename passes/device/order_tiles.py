"""Choose the order of the ops of tile programs."""

from collections.abc import Sequence
from functools import cache
from math import inf

from tilewright.blocks import cached_property

from ...ir.annotations import PLAN, PlannedOrder
from ...ir.core import Function, Module, Op
from ...ir.tile.places import PLACES, Enter, clusters_of
from ...runtime.machines.machine import Machine, load
from ..base import Pass, Record
from .lower_to_tiles import LOWERED
from .ordering.program import Steps
from .ordering.schedule import Links, schedule
from .outline_device import device_functions, planned_machine

_SHARE = 0.9
"""Of the scratchpads, what ops may take before their turn."""

_WORTH, _WORTH_OF_SEVERAL = 0.98, 0.96
"""Cycles of an order for each of the program as it is written, above which it is not known to be the better one, of one
cluster and of several: the time that orders are made in is not quite that of the engine, least where clusters compete
for DRAM. Where nothing below that is to be had no order is looked for."""


class OrderTiles(Pass):
    """Puts the ops of tile programs into the order in which they can start, by the cost of each, so that branches
    overlap and no unit waits for one that has other work.

    An op follows all that touch what it touches; otherwise what was written first goes first where there is room for
    both. Results do not change, and a program that fits the scratchpads still does. One that can gain little, or
    whose plan says so, is left as it is. Messages between cards keep their order.
    ``machine``: name of a sample machine, or path of a machine file."""

    requires = (LOWERED,)
    ensures = (LOWERED,)

    machine: str

    def apply(self, module: Module, record: Record) -> bool:
        machine = load(self.machine)
        for function in device_functions(module):
            record.counts["ordered"] += bool(order(function, planned_machine(function, machine)))
        return record.counts["ordered"] > 0


def worth_of(function: Function) -> float:
    """`_WORTH`, or with several clusters `_WORTH_OF_SEVERAL`."""
    return _WORTH if clusters_of(function) == 1 else _WORTH_OF_SEVERAL


def order(function: Function, machine: Machine) -> float | None:
    """Put a tile program into an order as its plan says; arguments and result as of `Orders`."""
    plan = PLAN.get(function)
    return Orders(function, machine).arrange(function, plan.order if plan is not None else "tiles")


class Orders:
    """Orders in which the ops of a tile program can start. What each costs and follows is found out once for all.
    ``function``: a tile program as it is written, whose maps in DRAM have addresses.
    ``steps``: what becomes instructions.
    Raises PassError: an op is none of a tile program, or a map has no address."""

    def __init__(self, function: Function, machine: Machine) -> None:
        self._worth = worth_of(function)
        self.steps = Steps.apart(function, machine)
        self._links = cache(lambda tiles_stay: Links(self.steps, tiles_stay=tiles_stay))

    @cached_property
    def written(self) -> float | None:
        """Cycles of the program as it is written, in the time that orders are made in; None where it does not fit so,
        or where no order could gain more than little (`worth_of`)."""
        if self.steps.least > self._worth * self.steps.layer_by_layer:
            # Layers that overlap would take hardly less.
            return None
        self.steps.link()
        written = schedule(self.steps, self._links(False), 0.0, as_written=True)
        return written.cycles if written is not None and self.steps.least <= self._worth * written.cycles else None

    @property
    def cycles(self) -> float:
        """Of the program in an order in which its ops can start, or as it is written if that is no slower, in the time
        that orders are made in; infinite where it does not fit."""
        self.steps.link()
        written = schedule(self.steps, self._links(False), 0.0, as_written=True)
        if written is None:
            return inf
        found = schedule(self.steps, self._links(False), _SHARE, limit=written.cycles)
        return found.cycles if found is not None else written.cycles

    def arrange(self, function: Function, which: PlannedOrder) -> float | None:
        """Put what becomes instructions into the order in which it can start, if that is to be faster.
        ``function``: the program or a copy of it, as it is written.
        ``which``: as of :class:`tilewright.ir.annotations.Plan`.
        Returns the share of its cycles that this saves, in the time that orders are made in; 0 where no better one was
        found, None where none was looked for."""
        if which == "written" or self.written is None:
            return None
        found = schedule(self.steps, self._links(which == "layers"), _SHARE, limit=self.written)
        if found is None or found.cycles == self.written:
            return 0.0
        ops = [op for op in function.ops if not isinstance(op.operator, PLACES)]
        return rearrange(function, [ops[each] for each in found.steps]) * (1 - found.cycles / self.written)


def rearrange(function: Function, steps: Sequence[Op]) -> bool:
    """Put the ops that become instructions into this order, and each that names a place before the first that needs
    it; whether that changed the function."""
    ops = [*function.ops]
    arranged: dict[Op, None] = dict.fromkeys(op for op in ops if isinstance(op.operator, Enter))
    unread = [op for op in ops if op not in arranged and op.results and not op.result.uses]
    idle = set(unread) - {*steps}
    beside: dict[Op, list[Op]] = {}
    for op in idle:
        for value in op.inputs[:1]:
            if value.producer is not None:
                beside.setdefault(value.producer, []).append(op)

    def put(op: Op) -> None:
        pending = [op]
        while pending:
            current = pending[-1]
            needed = [value.producer for value in current.inputs if value.producer is not None]
            missing = [each for each in needed if each not in arranged]
            if missing:
                pending += missing
                continue
            pending.pop()
            if current not in arranged:
                arranged[current] = None
                # A place that nobody uses keeps what it is a part of on chip no longer than that is needed.
                pending += beside.get(current, [])

    for op in [*steps, *ops]:
        put(op)
    if [*arranged] == ops:
        return False
    *others, last = arranged
    for op in others:
        function.move_before(op, last)
    return True
