"""Pooling over regions of interest: for each region a map of fixed size.

As in the specification of OpenVINO's operation set, ROIPooling-2, PSROIPooling-1 and ROIAlign-9; with ``max`` the first
is MaxRoiPool of ONNX, and the last is RoiAlign there. Regions that come as [R, 5] are image, xmin, ymin, xmax, ymax;
image -1 ends them, and results from there on are zeros. An image out of range is an error when the network runs.
"""

import math

import numpy as np

from tilewright.errors import InputError, IRError
from tilewright.limits import SAMPLES

from ...core import Value
from ...op import Operator, operator
from ...types import DType, ResultTypes, TensorType, Types
from ..elementwise import check_dtype
from ..indexing import check_indices

FAR = 2**30
"""Pixels beyond which coordinates are not told apart; NaN counts as the lowest."""


def rounded(coordinate: np.ndarray | np.float32) -> int:
    """The nearest pixel, halves away from zero."""
    exact = float(coordinate)
    if not -FAR < exact < FAR:
        return FAR if exact >= FAR else -FAR
    return int(math.copysign(math.floor(abs(exact) + 0.5), exact))


def pixel_inside(edge: np.float32, extent: int) -> int:
    """A whole number brought between 0 and ``extent``; NaN counts as the lowest."""
    return int(min(float(edge), extent)) if edge > 0 else 0


def image_index(number: np.ndarray, images: int) -> int:
    """The image of a region, -1 at the end of the regions. Raises InputError: there is no such image."""
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


def _check(x: TensorType, regions: TensorType, numbers: int, spatial_scale: float) -> None:
    """Raise IRError unless these are images of some pixels, and regions of so many numbers on a scale."""
    check_dtype(x, (DType.F32,))
    check_dtype(regions, (DType.F32,))
    if not math.isfinite(spatial_scale):
        raise IRError("spatial_scale needs a number", found=spatial_scale)
    if x.rank != 4 or regions.rank != 2 or regions.shape[1] != numbers:
        raise IRError("wrong shapes", expected=f"[N, C, H, W] and [R, {numbers}]", found=f"{x} and {regions}")
    if min(x.shape[2:]) < 1:
        raise IRError("there is nothing to pool", found=x)


def _check_size(size: tuple[int, ...]) -> None:
    """Raise IRError unless these are numbers of bins down and to the right."""
    if len(size) != 2 or min(size) < 1 or max(size) > FAR:
        raise IRError("size needs a height and a width", expected=f"2 of 1 to {FAR}", found=list(size))


class RegionPool(Operator[tuple[Value, Value]]):
    """Base: x f32 [N, C, H, W], regions f32 [R, 5]; result [R, channels, pooled height, pooled width].
    ``spatial_scale``: pixels of x, or parts of the image, for a unit of the regions."""

    spatial_scale: float

    def infer(self, x: TensorType, regions: TensorType) -> TensorType:
        _check(x, regions, 5, self.spatial_scale)
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
class RoiPool(RegionPool):
    """The largest element of each bin of a region, or the element at a point of it.
    ``size``: bins of a region, down and to the right.
    ``mode``: ``max`` | ``bilinear``; for the latter, regions are parts of the image whatever the scale, the points are
    spread from border to border of the region, and those outside x are 0."""

    size: tuple[int, int]
    mode: str = "max"

    def infer(self, x: TensorType, regions: TensorType) -> TensorType:
        _check_size(self.size)
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
        return [(pixel_inside(low, extent), pixel_inside(high, extent)) for low, high in edges]

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


OFFSETS = {"asymmetric": (0.0, 0.0), "half_pixel_for_nn": (0.0, -0.5), "half_pixel": (0.5, -0.5)}
"""What is added to coordinates of regions before and after they are scaled, by mode of alignment."""


MODES = ("avg", "max", "max_interpolated")


