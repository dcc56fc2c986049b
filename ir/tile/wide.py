"""Operators on maps of 16 bits, which lie in memory as twice as many channels of 8 bits.

:func:`tilewright.ir.feature_map.in_bytes` says how. Whatever moves maps takes no notice.
"""

from typing import Any

import numpy as np

from tilewright.errors import IRError

from ..feature_map import in_bytes, of_bytes
from ..layout import CHANNEL_BLOCK
from ..op import operator
from .compute import Convolve, ConvolveDepthwise
from .requantization import Requantize
from .types import TILE_OPERATORS, TileType


@operator("tile_requantize_wide", TILE_OPERATORS)
class RequantizeWide(Requantize):
    """As :class:`tilewright.ir.tile.requantization.Requantize`, of maps of 16 bits."""

    BOUNDS = -(2**15), 2**15 - 1

    def result(self, sums: TileType) -> tuple[int, ...]:
        return (*sums.shape[:2], 2 * sums.blocks * CHANNEL_BLOCK)

    def rounded(self, x: np.ndarray, parameters: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
        added = None if residual is None else of_bytes(residual, x.shape[-1])
        return in_bytes(super().rounded(x, parameters, added))


@operator("tile_conv_wide", TILE_OPERATORS)
class ConvolveWide(Convolve):
    """As :class:`Convolve`, of a map of 16 bits, whose integers are taken less 128; ``pad_value`` is the byte of the
    first block of what is read outside."""

    def sums(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return Convolve(**_of_numbers(self)).sums((of_bytes(x) - 128)[..., : w.shape[1]], w)

    def channels(self, x: TileType, w: TileType) -> int:
        _check_channels(x, w.shape[1])
        return w.shape[0]


@operator("tile_depthwise_wide", TILE_OPERATORS)
class ConvolveDepthwiseWide(ConvolveDepthwise):
    """As :class:`ConvolveDepthwise`, of a map of 16 bits as that of :class:`ConvolveWide`; groups are channels."""

    def sums(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return ConvolveDepthwise(**_of_numbers(self)).sums((of_bytes(x) - 128)[..., : len(w)], w)

    def channels(self, x: TileType, w: TileType) -> int:
        _check_channels(x, w.shape[0])
        return w.shape[0]


def _of_numbers(product: ConvolveWide | ConvolveDepthwiseWide) -> dict[str, Any]:
    return {**vars(product), "pad_value": 256 * product.pad_value - 128}


def _check_channels(x: TileType, channels: int) -> None:
    if (blocks := 2 * -(-channels // CHANNEL_BLOCK)) != x.blocks:
        found = f"{x.blocks} blocks of bytes"
        raise IRError(f"the weights are for another map, of {channels} channels", expected=blocks, found=found)
