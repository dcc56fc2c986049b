"""Which convolutions are computed by Winograd's algorithm, and with which tiles: `tilewright.ir.layout.Winograd`."""

from __future__ import annotations

from ...ir.core import Constant, Op
from ...ir.layout import CHANNEL_BLOCK, WINDOW, WINOGRAD, bytes_of
from ...ir.ops.convolution import Conv
from ...ir.types import DType

_BYTES_PER_CYCLE = 3
"""Of weights, which come from behind the second level cache: networks have more than a core's share of the third."""

_TRANSFORM = 7 / 3
"""Cycles for each of the n x n vectors that a transform reads or makes of 16 channels of a tile, by n."""

_LEAST_GAIN = 0.9
"""What it may take at most of the time of direct convolution: its rounding error is several times as large."""


def transformed_weights(op: Op[Conv]) -> str | None:
    """The layout of the weights of a convolution for the algorithm of least cost; ``None`` for direct convolution."""
    conv, (x, w, *_) = op.operator, op.inputs
    is_whole = conv.group == 1 and isinstance(w, Constant) and x.type.dtype is DType.F32
    if not is_whole or w.type.shape[2:] != (WINDOW, WINDOW) or {*conv.strides, *conv.dilations} != {1}:
        return None
    (batch, _, *extents), (outputs, channels) = op.result.type.shape, w.type.shape[:2]
    input_blocks, output_blocks = (-(-count // CHANNEL_BLOCK) for count in (channels, outputs))
    products = channels * output_blocks

    def cost(layout: str) -> float:
        """Cycles, where a product of vectors takes one."""
        streamed = bytes_of(w.type.with_layout(layout)) / _BYTES_PER_CYCLE
        algorithm = WINOGRAD.get(layout)
        if algorithm is None:
            return batch * extents[0] * extents[1] * WINDOW**2 * products * _LEAST_GAIN + streamed
        tiles = batch * -(-extents[0] // algorithm.tile) * -(-extents[1] // algorithm.tile)
        positions, n = tiles * algorithm.extent**2, algorithm.extent
        return positions * (products + _TRANSFORM * n * (input_blocks + output_blocks)) + streamed

    best = min(("o16i16", *WINOGRAD), key=cost)
    return best if best in WINOGRAD else None
