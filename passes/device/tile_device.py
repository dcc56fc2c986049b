"""Cut the work of each device op into tiles that fit the scratchpads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from tilewright.errors import PassError

from ...ir.annotations import CLUSTERS, FUSED, PLAN, SPLIT, STATIONARY, TILE, Plan, Stationary
from ...ir.core import Function, Module, Op
from ...runtime.machine import Machine, load
from ..base import Pass, Record
from ..invariants import PLACED, Invariant
from .fused_pairs import fused_convolution, fused_user, pairs_brought_together
from .kept_maps import choose_kept
from .outline_device import device_functions, device_ops
from .planned_machine import planned_machine
from .tile_search import Misfit, Tile, choose_tile, priced_tile

TILED = Invariant(
    "tiled: every op of a device function has a tile",
    lambda module: next((op for op in device_ops(module) if not TILE.is_at(op)), None),
)


CHEAPEST = "cheapest"

KEPT_SHARE = 0.75
"""Leaves room for the tiles of maps that come from DRAM."""

ORDERS: dict[str, Stationary | None] = {CHEAPEST: None, **{order: order for order in get_args(Stationary)}}
"""What a convolution keeps in the scratchpads, by the name that options have for it."""


@dataclass(frozen=True)
class TileDevice(Pass):
    """Annotates each op of a device function with ``tile=[rows, columns, output blocks, input blocks]`` of its result
    and with what is ``stationary``: a convolution keeps a block of ``weights`` and streams the map, or a tile
    of its ``inputs`` and streams the weights. A convolution may be ``fused`` with the element-wise op that reads its
    result, see :mod:`tilewright.passes.device.fused_pairs`: both have one tile, and stand one behind the other.

    The tile is the cheapest by the analytic cost of :mod:`tilewright.passes.device.tile_search`. Several clusters
    ``split`` the ``rows`` or the ``channels`` of each result. A function that has a ``plan`` is tiled for that.

    Attributes:
        machine: name of a sample machine, or path of a machine file.
        clusters: how many of the machine's clusters work on an image. Several keep maps on chip, too.
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
        if not 1 <= self.clusters <= machine.clusters:
            raise PassError(
                f"machine {machine.name!r} does not have so many clusters",
                expected=f"1 to {machine.clusters}",
                found=self.clusters,
            )
        for function in device_functions(module):
            plan = PLAN.get(function) or Plan(self.clusters, self.kept_share)
            tile_function(function, planned_machine(function, machine), wanted, plan.clusters, plan.kept_share)
            record.counts += Counter(op.name for op in function.ops)
        return bool(record.counts)


def tile_of(op: Op, machine: Machine, stationary: Stationary | None = None, clusters: int = 1) -> Tile:
    """The cheapest tile of an op, as `choose_tile`.

    Raises:
        PassError: not even the smallest tile fits; names the tensor, what it needs and what there is.
    """
    found = choose_tile(op, machine, stationary, clusters)
    if isinstance(found, Tile):
        return found
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
    wanted: Stationary | None = None,
    clusters: int = 1,
    kept_share: float = KEPT_SHARE,
) -> None:
    """Annotate the ops of a device function with their tiles, and the maps that stay on chip; see `TileDevice`.

    Raises:
        PassError: as `tile_of`.
    """
    if clusters > 1:
        CLUSTERS.set(function, clusters)
    for conv, user in pairs_brought_together(function):
        _fuse_if_cheaper(conv, user, machine, wanted, clusters)
    ops = [*function.ops]
    for op in ops:
        if fused_convolution(op) is None:
            set_tile(op, tile_of(op, machine, wanted, clusters))
    if clusters == 1:
        return
    kept, taken = choose_kept(ops, clusters, int(machine.maps_bytes * kept_share))
    unit = machine.maps_banks * 64
    for op, beside in zip(ops, taken.tolist(), strict=True):
        if fused_convolution(op) is not None:
            continue
        left = replace(machine, maps_bytes=(machine.maps_bytes - beside) // unit * unit)
        found = choose_tile(op, left, wanted, clusters, split=SPLIT.get(op), kept=kept)
        if isinstance(found, Tile):
            set_tile(op, found)


def _fuse_if_cheaper(conv: Op, user: Op, machine: Machine, wanted: Stationary | None, clusters: int) -> None:
    """Compute an op with each tile of the convolution that it reads, if that costs less than one after the other."""
    first, second = (priced_tile(op, machine, wanted, clusters) for op in (conv, user))
    FUSED.set(conv, True)
    both = priced_tile(conv, machine, wanted, clusters)
    prices = [each[0] if not isinstance(each, Misfit) else np.inf for each in (first, second, both)]
    if prices[2] >= prices[0] + prices[1]:
        del conv.annotations[FUSED.key]


def set_tile(op: Op, tile: Tile) -> None:
    """Annotate an op, and that which is fused with it, with a tile."""
    user = fused_user(op)
    for each in (op, user) if user is not None else (op,):
        TILE.set(each, (tile.rows, tile.columns, tile.output_blocks, tile.input_blocks))
        STATIONARY.set(each, tile.stationary)
        if tile.split is not None:
            SPLIT.set(each, tile.split)
