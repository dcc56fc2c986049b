"""Where the map of each op lies, and why it is not on chip where it is not, for reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from ....ir.annotations import MapPlace
from ....ir.core import Op, Value
from ....runtime.machines.machine import Machine
from ..fused_pairs import fused_user
from .chip_places import obstacle
from .kept_maps import holdings, root_of


def explain_kept(
    ops: Sequence[Op], clusters: int, machine: Machine, kept: AbstractSet[Value], taken: Sequence[int]
) -> Iterator[tuple[Op, MapPlace]]:
    """The place of each op's result.

    Args:
        ops: of a function, tiled and split.
        kept: the maps that stay on chip.
        taken: bytes that these take of the maps scratchpad of a cluster while each op runs.
    """
    held = holdings(ops, clusters, kept)
    for op in ops:
        value = op.result
        if value in kept:
            root = root_of(value, kept).whole
            rows = tuple(span[1] if span is not None else 0 for span in held[root].rows)
            yield op, MapPlace("chip", rows, root.name if root is not value else "", "")
        else:
            why = obstacle(value) or _no_room(value, ops, clusters, machine, taken)
            yield op, MapPlace("none" if fused_user(op) is not None else "dram", (), "", why)


def _no_room(value: Value, ops: Sequence[Op], clusters: int, machine: Machine, taken: Sequence[int]) -> str:
    """Why a map that could stay on chip does not."""
    holding = holdings(ops, clusters, {value})[value]
    size = holding.bytes(value)
    fullest = max(range(holding.first, holding.last + 1), key=taken.__getitem__)
    free = machine.maps_bytes - taken[fullest]
    if size > free:
        return f"is too large: it needs {size} bytes of a cluster, and {free} are free at %{ops[fullest].result.name}"
    return f"would cost more on chip: it needs {size} of the {free} bytes that are free for tiles"
