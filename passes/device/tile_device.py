"""Cut the work of each device op into tiles that fit the scratchpads."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.errors import PassError

from ...ir.annotations import STATIONARY, TILE
from ...ir.core import Module, Op
from ...runtime.machine import Machine, load
from ..base import Pass, Record
from ..invariants import PLACED, Invariant
from .outline_device import device_ops
from .tile_search import Tile, choose_tile

TILED = Invariant(
    "tiled: every op of a device function has a tile",
    lambda module: next((op for op in device_ops(module) if not TILE.is_at(op)), None),
)


@dataclass(frozen=True)
class TileDevice(Pass):
    """Annotates each op of a device function with ``tile=[rows, columns, output blocks, input blocks]`` of its result
    and with what is ``stationary``: a convolution keeps a block of ``weights`` and streams the map, or a tile
    of its ``inputs`` and streams the weights.

    The tile is the cheapest by the analytic cost of :mod:`tilewright.passes.device.tile_search`.

    Attributes:
        machine: name of a sample machine, or path of a machine file.
    """

    requires = (PLACED,)
    ensures = (TILED,)

    machine: str

    def apply(self, module: Module, record: Record) -> bool:
        machine = load(self.machine)
        for op in device_ops(module):
            set_tile(op, tile_of(op, machine))
            record.counts[op.name] += 1
        return bool(record.counts)


def tile_of(op: Op, machine: Machine) -> Tile:
    """The cheapest tile of an op.

    Raises:
        PassError: not even the smallest tile fits; names the tensor, what it needs and what there is.
    """
    found = choose_tile(op, machine)
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


def set_tile(op: Op, tile: Tile) -> None:
    TILE.set(op, (tile.rows, tile.columns, tile.output_blocks, tile.input_blocks))
    STATIONARY.set(op, tile.stationary)
