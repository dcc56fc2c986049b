"""Operators on maps of 16 bits, which lie in memory as twice as many channels of 8 bits.

:func:`tilewright.ir.feature_map.in_bytes` says how. Whatever moves maps takes no notice.
"""

from typing import Any, NamedTuple

import numpy as np

from tilewright.errors import IRError

from .. import arithmetic
from ..core import Value
from ..feature_map import in_bytes, of_bytes
from ..layout import CHANNEL_BLOCK
from ..op import Operator, operator
from ..types import TensorType
from .compute import Convolve, ConvolveDepthwise
from .requantization import Requantize
from .types import TILE_OPERATORS, TileType, placed_map, tile, written

LOWEST, HIGHEST = -(2**15), 2**15 - 1


class RequantizeWideOperands(NamedTuple):
    """Accumulators, bias and multipliers, the map that is added, if any, and where the result goes."""

    x: Value
    parameters: Value
    residual: Value | None = None
    into: Value | None = None


@operator("tile_requantize_wide", TILE_OPERATORS)
class RequantizeWide(Operator[RequantizeWideOperands]):
    """Accumulators, alone or with a map of 16 bits, as a map of 16 bits.

    Attributes:
        zero_point, low, high, residual_zero, residual_factor, slope: as of
            :class:`tilewright.ir.tile.requantization.RequantizeSum`, within 16 bits.
    """

    zero_point: int
    low: int
    high: int
    residual_zero: int = 0
    residual_factor: float = 0.0
    slope: float = 1.0

    def infer(
        self, x: TensorType, parameters: TensorType, residual: TensorType | None, into: TensorType | None
    ) -> TensorType:
        sums = Requantize(0, 0, 0, self.slope).infer(x, parameters, None)
        assert isinstance(sums, TileType)
        shape = (*x.shape[:2], 2 * sums.blocks * CHANNEL_BLOCK)
        if not LOWEST <= self.low <= self.high <= HIGHEST:
            raise IRError("the clamp is none", expected="-32768 to 32767, in order", found=[self.low, self.high])
        if residual is not None:
            added = tile(residual, "maps", "what is added", cluster=sums.cluster)
            if added.shape != shape:
                raise IRError("what is added has another shape than the result", expected=list(shape), found=added)
        if not 0 <= self.residual_factor <= arithmetic.RESIDUAL_FACTOR_LIMIT:
            expected = f"0 to {arithmetic.RESIDUAL_FACTOR_LIMIT:.0f}"
            raise IRError("the factor of what is added is none", expected=expected, found=self.residual_factor)
        return placed_map(shape, sums.cluster, into)

    def reference(
        self, x: np.ndarray, parameters: np.ndarray, residual: np.ndarray | None, into: np.ndarray | None
    ) -> np.ndarray:
        total, multiplier = x + parameters[0].astype(np.int32), parameters[1].astype(np.float32)
        added = None
        if residual is not None:
            added = of_bytes(residual, x.shape[-1]), self.residual_zero, np.float32(self.residual_factor)
        alone = Requantize(self.zero_point, self.low, self.high, self.slope)
        return written(in_bytes(alone.rounded(total, multiplier, added)), into)


@operator("tile_conv_wide", TILE_OPERATORS)
class ConvolveWide(Convolve):
    """As :class:`Convolve`, of a map of 16 bits, whose integers are taken less 128; ``pad_value`` is the byte of the
    first block of what is read outside.
    """

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
