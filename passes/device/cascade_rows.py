"""Compute the ops of cascades in turn, stripe of rows by stripe of rows, and put their maps in rings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ...ir.annotations import CASCADE
from ...ir.core import Function, Module, Op, is_op
from ...ir.tile.compute import Convolve, ConvolveDepthwise, Pool
from ...ir.tile.locations import Locations
from ...ir.tile.places import PLACES, Buffer
from ..base import Pass, Record
from .cascades.segment import RowAccess, Stripe, interleaved, ring_rows
from .lower_to_tiles import LOWERED
from .order_tiles import rearrange
from .ordering.dependencies import Access, Dependencies, accesses
from .outline_device import device_functions


@dataclass
class _Step:
    """An op that becomes an instruction.
    ``layer``: place in the cascade of the op that it is a piece of.
    ``touched``: what it reads and writes.
    ``follows``: numbers of the steps of the cascade that it has to follow."""

    op: Op
    layer: int
    touched: list[Access]
    follows: set[int]

    @property
    def row(self) -> int | None:
        """The first row of a map of the network that it writes; ``None`` if it writes none."""
        written = (each.place.box[2] for each in self.touched if each.write and is_op(each.place.root, Buffer))
        return next(written, None)


@dataclass
class _Cascade:
    steps: list[_Step] = field(default_factory=list)
    dependencies: Dependencies = field(default_factory=Dependencies)


def interleave(function: Function) -> tuple[list[Op], dict[Op, int]]:
    """The order of the ops of a tile program that become instructions, the steps of each cascade by stripes; and of the
    maps on chip that only one of these touches, how many rows a ring for them has.
    ``function``: maps in DRAM have addresses."""
    locations = Locations()
    order: list[Op | int] = []
    cascades: dict[int, _Cascade] = {}
    touching: dict[Op, set[int]] = {}
    for op in function.ops:
        locations.add(op)
        if isinstance(op.operator, PLACES):
            continue
        touched = accesses(op, locations)
        number, layer = CASCADE.get(op) or (-1, 0)
        for access in touched:
            touching.setdefault(access.place.root, set()).add(number)
        if number < 0:
            order.append(op)
            continue
        if number not in cascades:
            order.append(number)
            cascades[number] = _Cascade()
        cascade = cascades[number]
        follows = cascade.dependencies.add(len(cascade.steps), touched)
        cascade.steps.append(_Step(op, layer, touched, follows))
    found: list[Op] = []
    rings: dict[Op, int] = {}
    for each in order:
        if isinstance(each, Op):
            found.append(each)
            continue
        steps = _by_stripes(cascades[each].steps)
        found += [step.op for step in steps]
        rings.update(_rings(steps, {root for root, numbers in touching.items() if numbers == {each}}))
    return found, rings


def _by_stripes(steps: Sequence[_Step]) -> list[_Step]:
    """The steps of a cascade in the order of its stripes."""
    stripe_of: dict[int, int] = {}
    members: list[list[int]] = []
    layers: list[int] = []
    for layer in sorted({step.layer for step in steps}):
        own = [number for number, step in enumerate(steps) if step.layer == layer]
        rows: dict[int, list[int]] = {}
        for number in own:
            row = steps[number].row
            if row is not None:
                rows.setdefault(row, []).append(number)
        for row in sorted(rows):
            taken = _needed(rows[row], steps, stripe_of)
            if taken:
                stripe_of.update(dict.fromkeys(taken, len(members)))
                members.append(sorted(taken))
                layers.append(layer)
        rest = [number for number in own if number not in stripe_of]
        if rest:
            stripe_of.update(dict.fromkeys(rest, len(members)))
            members.append(rest)
            layers.append(layer)
    stripes = [
        Stripe(layer, tuple(sorted({stripe_of[each] for number in inside for each in steps[number].follows})))
        for layer, inside in zip(layers, members, strict=True)
    ]
    stripes = [
        stripe._replace(needs=tuple(each for each in stripe.needs if layers[each] != stripe.layer))
        for stripe in stripes
    ]
    return [steps[number] for stripe in interleaved(stripes) for number in members[stripe]]


def _needed(numbers: Iterable[int], steps: Sequence[_Step], taken: dict[int, int]) -> set[int]:
    """These steps and those of the same layer that they follow, which are not taken yet."""
    found: set[int] = set()
    pending = [*numbers]
    while pending:
        number = pending.pop()
        if number in taken or number in found:
            continue
        found.add(number)
        pending += [each for each in steps[number].follows if steps[each].layer == steps[number].layer]
    return found


def _rings(steps: Sequence[_Step], roots: set[Op]) -> dict[Op, int]:
    """The length of a ring for each place of a map on chip, of those where that is shorter than the map."""
    touched: dict[Op, list[RowAccess]] = {}
    for step in steps:
        for access in step.touched:
            root = access.place.root
            if root in roots and is_op(root, Buffer) and access.place.type.memory == "maps":
                first, stop = access.place.box[2:4]
                # Around the end of a ring windows find what they read, but for those that begin above the map.
                is_window = is_op(step.op, Convolve, ConvolveDepthwise, Pool) and step.op.operator.origin[0] >= 0
                touched.setdefault(root, []).append(RowAccess(first, stop, is_window and not access.write))
    lengths = {root: ring_rows(tuple(rows), root.result.type.shape[0]) for root, rows in touched.items()}
    return {root: ring for root, ring in lengths.items() if ring < root.result.type.shape[0]}


def in_ring(function: Function, buffer: Op, rows: int) -> None:
    """Make the place of a map on chip a ring of so many rows."""
    assert is_op(buffer, Buffer)
    operator = replace(buffer.operator, ring=rows)
    ring = Op(operator, [], names=[buffer.result.name], loc=buffer.loc, annotations=buffer.annotations)
    function.insert(ring, buffer)
    buffer.result.replace_all_uses(ring.result)
    buffer.erase()


class CascadeRows(Pass):
    """Puts the tile ops of each ``cascade`` into the order of its stripes: an op makes the next rows of its result when
    the op behind it lacks them. Of a map on chip that only one cascade touches, just the rows that are still needed
    stay there, in a ring.

    Results do not change: an op follows all those that touch what it touches, as before."""

    requires = (LOWERED,)
    ensures = (LOWERED,)

    def apply(self, module: Module, record: Record) -> bool:
        for function in device_functions(module):
            record.counts["rings"] += cascade(function)
        return record.counts["rings"] > 0


def cascade(function: Function) -> int:
    """Interleave the cascades of a tile program whose maps in DRAM have addresses; how many rings that makes."""
    if not any(CASCADE.is_at(op) for op in function.ops):
        return 0
    steps, rings = interleave(function)
    rearrange(function, steps)
    for buffer, rows in rings.items():
        in_ring(function, buffer, rows)
    return len(rings)
