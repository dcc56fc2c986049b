"""RoiAlign: pooling over regions of interest without rounding their borders.

As in ONNX (RoiAlign) and in the specification of OpenVINO's operation set (ROIAlign-9).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tilewright.errors import InputError, IRError
from tilewright.limits import SAMPLES

from ..core import Value
from ..op import Operator, operator
from ..types import DType, ResultTypes, TensorType, Types
from .elementwise import check_dtype
from .indexing import check_indices
from .region_pooling import FAR

OFFSETS = {"asymmetric": (0.0, 0.0), "half_pixel_for_nn": (0.0, -0.5), "half_pixel": (0.5, -0.5)}
"""What is added to coordinates of regions before and after they are scaled, by mode of alignment."""


MODES = ("avg", "max", "max_interpolated")


class RoiAlignOperands(NamedTuple):
    x: Value
    regions: Value
    images: Value


@operator("roi_align")
@dataclass(frozen=True)
class RoiAlign(Operator[RoiAlignOperands]):
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
        check_dtype(x, (DType.F32,))
        check_dtype(regions, (DType.F32,))
        check_indices(images)
        if len(self.size) != 2 or min(self.size) < 1 or max(self.size) > FAR:
            raise IRError("size needs a height and a width", expected=f"2 of 1 to {FAR}", found=list(self.size))
        if self.mode not in MODES:
            raise IRError("unknown mode", expected=", ".join(MODES), found=self.mode)
        if self.alignment not in OFFSETS:
            raise IRError("unknown alignment", expected=", ".join(OFFSETS), found=self.alignment)
        if not 0 <= self.sampling_ratio <= SAMPLES or not math.isfinite(self.spatial_scale):
            raise IRError(
                "sampling_ratio or spatial_scale is out of range",
                expected=f"0 to {SAMPLES}, and a number",
                found=f"{self.sampling_ratio} and {self.spatial_scale}",
            )
        if x.rank != 4 or regions.rank != 2 or regions.shape[1] != 4 or images.shape != regions.shape[:1]:
            raise IRError("wrong shapes", expected="[N, C, H, W], [R, 4] and [R]", found=f"{x}, {regions}, {images}")
        if min(x.shape[2:]) < 1:
            raise IRError("there is nothing to pool", found=x)
        return TensorType((regions.shape[0], x.shape[1], *self.size), DType.F32)

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        return result_types[0].elements * (self.sampling_ratio or SAMPLES) ** 2

    def samples(self, low: np.float32, high: np.float32, count: int) -> tuple[np.ndarray, int]:
        """Coordinates of the samples along a side, [count, samples], f32, and how many a bin has.

        Raises:
            InputError: the region is too large.
        """
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
