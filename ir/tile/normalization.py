"""Normalisation of a map, or of the sum of two, pixel by pixel, and what it multiplies with."""

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..feature_map import of_bytes
from ..layout import CHANNEL_BLOCK
from ..op import Operator, operator
from ..ops.skip_normalization import Standardization, standardized
from ..types import DType, TensorType
from .requantization import HIGHEST, LOWEST
from .types import TILE_OPERATORS, TileType, placed_map, tile, written


@operator("tile_load_normalization", TILE_OPERATORS)
class LoadNormalization(Operator[tuple[Value, Value, Value, Value]]):
    """Parameters of channels into the parameter scratchpad, as f64 [4, channels]: multipliers of both maps, i16, gain
    and offset, f32.
    ``cluster``: see :class:`tilewright.ir.tile.transfer.LoadWeights`."""

    cluster: int

    def infer(
        self, multiplier: TensorType, skip_multiplier: TensorType, gain: TensorType, offset: TensorType
    ) -> TensorType:
        types = multiplier, skip_multiplier, gain, offset
        expected = [TensorType(multiplier.shape[:1], dtype) for dtype in (DType.I16, DType.I16, DType.F32, DType.F32)]
        if [*types] != expected:
            raise IRError("these are no parameters of a normalisation", expected=expected, found=types)
        return TileType((4, *multiplier.shape), DType.F64, memory="parameters", cluster=self.cluster)

    def reference(
        self, multiplier: np.ndarray, skip_multiplier: np.ndarray, gain: np.ndarray, offset: np.ndarray
    ) -> np.ndarray:
        return np.stack([each.astype(np.float64) for each in (multiplier, skip_multiplier, gain, offset)])


class NormalizeOperands(NamedTuple):
    """A map, what it is multiplied with, the map that is added, if any, and where the result goes."""

    x: Value
    parameters: Value
    skip: Value | None = None
    into: Value | None = None


@operator("tile_normalize", TILE_OPERATORS)
class Normalize(Operator[NormalizeOperands]):
    """Each pixel of a map, or of the sum of two, as :func:`tilewright.ir.ops.skip_normalization.standardized` has it.

    Attributes:
        zero_point, low, high: see :class:`tilewright.ir.tile.requantization.Requantize`.
        source_zero, skip_zero: what is taken off the maps.
        epsilon: added to the sum of squares.
        centred: the mean is taken off.
        wide: the maps have 16 bits.
        group: so many neighbouring channels are normalised with all pixels together; 0: each pixel by itself.
    """

    zero_point: int
    low: int
    high: int
    source_zero: int
    skip_zero: int
    epsilon: float
    centred: bool
    wide: bool = False
    group: int = 0

    def infer(
        self, x: TensorType, parameters: TensorType, skip: TensorType | None, into: TensorType | None
    ) -> TensorType:
        source = tile(x, "maps", "what is normalised")
        lanes = tile(parameters, "parameters", "its parameters", 2, source.cluster)
        channels = lanes.shape[-1]
        read = 2 * -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK if self.wide else channels
        if len(lanes.shape) != 2 or lanes.shape[0] != 4 or source.shape[-1] != read or source.packed:
            raise IRError("every channel has parameters", expected=[4, source.shape[-1]], found=lanes)
        if self.group < 0 or (self.group and channels % self.group):
            raise IRError("groups are of as many channels", expected=f"a multiple of {self.group}", found=channels)
        if not LOWEST <= self.low <= self.high <= HIGHEST:
            raise IRError("the clamp is none", expected="-128 to 127, in order", found=[self.low, self.high])
        if not 0 <= self.epsilon <= float(np.finfo(np.float32).max):
            raise IRError("what is added to the squares is no number", found=self.epsilon)
        if skip is not None:
            added = tile(skip, "maps", "what is added", cluster=source.cluster)
            if added.shape != source.shape or added.packed:
                raise IRError("what is added has another shape", expected=list(source.shape), found=added)
        return placed_map((*source.shape[:-1], channels), source.cluster, into)

    def reference(
        self, x: np.ndarray, parameters: np.ndarray, skip: np.ndarray | None, into: np.ndarray | None
    ) -> np.ndarray:
        def numbers(map: np.ndarray) -> np.ndarray:
            return of_bytes(map, parameters.shape[-1]) if self.wide else map.astype(np.int64)

        multipliers = parameters[:2].astype(np.int64)
        total = (numbers(x) - self.source_zero) * multipliers[0]
        if skip is not None:
            total += (numbers(skip) - self.skip_zero) * multipliers[1]
        group, axes = self.group or total.shape[-1], (0, 1, 3) if self.group else (3,)
        gain, offset = parameters[2:].astype(np.float32).reshape(2, -1, group)
        by, ends = Standardization((), gain, offset, np.float32(self.epsilon)), (self.zero_point, self.low, self.high)
        in_groups = total.reshape(*total.shape[:2], -1, group)
        return written(standardized(in_groups, by, self.centred, *ends, axes).reshape(total.shape), into)
