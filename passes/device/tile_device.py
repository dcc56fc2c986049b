"""Cut the work of each device op into tiles that fit the scratchpads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import get_args

from tilewright.errors import PassError

from ...ir.annotations import CLUSTERS, SPLIT, STATIONARY, TILE, Stationary
from ...ir.core import Function, Module, Op
from ...runtime.machine import Machine, load
from ..base import Pass, Record
from ..invariants import PLACED, Invariant
from .kept_maps import choose_kept
from .outline_device import device_functions, device_ops
from .tile_search import Tile, choose_tile

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
    of its ``inputs`` and streams the weights.

    The tile is the cheapest by the analytic cost of :mod:`tilewright.passes.device.tile_search`. Several clusters
    ``split`` the ``rows`` or the ``channels`` of each result.

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
            tile_function(function, machine, wanted, self.clusters, self.kept_share)
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
    ops = [*function.ops]
    if clusters > 1:
        CLUSTERS.set(function, clusters)
    for op in ops:
        set_tile(op, tile_of(op, machine, wanted, clusters))
    if clusters == 1:
        return
    kept, taken = choose_kept(ops, clusters, int(machine.maps_bytes * kept_share))
    unit = machine.maps_banks * 64
    for op, beside in zip(ops, taken.tolist(), strict=True):
        left = replace(machine, maps_bytes=(machine.maps_bytes - beside) // unit * unit)
        found = choose_tile(op, left, wanted, clusters, split=SPLIT.get(op), kept=kept)
        if isinstance(found, Tile):
            set_tile(op, found)


def set_tile(op: Op, tile: Tile) -> None:
    TILE.set(op, (tile.rows, tile.columns, tile.output_blocks, tile.input_blocks))
    STATIONARY.set(op, tile.stationary)
    if tile.split is not None:
        SPLIT.set(op, tile.split)