@operator("roi_align")
class RoiAlign(Operator[tuple[Value, Value, Value]]):
    """The mean or the maximum of samples in each bin of a region.

    Operands: x f32 [N, C, H, W]; regions f32 [R, 4], xmin, ymin, xmax, ymax; images, i32 or i64 [R], 0 to N - 1.
    Result: f32 [R, C, size]. A sample is made of its four neighbours; one more than a pixel outside x is 0. An image
    out of range, or a region that is too large, is an error when the network runs.

    Attributes:
        size: bins of a region, down and to the right.
        sampling_ratio: samples along each side of a bin; 0 for the length of the side, rounded up.
        spatial_scale: pixels of x for a unit of the regions.
        mode: ``avg``; ``max``, of the neighbours times their weights, as onnxruntime has it; ``max_interpolated``, of
            the samples and 0, as OpenVINO has it.
        alignment: ``asymmetric``, where regions are at least a pixel long; ``half_pixel_for_nn``, the ``half_pixel`` of
            ONNX, which moves them by half a pixel of x; ``half_pixel``, which also moves them by half of theirs.
    """

    size: tuple[int, int]
    sampling_ratio: int = 0
    spatial_scale: float = 1.0
    mode: str = "avg"
    alignment: str = "half_pixel_for_nn"

    def infer(self, x: TensorType, regions: TensorType, images: TensorType) -> TensorType:
        _check(x, regions, 4, self.spatial_scale)
        check_indices(images)
        _check_size(self.size)
        if self.mode not in MODES:
            raise IRError("unknown mode", expected=", ".join(MODES), found=self.mode)
        if self.alignment not in OFFSETS:
            raise IRError("unknown alignment", expected=", ".join(OFFSETS), found=self.alignment)
        if not 0 <= self.sampling_ratio <= SAMPLES:
            raise IRError("sampling_ratio is out of range", expected=f"0 to {SAMPLES}", found=self.sampling_ratio)
        if images.shape != regions.shape[:1]:
            raise IRError("each region needs an image", expected=list(regions.shape[:1]), found=images)
        return TensorType((regions.shape[0], x.shape[1], *self.size), DType.F32)

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        return result_types[0].elements * (self.sampling_ratio or SAMPLES) ** 2

    def samples(self, low: np.float32, high: np.float32, count: int) -> tuple[np.ndarray, int]:
        """Coordinates of the samples along a side, [count, samples], f32, and how many a bin has.
        Raises InputError: the region is too large."""
        before, after = map(np.float32, OFFSETS[self.alignment])
        scale = np.float32(self.spatial_scale)
        first, last = (low + before) * scale + after, (high + before) * scale + after
        length = last - first
        if self.alignment == "asymmetric":
            length = np.maximum(length, np.float32(1))
        size = length / np.float32(count)
        if not size <= SAMPLES and not self.sampling_ratio:
            raise InputError("a region is too large", expected=f"bins of at most {SAMPLES} pixels", found=float(size))
        number = self.sampling_ratio or (math.ceil(size) if size > 0 else 0)
        inside = (np.arange(number, dtype=np.float32) + np.float32(0.5)) * size / np.float32(max(number, 1))
        return first + np.arange(count, dtype=np.float32)[:, None] * size + inside, number

    def reference(self, x: np.ndarray, regions: np.ndarray, images: np.ndarray) -> np.ndarray:
        wrong = (images < 0) | (images >= len(x))
        if wrong.any():
            raise InputError("a region is of no image", expected=f"0 to {len(x) - 1}", found=int(images[wrong][0]))
        y = np.zeros((len(regions), x.shape[1], *self.size), np.float32)
        for number, (region, image) in enumerate(zip(regions, images, strict=True)):
            rows, down = self.samples(region[1], region[3], self.size[0])
            columns, across = self.samples(region[0], region[2], self.size[1])
            if not down * across:
                continue
            parts = _parts(x[image], rows.reshape(-1), columns.reshape(-1))
            bins = parts.reshape(4, x.shape[1], self.size[0], down, self.size[1], across)
            if self.mode == "avg":
                y[number] = bins.sum(0).mean((2, 4))
            elif self.mode == "max":
                y[number] = bins.max((0, 3, 5))
            else:
                y[number] = np.maximum(bins.sum(0).max((2, 4)), 0)
        return y


def _parts(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The neighbours of points in x [C, H, W] times their weights, [4, C, rows, columns], in float64."""
    (tops, bottoms, below), (lefts, rights, beyond) = _neighbours(rows, x.shape[1]), _neighbours(columns, x.shape[2])
    vertical, horizontal = ((tops, 1 - below), (bottoms, below)), ((lefts, 1 - beyond), (rights, beyond))
    is_near = ((rows >= -1) & (rows <= x.shape[1]))[:, None] & (columns >= -1) & (columns <= x.shape[2])
    parts = [x[:, i[:, None], j] * (v[:, None] * h) for i, v in vertical for j, h in horizontal]
    return np.where(is_near, np.stack(parts), 0)


def _neighbours(points: np.ndarray, extent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The elements before and after points, and the weights of the latter."""
    inside = np.where(points >= 0, np.minimum(points, np.float32(extent)), np.float32(0))
    low = np.minimum(inside.astype(np.int64), extent - 1)
    return (
        low,
        np.minimum(low + 1, extent - 1),
        np.where(low < extent - 1, (inside - low.astype(np.float32)).astype(np.float64), 0),
    )
