"""What clusters share out of each op, chosen anew once it is known which maps stay on chip.

With all maps in DRAM, clusters that share out channels load the same map several times over, so that rows are mostly
cheaper. Maps on chip are moved between scratchpads instead, which costs little, but each cluster then holds all rows of
what it reads. Four things are therefore weighed for each op, with all others as they are: the price of its tile beside
the maps that are kept, the moves of the maps that it touches, what these take of scratchpads that are too small for all
maps that could be kept, and how long weights behind it are waited for. What they wait for stands ahead of them, so the
last op comes first.
"""

from collections.abc import Sequence

import numpy as np

from ....ir.annotations import SPLIT, Split
from ....ir.core import Op, Value
from ....ir.feature_map import MOVEMENT, is_product, map_shape
from ....runtime.machines.machine import CHANNEL_BLOCK, LINE_BYTES, Machine
from ..fused_pairs import fused_convolution, with_fused
from ..tiling.candidates import Misfit, Tile
from ..tiling.tile_price import Share
from ..tiling.tile_search import splits
from ..tiling.tile_searches import set_tile
from .chip_places import Rows, obstacle
from .choose_kept import TRAFFIC_WEIGHT, Chosen, KeptMaps
from .kept_maps import Holding, Touch, Touched, holdings, is_read_where_made, root_of, touches
from .late_weights import LateWeights

ROUNDS = 2
"""Each begins with the maps that are kept with the splits of the one before."""

WORTH = 0.99
"""Of the cost of the first choice, what the last one has to be below: prices are not more exact."""


def with_best_splits(choice: KeptMaps, first: Chosen, share: float) -> Chosen:
    """Maps to keep with better splits, or those of the first choice; the ops are annotated with tiles and splits.
    ``choice``: for a function whose ops are split as they would be with all maps in DRAM.
    ``first``: what it has chosen for these.
    ``share``: of the maps scratchpad for maps that stay on chip."""
    weighed = [op for op in choice.ops if fused_convolution(op) is None and len(splits(op, choice.clusters)) > 1]
    if not weighed:
        return first
    weights = _Weights(choice, share, first.kept)
    before, current = first.cost + weights.total(), first
    for _ in range(ROUNDS):
        beside = dict(zip(choice.ops, current.taken, strict=True))
        changed = [_split_anew(op, choice, beside[op], current.kept, weights) for op in reversed(weighed)]
        found = choice.choose(share) if any(changed) else None
        if found is None:
            break
        current, weights = found, _Weights(choice, share, found.kept)
    best = current if current.cost + weights.total() < WORTH * before else first
    for op, tile in zip(choice.ops, best.tiles, strict=True):
        if fused_convolution(op) is None:
            set_tile(op, tile)
    return best


class _OnChip:
    """Maps on chip, each with those that lie in it: what they take and what is moved of them as ops are split now.
    ``held``: by the map that lies in no other one, as ops were split at first, or by the last `update`."""

    def __init__(
        self, ops: Sequence[Op], clusters: int, machine: Machine, values: frozenset[Value], rows: Rows
    ) -> None:
        self._clusters, self._machine, self._rows = clusters, machine, rows
        self._roots = {value: root_of(value, values, rows.inside).whole for value in values}
        self._members: dict[Value, set[Value]] = {}
        for value, root in self._roots.items():
            self._members.setdefault(root, set()).add(value)
        self._touching: dict[Value, dict[Op, None]] = {root: {} for root in self._members}
        for op in ops:
            for value in (*op.inputs, op.result):
                if value in self._roots:
                    self._touching[self._roots[value]][op] = None
        self.held = holdings(ops, clusters, values, rows)
        self._distance = {
            value: root_of(value, self._members[root], rows.inside).row for value, root in self._roots.items()
        }
        # By what they depend on, of all that is looked at again and again.
        self._touches: dict[tuple[Op, Split | None], list[Touch]] = {}
        self._holdings: dict[tuple[Value, tuple[object, ...]], Holding] = {}
        self._moves: dict[tuple[Value, Holding, tuple[object, ...]], float] = {}

    def touched(self, op: Op) -> dict[Value, Holding]:
        """Of the maps that an op, or what is fused with it, touches, what clusters hold as ops are split now."""
        values = [value for each in with_fused(op) for value in (*each.inputs, each.result)]
        return {root: self._now(root) for root in dict.fromkeys(self._roots[v] for v in values if v in self._roots)}

    def _now(self, root: Value) -> Holding:
        known = root, self._splits(root)
        if known not in self._holdings:
            self._holdings[known] = self._held_now(root)
        return self._holdings[known]

    def _splits(self, root: Value) -> tuple[object, ...]:
        return tuple([op.annotations.get(SPLIT.key) for op in self._touching[root]])

    def _held_now(self, root: Value) -> Holding:
        found = Touched(self._clusters)
        for op in self._touching[root]:
            key = op, SPLIT.get(op)
            if key not in self._touches:
                self._touches[key] = [*touches(op, self._roots.keys(), self._rows)]
            for touch in self._touches[key]:
                if touch.root is root:
                    found.add(touch)
        before = self.held[root]
        return found.holding(before.first, before.last)

    def moves(self, root: Value, holding: Holding) -> float:
        """Cycles in which the cluster that moves most of a map moves it."""
        known = root, holding, self._splits(root)
        if known not in self._moves:
            self._moves[known] = self._moved(root, holding)
        return self._moves[known]

    def _moved(self, root: Value, holding: Holding) -> float:
        shape = map_shape(root.type)
        cycles = [0.0] * self._clusters
        for value in self._members[root]:
            op = value.producer
            if op is None or isinstance(op.operator, MOVEMENT) or is_read_where_made(value):
                continue
            distance = self._distance[value]
            blocks = Share(self._clusters, SPLIT.get(op)).blocks(map_shape(value.type).blocks)
            for cluster, (first, count) in self._rows.of(op):
                first += distance
                # What all read alike goes to all at once; of fewer that do, each has a move, priced as one here.
                for begin, extent in {span for other, span in enumerate(holding.read) if span and other != cluster}:
                    rows = max(min(first + count, begin + extent) - max(first, begin), 0)
                    work = rows * shape.width * blocks * CHANNEL_BLOCK / LINE_BYTES
                    cycles[cluster] += max(work, (rows > 0) * self._machine.timing.transfer_setup)
        return max(cycles)


