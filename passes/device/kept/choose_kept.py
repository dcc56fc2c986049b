"""Which maps stay on chip: those that save most traffic with the DRAM for what they take, and as many as pay.

Maps that lie in each other stay together, or not at all. Candidates are taken by the bytes that they save for each
byte that they take and each op during which they take it, as far as a limit goes; the set of the limit whose tiles cost
least is taken. The limits of a smaller scratchpad are limits of a larger one as well, which therefore chooses nothing
that costs more.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cache

import numpy as np

from tilewright.immutable import Immutable

from ....ir.annotations import FUSED, SPLIT, Split
from ....ir.core import Function, Op, Value
from ....ir.feature_map import MOVEMENT, map_shape
from ....ir.ops.movement import Concat
from ....runtime.machines.machine import LINE_BYTES, Machine
from ...memory.plan import Parts
from ...placement.device_support import map_operands
from ..fused_pairs import fused_convolution, with_fused
from ..planning.plan_device_memory import parts_of
from ..tiling.candidates import Misfit, Tile
from ..tiling.tile_search import TileSearch
from ..tiling.tile_searches import TileSearches, maps_of_pair
from .chip_places import Rows, copied, obstacle
from .kept_maps import holdings, root_of

TRAFFIC_WEIGHT = 0.25
"""What a cycle of the DRAM counts beside the price of an op, in which it may be hidden: it delays other ops' loads."""

LEAST_ROOM = 1024
"""Bytes for tiles: of the smallest scratchpad that a machine may have."""


class Chosen(Immutable):
    """Maps to keep, and how each op is tiled beside them.
    ``taken``: bytes that they take of the scratchpad of a cluster while each op runs.
    ``cost``: cycles; what ranks choices."""

    kept: frozenset[Value]
    taken: tuple[int, ...]
    tiles: tuple[Tile, ...]
    cost: float


class _Group(Immutable):
    """Maps that lie in each other.
    ``size``: bytes on the cluster that holds most.
    ``first``, ``last``: steps between which they are on chip, both included.
    ``saved``: bytes that need not be moved."""

    members: frozenset[Value]
    size: int
    first: int
    last: int
    saved: int

    @property
    def density(self) -> float:
        """Bytes saved for each that is taken during an op."""
        return self.saved / (self.size * (self.last - self.first + 1))


