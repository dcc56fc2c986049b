"""Operators of attention: a map as weights, weights of keys from their scores, and means by these weights."""

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from .. import arithmetic
from ..core import Value
from ..layout import CHANNEL_BLOCK, in_whole_blocks
from ..op import Operator, UnaryOperands, operator
from ..types import DType, TensorType
from .requantization import HIGHEST, LOWEST, Requantize
from .types import TILE_OPERATORS, TileType, placed_map, tile, written


@operator("tile_map_as_weights", TILE_OPERATORS)
class MapAsWeights(Operator[UnaryOperands]):
    """The pixels of a map, in raster order, as weights of a product with another map.
    ``turned``: a pixel makes an output channel, [pixels, channels, 1, 1]; otherwise it is what an input channel
    contributes, [channels, pixels, 1, 1], with pixels of zeros that fill the last block."""

    turned: bool

    def infer(self, x: TensorType) -> TensorType:
        source = tile(x, "maps", "what is multiplied by")
        rows, columns, channels = source.shape
        if (channels % CHANNEL_BLOCK and not self.turned) or source.packed or source.ring:
            raise IRError("only maps of whole blocks of channels become weights", expected=CHANNEL_BLOCK, found=source)
        pixels = rows * columns
        shape = (pixels, channels) if self.turned else (channels, in_whole_blocks(pixels))
        return TileType((*shape, 1, 1), DType.I8, memory="weights", cluster=source.cluster)

    def reference(self, x: np.ndarray) -> np.ndarray:
        pixels = x.reshape(-1, x.shape[-1])
        if self.turned:
            return pixels[:, :, None, None].copy()
        filled = np.zeros((in_whole_blocks(len(pixels)), x.shape[-1]), np.int8)
        filled[: len(pixels)] = pixels
        return filled.T[:, :, None, None].copy()


@operator("tile_weigh", TILE_OPERATORS)
class Weigh(Operator[tuple[Value, Value | None]]):
    """Scores, [rows, columns, keys], as weights: ``arithmetic.attention_weights`` along the keys, or
    ``arithmetic.share_weights``, then zeros up to a whole block, then a block that begins with the sum of the weights
    as int32, little-endian, and is zero otherwise.

    Attributes:
        multiplier, mask_multiplier, shift: of scores and mask.
        mask_zero: zero point of the mask.
        causal: row y sees the keys up to ``first + y`` alone.
        first: see causal.
        shares: see above; there is no mask then, and no multiplier.
    """

    multiplier: int
    mask_multiplier: int
    shift: int
    mask_zero: int
    causal: bool
    first: int
    shares: bool = False

    def infer(self, x: TensorType, mask: TensorType | None) -> TensorType:
        source = tile(x, "accumulators", "what is weighed")
        rows, columns, keys = source.shape
        if mask is not None:
            added = tile(mask, "maps", "the mask", cluster=source.cluster)
            if added.shape not in ((rows, columns, keys), (1, columns, keys)):
                raise IRError("the mask has another shape", expected=list(source.shape), found=added)
        return placed_map((rows, columns, in_whole_blocks(keys) + CHANNEL_BLOCK), source.cluster, None)

    def reference(self, x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        rows, columns, keys = x.shape
        seen, added = np.ones((1, 1, keys), np.bool_), np.zeros((1, 1, 1), np.int64)
        if self.causal:
            seen = (np.arange(keys) <= self.first + np.arange(rows)[:, None])[:, None]
        if mask is not None:
            seen, added = seen & (mask != LOWEST), mask.astype(np.int64) - self.mask_zero
        multipliers = self.multiplier, self.mask_multiplier, self.shift
        if self.shares:
            weights = arithmetic.share_weights(x, seen)
        else:
            weights = arithmetic.attention_weights(x, multipliers, added, seen)
        result = np.zeros((rows, columns, in_whole_blocks(keys) + CHANNEL_BLOCK), np.int8)
        result[..., :keys] = weights
        total = weights.sum(-1, keepdims=True).astype("<i4")
        result[..., in_whole_blocks(keys) : in_whole_blocks(keys) + 4] = total.view(np.int8)
        return result


class MeanOperands(NamedTuple):
    """Sums of weighted values, bias and multipliers, the block with the sum of the weights, and where the result
    goes."""

    x: Value
    parameters: Value
    weights: Value
    into: Value | None = None


@operator("tile_requantize_mean", TILE_OPERATORS)
class RequantizeMean(Operator[MeanOperands]):
    """Accumulators as a map: ``arithmetic.weighted_mean`` of the sum with the bias.
    ``zero_point``, ``low``, ``high``: see :class:`tilewright.ir.tile.requantization.Requantize`."""

    zero_point: int
    low: int
    high: int

    def infer(self, x: TensorType, parameters: TensorType, weights: TensorType, into: TensorType | None) -> TensorType:
        result = Requantize(self.zero_point, self.low, self.high).infer(x, parameters, None, into)
        source = tile(x, "accumulators", "what is requantised")
        block = tile(weights, "maps", "the sum of the weights", cluster=source.cluster)
        if block.shape != (*x.shape[:2], CHANNEL_BLOCK):
            raise IRError("every pixel has a sum of weights", expected=[*x.shape[:2], CHANNEL_BLOCK], found=block)
        return result

    def reference(
        self, x: np.ndarray, parameters: np.ndarray, weights: np.ndarray, into: np.ndarray | None
    ) -> np.ndarray:
        bias, multiplier = parameters[0].astype(np.int32), parameters[1].astype(np.float32)
        total = np.ascontiguousarray(weights[..., :4]).view("<i4")
        bounds = max(self.low, LOWEST), min(self.high, HIGHEST)
        return written(arithmetic.weighted_mean(x + bias, total, multiplier, self.zero_point, *bounds), into)