class _Weights:
    """What the split of an op costs beside the price of its tile."""

    def __init__(self, choice: KeptMaps, share: float, kept: frozenset[Value]) -> None:
        ops, clusters, machine, rows = choice.ops, choice.clusters, choice.machine, choice.rows
        self._late = LateWeights(ops, machine, clusters)
        self._kept = _OnChip(ops, clusters, machine, kept, rows)
        possible = frozenset(op.result for op in ops if obstacle(op.result) is None)
        self._possible = _OnChip(ops, clusters, machine, possible, rows)
        self._limit = machine.maps_bytes * share
        self._taken = np.zeros(len(ops))
        for root, holding in self._possible.held.items():
            self._take(root, holding, 1)
        # What does not fit goes to DRAM and back from all clusters.
        self._cycles_of_a_byte = 2 * clusters / machine.dram_bytes_per_cycle

    def total(self) -> float:
        """Cycles of moves of all maps that are kept, and in which weights are waited for."""
        moves = sum(self._kept.moves(root, held) for root, held in self._kept.held.items())
        return TRAFFIC_WEIGHT * moves + self._late.cycles()

    def cost(self, op: Op) -> float:
        """Cycles of moves, and of bytes that have no room, of the maps that an op touches, as it is split now, and in
        which weights are waited for."""
        moves = sum(self._kept.moves(root, held) for root, held in self._kept.touched(op).items())
        touched = self._possible.touched(op)
        self._change(touched, 1)
        beyond = max((self._taken[each.first : each.last + 1].max() for each in touched.values()), default=0.0)
        self._change(touched, -1)
        late = self._late.cycles() if is_product(op) else 0.0
        return TRAFFIC_WEIGHT * moves + max(beyond - self._limit, 0.0) * self._cycles_of_a_byte + late

    def update(self, op: Op) -> None:
        """An op is split otherwise from now on."""
        touched = self._possible.touched(op)
        self._change(touched, 1)
        self._possible.held.update(touched)

    def _change(self, touched: dict[Value, Holding], sign: int) -> None:
        for root, holding in touched.items():
            self._take(root, self._possible.held[root], -sign)
            self._take(root, holding, sign)

    def _take(self, root: Value, holding: Holding, sign: int) -> None:
        self._taken[holding.first : holding.last + 1] += sign * holding.bytes(root)


def _split_anew(op: Op, choice: KeptMaps, beside: int, kept: frozenset[Value], weights: _Weights) -> bool:
    """Give an op the split that costs least; whether that is another one."""
    before = SPLIT.get(op)
    found: list[tuple[float, Tile]] = []
    # Of equals the one that it has.
    for split in sorted(splits(op, choice.clusters), key=lambda each: each == before, reverse=True):
        for each in with_fused(op):
            SPLIT.set(each, split)
        priced = choice.cost_of(op, kept, lambda search: choice.priced(search, beside))
        if not isinstance(priced, Misfit):
            set_tile(op, priced[1])
            found.append((priced[0] + weights.cost(op), priced[1]))
    tile = min(found, key=lambda each: each[0])[1]
    set_tile(op, tile)
    if tile.split == before:
        return False
    weights.update(op)
    return True