class KeptMaps:
    """The choice for a function whose ops are tiled and split."""

    def __init__(self, function: Function, machine: Machine, clusters: int, searches: TileSearches) -> None:
        self.ops = [*function.ops]
        self.rows = Rows()
        self.machine, self.clusters = machine, clusters
        self._parts = parts_of(function)
        self._maps = {op: maps_of_pair(op) for op in self.ops}
        # By an op, its split, and those of its maps that stay on chip.
        self._costs: dict[tuple[Op, Split | None, frozenset[Value]], tuple[TileSearch, int]] = {}
        self._searches = searches

    def choose(self, share: float) -> Chosen | None:
        """The cheapest choice with limits up to a share of the scratchpad; None if not even tiles alone fit."""
        return min(self.choices(share), key=lambda each: each.cost, default=None)

    def choices(self, share: float) -> list[Chosen]:
        """One for each limit up to a share of the scratchpad, those that fit, without those that are alike."""
        found: dict[frozenset[Value], Chosen | None] = {}
        # As ops are split now, which is so for all limits.
        groups_of = cache(self._groups)
        values = frozenset(op.result for op in self.ops if obstacle(op.result) is None)
        for limit in (0, *_limits(int(self.machine.maps_bytes * share))):
            kept, taken = self._fill(values, groups_of, limit)
            if kept not in found:
                found[kept] = self._tiled(kept, taken)
        return [each for each in found.values() if each is not None]

    def _groups(self, values: frozenset[Value]) -> list[_Group]:
        """Maps that may stay on chip as groups of those that lie in each other."""
        held = holdings(self.ops, self.clusters, values, self.rows)
        members: dict[Value, list[Value]] = {}
        for value in values:
            members.setdefault(root_of(value, values, self.rows.inside).whole, []).append(value)
        return [
            _Group(frozenset(inside), held[root].bytes(root), held[root].first, held[root].last, self._saved(inside))
            for root, inside in members.items()
        ]

    def _saved(self, members: Sequence[Value]) -> int:
        kept = frozenset(members)
        ops = {op for value in members for op in (value.producer, *value.users) if op is not None}
        return sum(traffic(op, frozenset(), self._parts) - traffic(op, kept, self._parts) for op in ops)

    def _fill(
        self, values: frozenset[Value], groups_of: Callable[[frozenset[Value]], list[_Group]], limit: int
    ) -> tuple[frozenset[Value], tuple[int, ...]]:
        """Groups of these maps, the best first, while they fit; parts of one that does not fit as a whole."""
        taken = np.zeros(len(self.ops), np.int64)
        kept: set[Value] = set()
        waiting = [(-each.density, each.first, number, each) for number, each in enumerate(groups_of(values))]
        heapq.heapify(waiting)
        number = len(waiting)
        while waiting:
            *_, group = heapq.heappop(waiting)
            if group.saved <= 0:
                continue
            span = slice(group.first, group.last + 1)
            if int(taken[span].max()) + group.size <= limit:
                taken[span] += group.size
                kept |= group.members
            elif len(group.members) > 1:
                root = root_of(next(iter(group.members)), group.members, self.rows.inside).whole
                for part in groups_of(group.members - {root}):
                    heapq.heappush(waiting, (-part.density, part.first, number, part))
                    number += 1
        return frozenset(kept), tuple(taken.tolist())

    def _tiled(self, kept: frozenset[Value], taken: tuple[int, ...]) -> Chosen | None:
        """The cheapest tiles in what kept maps leave of the scratchpad; None where none fits."""
        tiles: list[Tile] = []
        cost = 0.0
        for op, beside in zip(self.ops, taken, strict=True):
            if fused_convolution(op) is not None:
                tiles.append(tiles[-1])
                continue
            found = self.cost_of(op, kept, lambda search, beside=beside: self.priced(search, beside))
            if isinstance(found, Misfit):
                return None
            cost += found[0]
            tiles.append(found[1])
        return Chosen(kept, taken, tuple(tiles), cost)

    def cost_of(
        self, op: Op, kept: AbstractSet[Value], price: Callable[[TileSearch], tuple[float, Tile] | Misfit]
    ) -> tuple[float, Tile] | Misfit:
        """What an op, together with that which is fused with it, counts where these maps stay on chip, and its tile.
        ``price``: of the cheapest tile of a search that is to be taken."""
        split, own = SPLIT.get(op), frozenset([value for value in self._maps[op] if value in kept])
        known = self._costs.get((op, split, own))
        if known is None:
            moved = sum(traffic(each, own, self._parts) for each in with_fused(op))
            known = self._costs[op, split, own] = self._searches.of(op, split, own), moved
        search, moved = known
        found = price(search)
        if isinstance(found, Misfit):
            return found
        cost = TRAFFIC_WEIGHT * moved / self.machine.dram_bytes_per_cycle
        if moved or not isinstance(op.operator, MOVEMENT):
            cost += found[0]
        return cost, found[1]

    def priced(self, search: TileSearch, beside: int, blocks: int | None = None) -> tuple[float, Tile] | Misfit:
        """The cheapest tile in what maps leave that take so many bytes of the scratchpad; of so many blocks."""
        unit = self.machine.maps_banks * LINE_BYTES
        left = (self.machine.maps_bytes - beside) // unit * unit
        if left < LEAST_ROOM:
            return Misfit("maps", LEAST_ROOM, left)
        return search.cheapest(left, blocks=blocks)


def _limits(room: int) -> Iterator[int]:
    """Bytes, up to ``room``: powers of two from 8 KiB on, and 1/2 and 7/8 of the way to the next."""
    size = 1 << 13
    while size <= room:
        yield from (limit for limit in (size, size * 3 // 2, size * 15 // 8) if limit <= room)
        size *= 2


def traffic(op: Op, kept: AbstractSet[Value], parts: Parts) -> int:
    """Bytes between DRAM and chip that an op at least has to move."""

    def size(value: Value) -> int:
        return map_shape(value.type).padded_elements

    if not isinstance(op.operator, MOVEMENT):
        maps = [value for value in (*map_operands(op), op.result) if value not in kept]
        return sum(size(value) for value in maps if value.producer is None or not FUSED.get(value.producer))
    moved = 0
    for value in copied(op, kept):
        part, whole = (value, op.result) if isinstance(op.operator, Concat) else (op.result, value)
        if part not in kept and whole not in kept and part in parts and parts[part][0] is whole:
            continue
        run = min(size(value), size(op.result))
        moved += run * ((value not in kept) + (op.result not in kept))
    return moved
