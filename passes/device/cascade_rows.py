"""Compute the ops of cascades in turn, stripe of rows by stripe of rows."""

from __future__ import annotations

from ...ir.annotations import CASCADE
from ...ir.core import Function, Module
from ..base import Pass, Record
from .cascades.interleave import in_ring, interleave
from .lower_to_tiles import LOWERED
from .order_tiles import rearrange
from .outline_device import device_functions


class CascadeRows(Pass):
    """Puts the tile ops of each ``cascade`` into the order of its stripes: an op makes the next rows of its result when
    the op behind it lacks them. Of a map on chip that only one cascade touches, just the rows that are still needed
    stay there, in a ring.

    Results do not change: an op follows all those that touch what it touches, as before.
    """

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
