"""Operators that compute: products of maps and weights into accumulators, and what the vector unit makes of maps.

The references state the meaning of the instructions in :mod:`tilewright.runtime.isa`, written for the reader.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from tilewright.errors import IRError

from .. import arithmetic, interpolation
from ..core import OperandsT_co, Value
from ..feature_map import in_bytes, of_bytes
from ..layout import CHANNEL_BLOCK
from ..op import Operator, operator
from ..types import DType, TensorType
from .requantization import HIGHEST, LOWEST
from .transfer import RECORD_WORDS
from .types import TILE_OPERATORS, MapOperands, TileType, placed_map, tile, written

Pair = tuple[int, int]

CombinationKind = Literal["add", "multiply", "maximum", "minimum", "wide_multiply"]

PoolingKind = Literal["maximum", "average", "sum", "wide_maximum"]


def axis_taps(count: int, taps: int, stride: int, dilation: int, origin: int, extent: int) -> Iterator[np.ndarray]:
    """For each tap of ``count`` windows along an axis the row or column that it reads in each; -1 outside."""
    for tap in range(taps):
        at = np.arange(count) * stride + tap * dilation + origin
        yield np.where((at >= 0) & (at < extent), at, -1)


class ConvolutionOperands(NamedTuple):
    """Map, weights, and accumulators to add to."""

    x: Value
    w: Value
    into: Value | None = None


class DepthwiseOperands(NamedTuple):
    """Map and weights."""

    x: Value
    w: Value


class Product(Operator[OperandsT_co]):
    """Base: sums of products of a map and weights in int32, which wraps.

    Attributes:
        output: rows and columns of the result.
        stride, dilation: rows, then columns.
        origin: row and column of x, possibly outside, that the first tap of the first window reads.
        pad_value: what is read outside.
        weight_zero: zero point of the weights.
    """

    output: Pair
    stride: Pair
    dilation: Pair
    origin: Pair
    pad_value: int
    weight_zero: int

    def channels(self, x: TileType, w: TileType) -> int:
        """Of the result. Raises IRError: the weights are not for such a map."""
        raise NotImplementedError(type(self).__name__)

    def place_of_sums(self, x: TensorType, w: TensorType) -> TileType:
        """The type of the result.
        Raises IRError: what is convolved, or by what, is none of that, or a size is not positive."""
        source = tile(x, "maps", "what is convolved")
        weights = tile(w, "weights", "what it is multiplied by", 4, source.cluster)
        if min(*self.output, *self.stride, *self.dilation) < 1:
            raise IRError("sizes, strides and dilations are positive", found=self)
        shape = (*self.output, self.channels(source, weights))
        return TileType(shape, DType.I32, memory="accumulators", cluster=source.cluster)

    def taps(self, x: np.ndarray, kernel: Pair) -> Iterator[tuple[int, int, np.ndarray]]:
        """Row and column of each tap, and what it reads in each window: int64 [rows, columns, channels]."""
        geometry = zip(self.output, kernel, self.stride, self.dilation, self.origin, x.shape[:2], strict=True)
        rows, columns = (list(axis_taps(*axis)) for axis in geometry)
        for ky, down in enumerate(rows):
            for kx, across in enumerate(columns):
                outside = (down < 0)[:, None] | (across < 0)[None, :]
                read = x[down[:, None], across[None, :]].astype(np.int64)
                yield ky, kx, np.where(outside[:, :, None], self.pad_value, read)

    def sums(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """The result, int32 [rows, columns, channels], where nothing is added to."""
        return self.total(x, w.astype(np.int64) - self.weight_zero).astype(np.int32)  # wraps around

    def total(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Sums in int64."""
        raise NotImplementedError(type(self).__name__)


