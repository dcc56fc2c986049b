"""The tile searches of a function, one for all ops that are alike; and what follows of a tile: annotations, and the
constants that stay on chip from the first tile of an op to the last.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields

import numpy as np

from tilewright.immutable import Immutable

from ....ir.annotations import SPLIT, STATIONARY, TILE, Split, Stationary
from ....ir.core import Op, Value
from ....ir.feature_map import convolution_maps, is_block_by_block, is_packed, is_product
from ....runtime.isa.vector import RECORD_BYTES
from ....runtime.machines.machine import Machine
from ...placement.device_support import map_operands
from ..channel_blocks import blocks_read, reads_key, slice_reads
from ..fused_pairs import fused_user, is_made_by_rows, made_by, other_operand, overwritten, with_fused
from .candidates import Tile
from .convolution_price import ConvolutionPrice, image_waited, parameter_bytes, weight_bytes
from .tile_search import TileSearch, pointwise_parameter_bytes


def maps_of_pair(op: Op) -> list[Value]:
    """The maps that an op reads and makes, together with the one that is fused with it."""
    other = other_operand(op)
    return [*dict.fromkeys((*map_operands(op), *([other] if other is not None else []))), made_by(op)]


@dataclass
class Known:
    """Searches of ops, and of those that are alike but for the maps that stay on chip what convolutions cost."""

    searches: dict[Hashable, TileSearch] = field(default_factory=dict[Hashable, TileSearch])
    convolutions: dict[Hashable, dict[Split | None, ConvolutionPrice]] = field(
        default_factory=dict[Hashable, dict[Split | None, ConvolutionPrice]]
    )


_REMEMBERED = 4
"""Machines, or numbers of clusters, whose searches are remembered."""


_SHARED: ContextVar[dict[Hashable, Known]] = ContextVar("shared searches")
"""What is known by what searches have in common, that of the last used machines last."""


@contextmanager
def shared_searches() -> Iterator[None]:
    """What one pass finds inside, all others know."""
    token = _SHARED.set(_SHARED.get({}))
    try:
        yield
    finally:
        _SHARED.reset(token)


class TileSearches:
    """Makes searches, and remembers them, for all functions and machines alike inside `shared_searches`.
    ``stationary``, ``clusters``: see :class:`tilewright.passes.device.tiling.tile_search.TileSearch`.
    ``images``: of the function, see :data:`tilewright.ir.annotations.IMAGES`."""

    def __init__(
        self,
        machine: Machine,
        stationary: Stationary | None = None,
        clusters: int = 1,
        images: tuple[int, int] | None = None,
    ) -> None:
        self._machine, self._clusters = machine, clusters
        self._stationary: Stationary | None = stationary
        # What depends on the size of this scratchpad is asked of a search later.
        others = (getattr(machine, each.name) for each in fields(machine) if each.name != "maps_bytes")
        known, alike = _SHARED.get({}), (*others, stationary, clusters, images)
        self._known = known[alike] = known.pop(alike, Known())
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]

    def of(
        self, op: Op, split: Split | None = None, kept: frozenset[Value] = frozenset(), packed: bool | None = None
    ) -> TileSearch:
        """The search for an op; arguments as of :class:`tilewright.passes.device.tiling.tile_search.TileSearch`."""
        user, last = fused_user(op), made_by(op).producer
        over = last is not None and overwritten(last) is not None
        maps = *maps_of_pair(op), *op.inputs
        alike = (
            op.operator,
            type(user and user.operator),
            op.result.type.dtype,
            over,
            is_made_by_rows(op.inputs[0]),
            image_waited(op, self._machine, self._clusters),
            reads_key(op),
            *((value.type.shape, value.type.dtype, value.type.quant is None) for value in maps),
            is_packed(op.inputs[0]) if packed is None else packed,
            *map(is_packed, map_operands(op)[1:]),
        )
        key = alike, split, *(value in kept for value in maps)
        if key not in self._known.searches:
            prices = self._known.convolutions.setdefault(alike, {})
            self._known.searches[key] = TileSearch(
                op, self._machine, self._stationary, self._clusters, split, kept, packed, prices
            )
        return self._known.searches[key]


def set_tile(op: Op, tile: Tile) -> None:
    """Annotate an op, and that which is fused with it, with a tile."""
    for each in with_fused(op):
        TILE.set(each, (tile.rows, tile.columns, tile.output_blocks, tile.input_blocks))
        STATIONARY.set(each, tile.stationary)
        if tile.split is not None:
            SPLIT.set(each, tile.split)


class Constants(Immutable):
    """What an op holds of two scratchpads while its tiles come one after the other, in bytes."""

    weights: int
    parameters: int


def constants_held(op: Op, tile: Tile) -> Constants:
    """The weights and parameters of an op and of what is fused with it: all of them where each is loaded once, else
    those of two tiles."""
    record = RECORD_BYTES if fused_user(op) is not None else 0
    if not is_product(op):
        return Constants(0, pointwise_parameter_bytes(op))
    source, target = convolution_maps(op)
    depthwise = is_block_by_block(op)
    inputs, outputs = source.blocks, target.blocks
    slices = -(-outputs // tile.output_blocks)
    in_chunks = not depthwise and tile.input_blocks < inputs
    once = slices == 1 or tile.stationary == "weights" or depthwise
    blocks = outputs if once else 2 * tile.output_blocks
    kernels = blocks if not in_chunks else 2 * tile.output_blocks
    chunk, reads = 1 if depthwise else min(tile.input_blocks, inputs), blocks_read(op)
    if reads is not None:
        chunk = min(chunk, int(slice_reads(reads, outputs, np.array(tile.output_blocks)).most))
    weights = weight_bytes(op, np.array(kernels), np.array(chunk), is_packed(op.inputs[0]))
    return Constants(int(weights), int(parameter_bytes(op, np.array(blocks))) + record)
