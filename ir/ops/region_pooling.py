"""Pooling over regions of interest: for each region a map of fixed size.

As in the specification of OpenVINO's operation set, ROIPooling-2 and PSROIPooling-1; with ``max`` the former is
MaxRoiPool of ONNX. Regions that come as [R, 5] are image, xmin, ymin, xmax, ymax; image -1
ends them, and results from there on are zeros. An image out of range is an error when the network runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tilewright.errors import InputError, IRError

from ..core import Value
from ..op import Operator, operator
from ..types import DType, ResultTypes, TensorType, Types
from .elementwise import check_dtype

FAR = 2**30
"""Pixels beyond which coordinates are not told apart; NaN counts as the lowest."""


def rounded(coordinate: np.ndarray | np.float32) -> int:
    """The nearest pixel, halves away from zero."""
    exact = float(coordinate)
    if not -FAR < exact < FAR:
        return FAR if exact >= FAR else -FAR
    return int(math.copysign(math.floor(abs(exact) + 0.5), exact))


def image_index(number: np.ndarray, images: int) -> int:
    """The image of a region, -1 at the end of the regions.

    Raises:
        InputError: there is no such image.
    """
    if not -1 <= number < images:
        raise InputError("a region is of no image", expected=f"-1 to {images - 1}", found=float(number))
    return int(number)


def interpolated(x: np.ndarray, y: np.float32, x_: np.float32) -> np.ndarray:
    """Elements of x [C, H, W] at a point inside, [C]."""
    top, left = int(np.floor(y)), int(np.floor(x_))
    bottom, right = int(np.ceil(y)), int(np.ceil(x_))
    upper = x[:, top, left] + (x[:, top, right] - x[:, top, left]) * (x_ - np.float32(left))
    lower = x[:, bottom, left] + (x[:, bottom, right] - x[:, bottom, left]) * (x_ - np.float32(left))
    return upper + (lower - upper) * (y - np.float32(top))


class RegionOperands(NamedTuple):
    x: Value
    regions: Value


@dataclass(frozen=True)
class RegionPool(Operator[RegionOperands]):
    """Base: x f32 [N, C, H, W], regions f32 [R, 5]; result [R, channels, pooled height, pooled width].

    Attributes:
        spatial_scale: pixels of x, or parts of the image, for a unit of the regions.
    """

    spatial_scale: float

    def infer(self, x: TensorType, regions: TensorType) -> TensorType:
        check_dtype(x, (DType.F32,))
        check_dtype(regions, (DType.F32,))
        if not math.isfinite(self.spatial_scale):
            raise IRError("spatial_scale needs a number", found=self.spatial_scale)
        if x.rank != 4 or regions.rank != 2 or regions.shape[1] != 5:
            raise IRError("wrong shapes", expected="[N, C, H, W] and [R, 5]", found=f"{x} and {regions}")
        if min(x.shape[2:]) < 1:
            raise IRError("there is nothing to pool", found=x)
        return TensorType((regions.shape[0], *self.pooled(x)), DType.F32)

    def pooled(self, x: TensorType) -> tuple[int, int, int]:
        """Shape of the result for a region."""
        raise NotImplementedError(type(self).__name__)

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        x, regions = operand_types[:2]
        assert x is not None and regions is not None
        channels, height, width = self.pooled(x)
        # The bins of a region overlap by a row and a column at most.
        return regions.shape[0] * channels * (x.shape[2] + height) * (x.shape[3] + width)

    def reference(self, x: np.ndarray, regions: np.ndarray) -> np.ndarray:
        y = np.zeros((len(regions), *self.pooled(TensorType.of(x))), np.float32)
        for number, region in enumerate(regions):
            image = image_index(region[0], len(x))
            if image < 0:
                break
            self.pool(x[image], region[1:], y[number])
        return y

    def pool(self, x: np.ndarray, region: np.ndarray, y: np.ndarray) -> None:
        """Fill y [channels, height, width], zeros, for xmin, ymin, xmax, ymax of an image [C, H, W]."""
        raise NotImplementedError(type(self).__name__)


@operator("roi_pool")
@dataclass(frozen=True)
class RoiPool(RegionPool):
    """The largest element of each bin of a region, or the element at a point of it.

    Attributes:
        size: bins of a region, down and to the right.
        mode: ``max`` | ``bilinear``; for the latter, regions are parts of the image whatever the scale, the points are
            spread from border to border of the region, and those outside x are 0.
    """

    size: tuple[int, int]
    mode: str = "max"

    def infer(self, x: TensorType, regions: TensorType) -> TensorType:
        if len(self.size) != 2 or min(self.size) < 1 or max(self.size) > FAR:
            raise IRError("size needs a height and a width", expected=f"2 of 1 to {FAR}", found=list(self.size))
        if self.mode not in ("max", "bilinear"):
            raise IRError("unknown mode", expected="max or bilinear", found=self.mode)
        return super().infer(x, regions)

    def pooled(self, x: TensorType) -> tuple[int, int, int]:
        return (x.shape[1], *self.size)

    def pool(self, x: np.ndarray, region: np.ndarray, y: np.ndarray) -> None:
        sides = ((1, self.size[0], x.shape[1]), (0, self.size[1], x.shape[2]))
        if self.mode == "max":
            rows, columns = (self._bins(region[side::2], *extents) for side, *extents in sides)
            for i, (top, bottom) in enumerate(rows):
                for j, (left, right) in enumerate(columns):
                    if top < bottom and left < right:
                        y[:, i, j] = x[:, top:bottom, left:right].max((1, 2))
            return
        rows, columns = (_points(region[side::2], *extents) for side, *extents in sides)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                if 0 <= row <= x.shape[1] - 1 and 0 <= column <= x.shape[2] - 1:
                    y[:, i, j] = interpolated(x, row, column)

    def _bins(self, ends: np.ndarray, count: int, extent: int) -> list[tuple[int, int]]:
        first, last = (rounded(end * np.float32(self.spatial_scale)) for end in ends)
        length = max(last - first + 1, 1)
        pairs = [(first + i * length // count, first + -(-(i + 1) * length // count)) for i in range(count)]
        return [(min(max(low, 0), extent), min(max(high, 0), extent)) for low, high in pairs]


def _points(ends: np.ndarray, count: int, extent: int) -> list[np.float32]:
    first, last = ends[0], ends[1]
    whole = np.float32(extent - 1)
    if count == 1:
        return [np.float32(0.5) * (first + last) * whole]
    step = (last - first) * whole / np.float32(count - 1)
    return [np.float32(i) * step + first * whole for i in range(count - 1)] + [last * whole]


@operator("psroi_pool")
@dataclass(frozen=True)
class PsroiPool(RegionPool):
    """Position-sensitive pooling: each bin of a region is pooled from channels of its own.

    ``average``: x has output_dim * group_size^2 channels; element [c, i, j] is the mean of bin (i, j) of channel
    (c * group_size + i) * group_size + j, whose borders are rounded outward and to x, or 0 if nothing is left.
    ``bilinear``: regions are parts of the image and cut into bins; x has output_dim channels for each bin; element
    [c, i, j] is the mean over bins of the element at point (i, j) of group_size^2 spread from border to border, of
    channel bin * output_dim + c; points outside x are 0.

    Attributes:
        output_dim: channels of the result.
        group_size: height and width of the result.
        mode: ``average`` | ``bilinear``.
        bins: of ``bilinear``, into how many bins a region is cut, down and to the right.
    """

    output_dim: int
    group_size: int
    mode: str = "average"
    bins: tuple[int, int] = (1, 1)

    def infer(self, x: TensorType, regions: TensorType) -> TensorType:
        if self.mode not in ("average", "bilinear"):
            raise IRError("unknown mode", expected="average or bilinear", found=self.mode)
        if min(self.output_dim, self.group_size, *self.bins) < 1 or len(self.bins) != 2:
            raise IRError(
                "output_dim, group_size and two numbers of bins are at least 1",
                found=f"{self.output_dim}, {self.group_size} and {list(self.bins)}",
            )
        result = super().infer(x, regions)
        parts = self.group_size**2 if self.mode == "average" else math.prod(self.bins)
        if x.shape[1] != self.output_dim * parts:
            raise IRError("wrong number of channels", expected=self.output_dim * parts, found=x.shape[1])
        return result

    def pooled(self, x: TensorType) -> tuple[int, int, int]:
        return self.output_dim, self.group_size, self.group_size

    def pool(self, x: np.ndarray, region: np.ndarray, y: np.ndarray) -> None:
        (self._average if self.mode == "average" else self._bilinear)(x, region, y)

    def _average(self, x: np.ndarray, region: np.ndarray, y: np.ndarray) -> None:
        count = self.group_size
        rows = self._bins(region[1::2], x.shape[1])
        columns = self._bins(region[0::2], x.shape[2])
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if top < bottom and left < right:
                    bin = x[i * count + j :: count**2, top:bottom, left:right].astype(np.float64)
                    y[:, i, j] = bin.mean((1, 2))

    def _bins(self, ends: np.ndarray, extent: int) -> list[tuple[int, int]]:
        scale = np.float32(self.spatial_scale)
        first = np.float32(rounded(ends[0])) * scale
        end = np.float32(rounded(ends[1] + np.float32(1))) * scale
        size = np.maximum(end - first, np.float32(0.1)) / np.float32(self.group_size)
        edges = [
            (np.floor(np.float32(i) * size + first), np.ceil(np.float32(i + 1) * size + first))
            for i in range(self.group_size)
        ]
        return [(int(min(max(low, 0), extent)), int(min(max(high, 0), extent))) for low, high in edges]

    def _bilinear(self, x: np.ndarray, region: np.ndarray, y: np.ndarray) -> None:
        rows, columns = (
            [self._points(region[side::2], bin, count, extent) for bin in range(count)]
            for side, count, extent in ((1, self.bins[0], x.shape[1]), (0, self.bins[1], x.shape[2]))
        )
        total = np.zeros(y.shape, np.float64)
        for row, row_points in enumerate(rows):
            for column, column_points in enumerate(columns):
                first = (row * self.bins[1] + column) * self.output_dim
                channels = x[first : first + self.output_dim]
                for i, point_y in enumerate(row_points):
                    for j, point_x in enumerate(column_points):
                        if 0 <= point_y <= x.shape[1] - 1 and 0 <= point_x <= x.shape[2] - 1:
                            total[:, i, j] += interpolated(channels, point_y, point_x)
        y[...] = total / math.prod(self.bins)

    def _points(self, ends: np.ndarray, bin: int, bins: int, extent: int) -> list[np.float32]:
        first, last = ends * np.float32(self.spatial_scale)
        size = (last - first) / np.float32(bins)
        low, high = first + np.float32(bin) * size, first + np.float32(bin + 1) * size
        whole = np.float32(extent - 1)
        if self.group_size == 1:
            return [np.float32(0.5) * (low + high) * whole]
        step = (high - low) * whole / np.float32(self.group_size - 1)
        return [np.float32(i) * step + low * whole for i in range(self.group_size)]