@operator("tile_conv", TILE_OPERATORS)
class Convolve(Product[ConvolutionOperands]):
    """Every output channel from all input channels.
    ``part``: of a block of outputs those that are computed, the first and how many, (0, 0) for all: no lane is taken
    for the others, to which 0 is added. The first is a multiple of 4."""

    part: Pair = (0, 0)

    def infer(self, x: TensorType, w: TensorType, into: TensorType | None) -> TensorType:
        result = self.place_of_sums(x, w)
        first, count = self.part
        if self.part != (0, 0) and (first % 4 or not 0 <= first < first + count <= CHANNEL_BLOCK >= w.shape[0]):
            raise IRError("'part' is none of one block of outputs, from a multiple of 4", found=self.part)
        if into is not None and into != result:
            raise IRError("other accumulators are added to", expected=result, found=into)
        return result

    def reference(self, x: np.ndarray, w: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        result = self.sums(x, w)
        if self.part[1]:
            first, count = self.part
            result[..., :first] = result[..., first + count :] = 0
        if into is None:
            return result
        into[...] = (result.astype(np.int64) + into).astype(np.int32)
        return into

    def channels(self, x: TileType, w: TileType) -> int:
        if w.shape[1] != x.shape[2]:
            raise IRError("the weights are for another number of channels", expected=x.shape[2], found=w)
        return w.shape[0]

    def total(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        result = np.zeros((*self.output, len(w)), np.int64)
        for ky, kx, read in self.taps(x, w.shape[2:]):
            result += read @ w[:, :, ky, kx].T
        return result


@operator("tile_depthwise", TILE_OPERATORS)
class ConvolveDepthwise(Product[DepthwiseOperands]):
    """Every channel, or every group of channels, with its own kernel: weights [channels, channels of a group, …]."""

    def infer(self, x: TensorType, w: TensorType) -> TensorType:
        return self.place_of_sums(x, w)

    def reference(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return self.sums(x, w)

    def channels(self, x: TileType, w: TileType) -> int:
        if w.shape[0] != x.shape[2] or x.shape[2] % w.shape[1] or CHANNEL_BLOCK % w.shape[1]:
            raise IRError(
                "the weights are for another number of channels",
                expected=f"[{x.shape[2]}, channels of a group, …]",
                found=w,
            )
        return w.shape[0]

    def total(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        outputs, group = w.shape[:2]
        kernels = w.reshape(outputs // group, group, group, *w.shape[2:])
        result = np.zeros((*self.output, outputs // group, group), np.int64)
        for ky, kx, read in self.taps(x, w.shape[2:]):
            of_groups = read.reshape(*self.output, outputs // group, group)
            result += np.einsum("...gi,goi->...go", of_groups, kernels[..., ky, kx])
        return result.reshape(*self.output, outputs)


class RecordOperands(NamedTuple):
    """A map, the numbers of a record, and where the result goes."""

    x: Value
    record: Value | None = None
    into: Value | None = None


def read_record(record: np.ndarray) -> dict[str, Any]:
    """The numbers of a record by name: integers, and binary32 for scales and the multiplier."""
    named = dict(zip(RECORD_WORDS, record.tolist(), strict=True))
    return {
        name: np.float32(value) if name in ("scale_a", "scale_output", "multiplier") else int(value)
        for name, value in named.items()
    }


@operator("tile_pool", TILE_OPERATORS)
class Pool(Operator[RecordOperands]):
    """Windows of a map, each channel reduced to one element; taps outside the map do not count.

    Attributes:
        kind: ``maximum`` | ``average``, ``arithmetic.average`` | ``sum``, requantised | ``wide_maximum``, of a map of
            16 bits.
        output, kernel, stride, origin: see :class:`Product`.
        include_pad: an average is divided by the size of the kernel, not by the taps inside the map.
    """

    kind: PoolingKind
    output: Pair
    kernel: Pair
    stride: Pair
    origin: Pair
    include_pad: bool

    def infer(self, x: TensorType, record: TensorType | None, into: TensorType | None) -> TensorType:
        source = tile(x, "maps", "what is pooled")
        if (record is None) != (self.kind in ("maximum", "wide_maximum")):
            raise IRError("a maximum takes no record, a mean takes one", expected=self.kind, found=record)
        if record is not None:
            tile(record, "parameters", "its record", 1, source.cluster)
        if min(*self.output, *self.kernel, *self.stride) < 1:
            raise IRError("sizes and strides are positive", found=self)
        for count, taps, stride, origin, extent in zip(
            self.output, self.kernel, self.stride, self.origin, source.shape[:2], strict=True
        ):
            if origin + taps <= 0 or origin + (count - 1) * stride >= extent:
                raise IRError("a window lies outside the map", expected=f"within 0 to {extent}", found=origin)
        return placed_map((*self.output, source.shape[-1]), source.cluster, into)

    def _taps(self, x: np.ndarray) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], np.ndarray]]:
        """For each tap the windows in which it lies in the map, and what they hold there."""
        geometry = zip(self.output, self.kernel, self.stride, (1, 1), self.origin, x.shape[:2], strict=True)
        downward, sideways = (list(axis_taps(*axis)) for axis in geometry)
        for down in downward:
            for across in sideways:
                rows, columns = np.flatnonzero(down >= 0), np.flatnonzero(across >= 0)
                yield (rows[:, None], columns[None, :]), x[np.ix_(down[rows], across[columns])]

    def reference(self, x: np.ndarray, record: np.ndarray | None, into: np.ndarray | None) -> np.ndarray:
        if record is None:
            is_wide = self.kind == "wide_maximum"
            numbers = of_bytes(x) if is_wide else x
            result = np.full((*self.output, numbers.shape[-1]), np.iinfo(np.int16).min, np.int64)
            for windows, element in self._taps(numbers):
                result[windows] = np.maximum(result[windows], element)
            return written(in_bytes(result) if is_wide else result, into)
        shape = (*self.output, x.shape[-1])
        words = read_record(record)
        offset = words["offset"]
        if self.kind == "sum":
            total = np.zeros(shape, np.int64)
            for windows, element in self._taps(x):
                total[windows] += element.astype(np.int64) - words["zero_a"]
            zero = words["zero_output"] + offset
            return written(arithmetic.requantize(total, words["multiplier"], zero, LOWEST, HIGHEST), into)
        counts = np.zeros(shape, np.int64)
        for windows, element in self._taps(x):
            counts[windows] += np.ones_like(element)
        size = self.kernel[0] * self.kernel[1] if self.include_pad else counts
        scales, zeros = (words["scale_a"], words["scale_output"]), (words["zero_a"], words["zero_output"])
        low, high = LOWEST - offset, HIGHEST - offset
        return written(arithmetic.average(self._taps(x), shape, size, scales, zeros, low, high) + offset, into)


class CombineOperands(NamedTuple):
    """Two maps, the numbers of a record, and where the result goes; it may be one of the maps."""

    a: Value
    b: Value
    record: Value
    into: Value | None = None


@operator("tile_combine", TILE_OPERATORS)
class Combine(Operator[CombineOperands]):
    """Two maps element by element. Where one of them has one row or column, that is repeated.
    ``kind``: ``add``, ``arithmetic.add`` | ``multiply``, ``arithmetic.multiply`` | ``maximum`` | ``minimum`` |
    ``wide_multiply``, of maps of 16 bits."""

    kind: CombinationKind
    low: int
    high: int

    def infer(self, a: TensorType, b: TensorType, record: TensorType, into: TensorType | None) -> TensorType:
        first = tile(a, "maps", "the first map")
        second = tile(b, "maps", "the second map", cluster=first.cluster)
        tile(record, "parameters", "its record", 1, first.cluster)
        extents = list(zip(first.shape[:2], second.shape[:2], strict=True))
        if any(x != y and 1 not in (x, y) for x, y in extents) or first.shape[2] != second.shape[2]:
            raise IRError("the second map has another shape", expected=first, found=second)
        return placed_map((*(max(pair) for pair in extents), first.shape[2]), first.cluster, into)

    def reference(self, a: np.ndarray, b: np.ndarray, record: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        words = read_record(record)
        offset, shift = words["offset"], words["shift"]
        zeros = (words["zero_a"], words["zero_b"], words["zero_output"])
        low, high = self.low - offset, self.high - offset
        if self.kind == "wide_multiply":
            bounds = np.iinfo(np.int16)
            product = arithmetic.multiply(
                of_bytes(a), of_bytes(b), words["multiplier"], (0, 0, 0), int(bounds.min), int(bounds.max)
            )
            return written(in_bytes(product), into)
        if self.kind == "multiply":
            result = arithmetic.multiply(a, b, words["multiplier"], zeros, low, high)
        elif self.kind == "add":
            multipliers = (words["multiplier_a"], words["multiplier_b"], shift)
            result = arithmetic.add(a, b, multipliers, zeros, low, high)
        else:
            left = (a.astype(np.int64) - zeros[0]) * words["multiplier_a"]
            right = (b.astype(np.int64) - zeros[1]) * words["multiplier_b"]
            chosen = np.maximum(left, right) if self.kind == "maximum" else np.minimum(left, right)
            result = np.clip(arithmetic.round_shift(chosen + (zeros[2] << shift), shift), low, high)
        return written(result + offset, into)


class TableOperands(NamedTuple):
    """A map, a table, and where the result goes."""

    x: Value
    table: Value
    into: Value | None = None


@operator("tile_lookup", TILE_OPERATORS)
class LookUp(Operator[TableOperands]):
    """The entry of a table for each element; of 16 bits the number between two entries of one of knots."""

    def infer(self, x: TensorType, table: TensorType, into: TensorType | None) -> TensorType:
        source = tile(x, "maps", "what is looked up")
        tile(table, "parameters", "the table", 1, source.cluster)
        return placed_map(source.shape, source.cluster, into)

    def reference(self, x: np.ndarray, table: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        if table.size == interpolation.KNOTS:
            return written(in_bytes(interpolation.interpolate(of_bytes(x), table)), into)
        return written(table[x.astype(np.int64) - LOWEST], into)


@operator("tile_resize", TILE_OPERATORS)
class Resize(Operator[MapOperands]):
    """Pixels repeated by a nearest-neighbour rule: row y is row floor((y * step + origin) / 2^16) of x.
    ``output``: rows and columns of the result.
    ``step``, ``origin``: rows, then columns, in units of 2^-16."""

    output: Pair
    step: Pair
    origin: Pair

    def _indices(self) -> tuple[np.ndarray, ...]:
        axes = zip(self.output, self.step, self.origin, strict=True)
        return tuple(np.arange(count) * step + origin >> 16 for count, step, origin in axes)

    def infer(self, x: TensorType, into: TensorType | None) -> TensorType:
        source = tile(x, "maps", "what is resized")
        for indices, extent in zip(self._indices(), source.shape[:2], strict=True):
            if not len(indices) or indices.min() < 0 or indices.max() >= extent:
                raise IRError("rows or columns lie outside the map", expected=f"within 0 to {extent}", found=self)
        return placed_map((*self.output, source.shape[-1]), source.cluster, into)

    def reference(self, x: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        return written(x[np.ix_(*self._indices())], into)


@operator("tile_resize_linear", TILE_OPERATORS)
class ResizeLinear(Operator[MapOperands]):
    """Pixels interpolated: row y lies at floor((y * step + origin) / 2^16) units of 2^-11 of the distance of rows of x,
    moved to its first or last row where it is outside; see ``arithmetic.interpolate``.
    ``output``: rows and columns of the result.
    ``step``, ``origin``: rows, then columns, in units of 2^-27."""

    output: Pair
    step: Pair
    origin: Pair

    def infer(self, x: TensorType, into: TensorType | None) -> TensorType:
        source = tile(x, "maps", "what is resized")
        if min(self.output) < 1 or min(self.step) < 0:
            raise IRError("there is no such grid", expected="rows and columns, steps from 0", found=self)
        return placed_map((*self.output, source.shape[-1]), source.cluster, into)

    def reference(self, x: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        fields = zip(self.output, self.step, self.origin, strict=True)
        points = [np.arange(count, dtype=np.int64) * step + origin >> 16 for count, step, origin in fields]
        axes = [(d, arithmetic.neighbours(each, x.shape[d])) for d, each in enumerate(points)]
        return written(arithmetic.interpolate(x, axes), into)
