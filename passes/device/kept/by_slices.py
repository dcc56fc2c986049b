"""What is computed element by element on chip, cut as what it reads is made.

A convolution that keeps weights makes all pixels of some channels, then those of the next. A tile of rows with all
channels waits for the last of these, and the array, which has nothing to do by then, for the vector unit. Tiles of the
same channels are computed while the next ones are multiplied.
"""

import numpy as np

from ....ir.annotations import SPLIT, STATIONARY
from ....ir.core import Op, Value, is_op
from ....ir.feature_map import computed_map, convolution_maps, is_block_by_block, is_product, window_of
from ....ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ....ir.ops.quantization import Requantize
from ....ir.ops.unary import Unary
from ....runtime.machines.machine import OUTPUT_COLUMNS_LIMIT, OUTPUT_ROWS_LIMIT
from ..boxes import blocks_made, tile_annotation
from ..fused_pairs import fused_convolution
from ..tiling.candidates import Tile
from ..tiling.tile_price import Share, rows_read
from ..tiling.tile_searches import set_tile
from .choose_kept import Chosen, KeptMaps

BY_ELEMENT = (Unary, Requantize, Add, Sub, Mul, Max, Min)


def follow_slices(maps: KeptMaps, chosen: Chosen) -> None:
    """Give ops of the vector unit between maps on chip the slices of channels that what they read last is made in.
    ``maps``: of a function whose ops are annotated with the tiles of ``chosen``."""
    slices: dict[Value, int] = {}
    places = {op.result: place for place, op in enumerate(maps.ops)}
    for op in maps.ops:
        if is_product(op):
            _, target = convolution_maps(op)
            rows, columns, blocks, _ = tile_annotation(op)
            is_whole = rows >= target.height and columns >= target.width
            is_sliced = is_whole or is_block_by_block(op) or STATIONARY.get(op) == "weights"
            if is_sliced and blocks < target.blocks:
                slices[op.result] = blocks
        elif is_op(op, *BY_ELEMENT) and {op.result, *op.inputs} <= chosen.kept and fused_convolution(op) is None:
            last = max(op.inputs, key=places.__getitem__)
            blocks = slices.get(last, 0)
            if blocks and _can_follow(op, last, blocks, maps.clusters):
                slices[op.result] = blocks


def _can_follow(op: Op, last: Value, blocks: int, clusters: int) -> bool:
    """Gives an op slices of so many blocks if what reads it begins no later than with rows; whether it has them."""
    target, split, maker = computed_map(op), SPLIT.get(op), last.producer
    _, height, width = Share(clusters, split).pixels(target)
    is_alike = last.type.shape == op.result.type.shape and maker is not None and SPLIT.get(maker) == split
    within = height <= OUTPUT_ROWS_LIMIT and width <= OUTPUT_COLUMNS_LIMIT and blocks % blocks_made(op) == 0
    if not is_alike or not within or any(map(_begins_with_rows, op.result.users)):
        return False
    set_tile(op, Tile(height, width, blocks, blocks, STATIONARY.get(op) or "inputs", split))
    return True


def _begins_with_rows(user: Op) -> bool:
    """Whether a product of all channels has a first tile that needs some of the rows alone."""
    if not is_product(user) or is_block_by_block(user):
        return False
    source, _ = convolution_maps(user)
    return int(rows_read(window_of(user), 0, np.array(tile_annotation(user)[0]), source.height)) < source.height
