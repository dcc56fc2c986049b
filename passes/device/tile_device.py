"""Cut the work of each device op into tiles that fit the scratchpads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from tilewright.errors import PassError

from ...ir.annotations import (
    CARD,
    CASCADE,
    CLUSTERS,
    FUSED,
    IMAGES,
    KEPT,
    MAP,
    PLAN,
    SPLIT,
    TILE,
    MapPlace,
    Plan,
    PlannedTile,
    Stationary,
)
from ...ir.core import Function, Module, Op
from ...ir.feature_map import MOVEMENT
from ...runtime.machines.machine import Machine, load
from ..base import PLACED, Invariant, Pass, Record
from .cascades.choose_cascades import Cascades, ring_of
from .fused_pairs import choose_overwritten, fused_convolution, pairs_brought_together, with_fused
from .kept.apart import lay_apart
from .kept.by_slices import follow_slices
from .kept.choose_kept import KeptMaps
from .kept.choose_splits import with_best_splits
from .kept.kept_maps import explain_kept
from .outline_device import device_functions, device_ops, planned_machine
from .tiling.candidates import Misfit, Tile
from .tiling.tile_search import splits, tile_sizes
from .tiling.tile_searches import TileSearches, set_tile

TILED = Invariant(
    "tiled: every op of a device function has a tile",
    lambda module: next((op for op in device_ops(module) if not TILE.is_at(op)), None),
)


CHEAPEST = "cheapest"

_CHOICES = 2
"""Sets of kept maps, the cheapest first, beside which cascades are looked for."""

KEPT_SHARE = 15 / 16
"""Leaves room for the tiles of maps that come from DRAM; prices see how much that is worth."""

ORDERS: dict[str, Stationary | None] = {CHEAPEST: None, **{order: order for order in get_args(Stationary)}}
"""What a convolution keeps in the scratchpads, by the name that options have for it."""


class TileDevice(Pass):
    """Annotates each op of a device function with ``tile=[rows, columns, output blocks, input blocks]`` of its result
    and with what is ``stationary``: a convolution keeps a block of ``weights`` and streams the map, or a tile
    of its ``inputs`` and streams the weights. A convolution may be ``fused`` with the element-wise op that reads its
    result, see :mod:`tilewright.passes.device.fused_pairs`: both have one tile, and stand one behind the other. Where
    an op is the last to read an operand of its shape, its result is written ``over`` that if both stay on chip.

    The tile is the cheapest by the analytic cost of :mod:`tilewright.passes.device.tiling`. Several clusters ``split``
    the ``rows``, the ``channels`` or the ``images`` of each result: what is cheaper with all maps in DRAM, then what is
    cheaper beside the maps that stay on chip, see :mod:`tilewright.passes.device.kept.choose_splits`. Maps that stay on
    chip from op to op are ``kept``, and ``map`` says of each where it lies and why. A function that has a ``plan`` is
    tiled for that.

    Attributes:
        machine: name of a sample machine, or path of a machine file.
        clusters: how many of the machine's clusters work on an image.
        kept_share: of the maps scratchpad of a cluster, what maps may take that stay there from op to op.
        stationary: ``weights`` or ``inputs`` for all convolutions; ``cheapest`` is what costs less for each.
    """

    requires = (PLACED,)
    ensures = (TILED,)

    machine: str
    stationary: str = CHEAPEST
    clusters: int = 1
    kept_share: float = KEPT_SHARE

    def apply(self, module: Module, record: Record) -> bool:
        if self.stationary not in ORDERS:
            expected = " or ".join(ORDERS)
            raise PassError("no such order of convolutions", expected=expected, found=self.stationary)
        machine, wanted = load(self.machine), ORDERS[self.stationary]
        for function in device_functions(module):
            plan = PLAN.get(function) or Plan(self.clusters, self.kept_share, ())
            if not 1 <= plan.clusters <= machine.clusters:
                message = f"machine {machine.name!r} does not have so many clusters"
                hint = "Change them in the plan." if PLAN.is_at(function) else None
                raise PassError(message, expected=f"1 to {machine.clusters}", found=plan.clusters, hint=hint)
            planned = planned_machine(function, machine)
            searches = TileSearches(planned, wanted, plan.clusters, IMAGES.get(function))
            given = planned, plan.clusters, plan.kept_share, searches
            record.price += tile_function(function, *given, cascades=plan.cascades, others=plan.tiles)
            record.counts += Counter(op.name for op in function.ops)
        return bool(record.counts)


def tile_of(op: Op, machine: Machine, searches: TileSearches | None = None) -> Tile:
    """The cheapest tile of an op on one cluster, or as searches have it.
    Raises PassError: not even the smallest tile fits; names the tensor, what it needs and what there is."""
    found = (searches or TileSearches(machine)).of(op).cheapest(machine.maps_bytes)
    if not isinstance(found, Misfit):
        return found[1]
    raise PassError(
        f"not even the smallest tile fits the {found.memory} scratchpad",
        stage=TileDevice.name,
        op=op.name,
        node=op.node,
        expected=f"at most {found.available} bytes ({machine.name})",
        found=f"{found.needed} bytes for {op.results[0]!r}",
        hint="Place the op on the CPU (affinity), or choose a machine with more memory.",
    )


def tile_function(
    function: Function,
    machine: Machine,
    clusters: int = 1,
    kept_share: float = KEPT_SHARE,
    searches: TileSearches | None = None,
    *,
    cascades: bool = False,
    others: Sequence[PlannedTile] = (),
) -> float:
    """Annotate the ops of a device function with their tiles, and the maps that stay on chip; see `TileDevice`.
    ``others``: tiles of results that are others than prices say, as of `Plan`.
    Returns what all ops cost together by price, in cycles; 0 where no choice of kept maps has one."""
    if not CARD.is_at(function):
        # Several cards send and receive in the order of the network that they were cut from.
        _vector_ops_first(function)
    searches = searches or TileSearches(machine, None, clusters)
    if clusters > 1:
        CLUSTERS.set(function, clusters)
    for conv, user in pairs_brought_together(function):
        _fuse_if_cheaper(conv, user, machine, searches)
    choose_overwritten(function)
    ops = [*function.ops]
    for op in ops:
        if fused_convolution(op) is None:
            set_tile(op, tile_of(op, machine, searches))
    maps = KeptMaps(function, machine, clusters, searches)
    # Clusters that share a map out need rows of each other, which are made last.
    cascades = cascades and clusters == 1 and not CARD.is_at(function)
    if cascades:
        choices = sorted(maps.choices(kept_share), key=lambda each: each.cost)[:_CHOICES]
        options = [(each, Cascades(ops, machine, maps, each)) for each in choices]
        found = min(options, key=lambda each: each[0].cost - each[1].saved, default=None)
    else:
        chosen = maps.choose(kept_share)
        if chosen is not None and clusters > 1:
            chosen = with_best_splits(maps, chosen, kept_share)
        found = (chosen, None) if chosen is not None else None
    if found is None:
        return 0.0
    chosen, cascading = found
    for op, tile in zip(ops, chosen.tiles, strict=True):
        if fused_convolution(op) is None:
            set_tile(op, tile)
        if op.result in chosen.kept:
            KEPT.set(op, True)
    follow_slices(maps, chosen)
    if not cascading:
        lay_apart(maps, chosen)
    set_planned_tiles(ops, others, clusters)
    for op, place in explain_kept(ops, clusters, machine, chosen.kept, chosen.taken):
        MAP.set(op, place)
    if cascading is None:
        return chosen.cost
    _set_cascades(ops, cascading)
    return chosen.cost - cascading.saved


def set_planned_tiles(ops: Sequence[Op], tiles: Sequence[PlannedTile], clusters: int) -> None:
    """Give the ops of a function that is tiled other tiles, as of `Plan`.
    Raises PassError: there is no such op, or it cannot have such a tile."""
    named = {op.result.name: op for op in ops if fused_convolution(op) is None}
    for tile in tiles:
        for each in with_fused(_op_with_tile(tile, named, clusters)):
            TILE.set(each, tile[1])
            if tile[2] is not None:
                SPLIT.set(each, tile[2])


def _op_with_tile(tile: PlannedTile, named: Mapping[str, Op], clusters: int) -> Op:
    """The op of that name, which a plan gives a tile and a split that it can have."""
    op, (name, sizes, split), hint = named.get(tile[0]), tile, "Correct the tile in the plan, or leave it out."
    if op is None:
        raise PassError("the plan has a tile for no op", expected=" or ".join(named), found=name, hint=hint)
    words = "rows", "columns", "output blocks", "input blocks", "what clusters share out"
    possible = *tile_sizes(op), (*splits(op, clusters), None)
    for what, found, each in zip(words, (*sizes, split), possible, strict=True):
        if found not in each:
            expected = " or ".join(map(str, each)) if len(each) < 4 else f"{each[0]}, {each[1]}, … or {each[-1]}"
            message = f"a tile of {name!r} in the plan: {what}"
            raise PassError(message, op=op.name, node=op.node, expected=expected, found=found, hint=hint)
    return op


def _vector_ops_first(function: Function) -> None:
    """Put each op of the vector unit behind the last op that it reads, if it needs no more room than what it reads.

    The array then works on other branches at the same time: before the op that reads the result there is room for it,
    whatever is kept on chip for those."""
    places: dict[Op, tuple[int, int]] = {}
    for index, op in enumerate(function.ops):
        places[op] = index, -1
        reads = [value.producer for value in op.inputs if value.producer is not None]
        is_small = op.result.type.elements <= max((value.type.elements for value in op.inputs), default=0)
        if not op.macs and is_small and not isinstance(op.operator, MOVEMENT):
            places[op] = max((places[each][0] for each in reads), default=-1), index
    ops = sorted(places, key=places.__getitem__)
    for op in ops[:-1]:
        function.move_before(op, ops[-1])


def _set_cascades(ops: Sequence[Op], choice: Cascades) -> None:
    """Annotate the ops of cascades, and the maps that lie in rings."""
    found = choice.found
    for number, cascade in enumerate(found):
        units = choice.units[slice(*cascade.units)]
        for place, (unit, tile) in enumerate(zip(units, cascade.tiles, strict=True)):
            set_tile(unit.op, tile)
            CASCADE.set(unit.op, (number, place))
    for op in ops:
        ring = ring_of(op.result, found)
        place, why = MAP.get(op), choice.why_not(op.result)
        if place is not None and why is not None:
            MAP.set(op, place._replace(why=f"{place.why}; in a cascade, {why}"))
        if ring is not None:
            KEPT.set(op, True)
            MAP.set(op, MapPlace("chip" if ring.is_whole else "ring", (ring.rows,), ring.inside, ""))


def _fuse_if_cheaper(conv: Op, user: Op, machine: Machine, searches: TileSearches) -> None:
    """Compute an op with each tile of the convolution that it reads, if that costs less than one after the other."""
    first, second = (searches.of(op).cheapest(machine.maps_bytes) for op in (conv, user))
    FUSED.set(conv, True)
    both = searches.of(conv).cheapest(machine.maps_bytes)
    prices = [each[0] if not isinstance(each, Misfit) else np.inf for each in (first, second, both)]
    if prices[2] >= prices[0] + prices[1]:
        del conv.annotations[FUSED.key]
