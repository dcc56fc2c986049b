"""What of weights and parameters stays on chip from the first tile of an op to the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.core import Op, is_op
from ....ir.feature_map import convolution_maps, is_depthwise, is_packed
from ....ir.ops.convolution import Conv
from ....ir.ops.quantization import Requantize
from ....ir.ops.unary import Unary
from ....runtime.isa.vector import RECORD_BYTES, TABLE_BYTES
from ....runtime.machines.machine import CHANNEL_BLOCK
from ..fused_pairs import fused_user
from .convolution_price import parameter_bytes, weight_bytes
from .tile_search import Tile


@dataclass(frozen=True)
class Constants:
    """What an op holds of two scratchpads while its tiles come one after the other, in bytes."""

    weights: int
    parameters: int


def constants_held(op: Op, tile: Tile) -> Constants:
    """The weights and parameters of an op and of what is fused with it: all of them where each is loaded once, else
    those of two tiles."""
    record = RECORD_BYTES if fused_user(op) is not None else 0
    if not is_op(op, Conv):
        return Constants(0, TABLE_BYTES if is_op(op, Unary, Requantize) else RECORD_BYTES)
    source, target = convolution_maps(op)
    depthwise = is_depthwise(op)
    groups = 1 if depthwise else op.operator.group
    inputs, outputs = (-(-shape.channels // (groups * CHANNEL_BLOCK)) for shape in (source, target))
    slices = -(-outputs // tile.output_blocks)
    in_chunks = not depthwise and tile.input_blocks < inputs
    once = slices == 1 or tile.stationary == "weights" or depthwise
    blocks = outputs * groups if once else 2 * tile.output_blocks
    kernels = blocks if not in_chunks else 2 * tile.output_blocks
    chunk = 1 if depthwise else min(tile.input_blocks, inputs)
    weights = weight_bytes(op, np.array(kernels), np.array(chunk), is_packed(op.operands.x))
    return Constants(int(weights), int(parameter_bytes(np.array(blocks))) + record)
