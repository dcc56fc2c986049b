"""Decide where each op runs: on the accelerator or on the host CPU."""

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import get_args

from tilewright.errors import PassError, UsageError

from ...ir.annotations import ON, REGION, WHY, Place, Reason
from ...ir.core import Function, Module, Op
from ...ir.feature_map import VIEWS
from ...ir.ops.call import Call
from ...ir.ops.shape import Reshape
from ...runtime.machines.machine import load
from ..base import PLACED, PLAIN, UNPLANNED, Invariant, Pass, Record
from ..named_ops import find_named
from .choice import CostModel, PieceTimes, cheapest, islands, producers_of, seconds_of, times
from .device_support import reject
from .regions import are_convex, assign_regions

PLACES = get_args(Place)

Affinity = tuple[tuple[str, str], ...]
"""(name of a source node or of a value, place) pairs."""

FASTER = "faster on the host"
"""Of ops that the device could run, but only at a loss."""

FREE = "a reshape at the border costs nothing on the host"


def regions_of(module: Module) -> dict[Op, int]:
    """The region of each op of ``main`` that is placed on the device and stands there still, by its annotation."""
    numbers = {op: REGION.get(op) for op in _on_device(module)}
    return {op: number for op, number in numbers.items() if number is not None}


def _on_device(module: Module) -> list[Op]:
    return [op for op in module.main.ops if ON.get(op) == "device" and not isinstance(op.operator, Call)]


def _first_unsound_region(module: Module) -> Op | str | None:
    regions = regions_of(module)
    lost = next((op for op in _on_device(module) if op not in regions), None)
    if lost is not None:
        return lost
    return None if are_convex(producers_of(module.main), regions) else "a path that leaves a region and comes back"


CONVEX = Invariant("partitioned: no path leaves a region of the device and comes back", _first_unsound_region)


class Partition(Pass):
    """Annotates every op with its place, ``on``, and the reason, ``why``; ops on the device with their ``region``.

    An op can run on the device if it keeps every rule of :mod:`tilewright.passes.placement.device_support`. Of those
    that can, the ones that save more time there than moving their tensors takes are chosen by a minimum cut, see
    :func:`tilewright.passes.placement.choice.cheapest`. They are gathered in as few regions as possible that no path
    leaves and enters again. What stands between real numbers and integers stays on the host, which has it anyway:
    conversions cost the same wherever the border lies.

    Attributes:
        machine: name of a sample machine, or path of a machine file.
        affinity: (name, place) pairs, place ``device`` or ``cpu``: where the ops that come from a source node, or that
            make a value, of this name have to run.
        order: places by preference; ``cpu`` alone puts everything on the CPU.
        keep_islands: place all that the device can run on it, however little it saves.
        clusters: that work on an image; 0 for all of the machine.
        host_macs_per_second: by which it chooses: few, as who compiles for the device wants it to multiply.
    """

    requires = (PLAIN, UNPLANNED)
    ensures = (PLACED, CONVEX)

    machine: str
    affinity: Affinity = ()
    order: str = "device,cpu"
    keep_islands: bool = False
    clusters: int = 0
    host_macs_per_second: float = 2e9

    def apply(self, module: Module, record: Record) -> bool:
        function = module.main
        candidates, reasons, wanted = self._sort(module)
        chosen = self._choose(module, candidates, {op for op in candidates if op in wanted}, reasons)
        if reasons and "cpu" not in parse_order(self.order):
            raise _refusal(*next(iter(reasons.items())))
        regions = assign_regions(producers_of(function), chosen)
        modified = False
        for op in function.ops:
            modified |= _annotate(op, reasons.get(op), regions.get(op), wanted.get(op))
            record.counts["cpu" if op not in regions else "device"] += 1
        for op in module.ops:
            if not ON.is_at(op):
                ON.set(op, "cpu")
                modified = True
        return modified

    def cost_model(self) -> CostModel:
        """By which it tells times; it chooses by the same with a slower host."""
        machine = load(self.machine)
        return CostModel(machine, min(self.clusters or machine.clusters, machine.clusters))

    def _sort(self, module: Module) -> tuple[set[Op], dict[Op, str | Reason], dict[Op, tuple[str, str]]]:
        """The ops that may go on the device, why the others may not, and what the affinity wants."""
        ops, machine, places = [*module.main.ops], load(self.machine), parse_order(self.order)
        wanted = _match_affinity(ops, self.affinity)
        rejections = {op: reject(op, machine) for op in ops}
        _check_wanted(wanted, rejections)
        candidates: set[Op] = set()
        reasons: dict[Op, str | Reason] = {}
        for op, rejection in rejections.items():
            if rejection is not None:
                reasons[op] = rejection if rejection.found else rejection.rule
            elif op in wanted and wanted[op][1] == "cpu":
                reasons[op] = f"affinity of {wanted[op][0]!r}"
            elif places[0] == "cpu" and op not in wanted:
                reasons[op] = f"order of places: {self.order}"
            else:
                candidates.add(op)
        return candidates, reasons, wanted

    def _choose(self, module: Module, candidates: Set[Op], forced: Set[Op], reasons: dict[Op, str | Reason]) -> set[Op]:
        """The candidates to place on the device; ``reasons`` learns why the others are not."""
        function, told = module.main, self.cost_model()
        if self.keep_islands or "cpu" not in parse_order(self.order):
            chosen = _without_idle_regions(module, candidates)
        else:
            chosen = cheapest(
                function, candidates, forced, replace(told, host_macs_per_second=self.host_macs_per_second)
            )
        for island, new_regions in islands(function, candidates, chosen):
            reasons.update(dict.fromkeys(island, _not_worth_it(island, times(island, chosen, new_regions, told))))
        return chosen


