"""Annotations of an op that say how it is tiled."""

from __future__ import annotations

from ....ir.annotations import SPLIT, STATIONARY, TILE
from ....ir.core import Op
from ..fused_pairs import with_fused
from .tile_search import Tile


def set_tile(op: Op, tile: Tile) -> None:
    """Annotate an op, and that which is fused with it, with a tile."""
    for each in with_fused(op):
        TILE.set(each, (tile.rows, tile.columns, tile.output_blocks, tile.input_blocks))
        STATIONARY.set(each, tile.stationary)
        if tile.split is not None:
            SPLIT.set(each, tile.split)
