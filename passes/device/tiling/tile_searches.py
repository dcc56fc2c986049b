"""The tile searches of a function: one for all ops that are alike, as layers of a network often are."""

from __future__ import annotations

from collections.abc import Hashable

from ....ir.annotations import Split, Stationary
from ....ir.core import Op, Value
from ....ir.feature_map import is_packed
from ....runtime.machines.machine import Machine
from ...placement.device_support.maps import map_operands
from ..fused_pairs import fused_user, made_by, other_operand
from ..kept.in_place import overwritten
from .tile_search import TileSearch


def maps_of_pair(op: Op) -> list[Value]:
    """The maps that an op reads and makes, together with the one that is fused with it."""
    other = other_operand(op)
    return [*map_operands(op), *([other] if other is not None else []), made_by(op)]


class TileSearches:
    """Makes searches, and remembers them.

    Args:
        stationary, clusters: see :class:`tilewright.passes.device.tiling.tile_search.TileSearch`.
    """

    def __init__(self, machine: Machine, stationary: Stationary | None = None, clusters: int = 1) -> None:
        self._machine, self._clusters = machine, clusters
        self._stationary: Stationary | None = stationary
        self._searches: dict[Hashable, TileSearch] = {}

    def of(self, op: Op, split: Split | None = None, kept: frozenset[Value] = frozenset()) -> TileSearch:
        """The search for an op."""
        user = fused_user(op)
        over = user is not None and overwritten(user) is not None
        maps = *maps_of_pair(op), *op.inputs
        alike = [(value.type.shape, value.type.quant is None, value in kept) for value in maps]
        key = op.operator, split, type(user and user.operator), over, *alike, *map(is_packed, map_operands(op))
        if key not in self._searches:
            search = TileSearch(op, self._machine, self._stationary, self._clusters, split, kept)
            self._searches[key] = search
        return self._searches[key]