def seconds_apart(function: Function, model: CostModel) -> dict[Op, float]:
    """Of each op of the device, by how many seconds the network would take longer if the host alone computed it."""
    producers = producers_of(function)
    chosen = {op for op in function.ops if ON.get(op) == "device"}
    regions = len(set(assign_regions(producers, chosen).values()))
    found: dict[Op, float] = {}
    for op in chosen:
        fewer = regions - len(set(assign_regions(producers, chosen - {op}).values()))
        found[op] = times({op}, chosen - {op}, fewer, model).gain
    return found


def seconds_together(function: Function, model: CostModel) -> float:
    """What all ops take as they are placed, with their tensors and with starting regions."""
    chosen = {op for op in function.ops if ON.get(op) == "device"}
    regions = len({*assign_regions(producers_of(function), chosen).values()})
    return seconds_of({*function.ops}, chosen, model) + regions * model.region


def _annotate(op: Op, reason: str | Reason | None, region: int | None, wanted: tuple[str, str] | None) -> bool:
    """Write the placement; whether it is another than before."""
    before = dict(op.annotations)
    for each in (ON, WHY, REGION):
        op.annotations.pop(each.key, None)
    if region is None:
        ON.set(op, "cpu")
        WHY.set(op, reason or "")
    else:
        ON.set(op, "device")
        WHY.set(op, f"affinity of {wanted[0]!r}" if wanted is not None else "supported")
        REGION.set(op, region)
    return before != op.annotations


def _refusal(op: Op, reason: str | Reason) -> PassError:
    why = reason.text(op.name) if isinstance(reason, Reason) else reason
    return PassError(
        f"the op cannot run on the device, and no other place is allowed: {why}",
        op=op.name,
        node=op.node,
        hint='Allow the CPU by the order "device,cpu".',
    )


def parse_order(order: str) -> list[str]:
    """Places by preference, from a text such as ``device,cpu``.
    Raises UsageError: a place is unknown or named twice."""
    places = [place.strip() for place in order.split(",")]
    if not all(place in PLACES for place in places) or len(set(places)) != len(places):
        known = f"one or both of {' and '.join(PLACES)}, each once"
        raise UsageError("wrong order of places", expected=known, found=order)
    return places


def _match_affinity(ops: Sequence[Op], affinity: Affinity) -> dict[Op, tuple[str, str]]:
    """The entry of the affinity that each op falls under."""
    by_name = find_named(ops, dict(affinity), "the affinity", Partition.name)
    found: dict[Op, tuple[str, str]] = {}
    for name, place in affinity:
        if place not in PLACES:
            raise PassError(f"unknown place for {name!r}", expected="device or cpu", found=place)
        for op in by_name[name]:
            other = found.setdefault(op, (name, place))
            if other[1] != place:
                raise PassError(
                    f"the affinity puts the op in two places, by the names {other[0]!r} and {name!r}",
                    op=op.name,
                    node=op.node,
                )
    return found


def _check_wanted(wanted: dict[Op, tuple[str, str]], rejections: dict[Op, Reason | None]) -> None:
    """Of the ops that a name wants on the device one must be able to run there; conversions around it need not."""
    by_name: dict[str, list[Op]] = {}
    for op, (name, place) in wanted.items():
        if place == "device":
            by_name.setdefault(name, []).append(op)
    for name, ops in by_name.items():
        op, rejection = ops[0], rejections[ops[0]]
        if rejection is not None and None not in (rejections[other] for other in ops):
            message = f"the affinity puts {name!r} on the device, which cannot run it"
            raise PassError(
                message if rejection.found else f"{message}: {rejection.rule}",
                op=op.name,
                node=op.node,
                expected=rejection.rule if rejection.found else None,
                found=f"{rejection.found} ({rejection.tensor})" if rejection.found else None,
                hint="Give it to the CPU, or leave it out.",
            )


def _without_idle_regions(module: Module, candidates: Set[Op]) -> set[Op]:
    """The candidates less those whose region would do nothing but give tensors another shape."""
    regions = assign_regions(producers_of(module.main), candidates)
    busy = {number for op, number in regions.items() if not isinstance(op.operator, VIEWS)}
    return {op for op in candidates if regions[op] in busy}


def _not_worth_it(island: Set[Op], found: PieceTimes) -> str | Reason:
    if all(isinstance(other.operator, Reshape) for other in island):
        return FREE
    host, device, border = (f"{abs(round(1e6 * seconds, 1))} us" for seconds in found)
    # A border that saves time: the op stands between others on the device, which its tensors would not have to leave.
    border = f", which would save {border} of transfers" if found.border < 0 else f" and {border} to start and feed it"
    return Reason(FASTER, "", f"{host}, against {device} on the device{border}")
