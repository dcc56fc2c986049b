"""Pooling over windows and over whole images, with any number of spatial dimensions."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tilewright.errors import IRError

from ..arithmetic import Region
from ..op import Operator, QuantizationRule, UnaryOperands, operator
from ..quantized import averaged, check_elementwise, globally_averaged, is_wide, only_operand
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from ..windows import WindowAxis, window_axes
from .elementwise import FLOATS, NUMBERS, check_dtype


def lowest(dtype: np.dtype) -> np.ndarray:
    """The number below all others of a dtype: what padding is to a maximum."""
    return np.asarray(-math.inf if dtype.kind == "f" else np.iinfo(dtype).min, dtype)


class Windowed(Operator[UnaryOperands]):
    """Base: x [N, C, *spatial] to [N, C, *output], each element from one window of one channel.
    ``kernel``, ``strides``, ``dilations``: one for each spatial dimension.
    ``pads``: begins of all spatial dimensions, then ends; explicit, whatever the rounding mode of the source was."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    def windows(self, image: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        """The windows over these spatial extents."""
        return window_axes(image, self.kernel, self.strides, self.dilations, self.pads)

    def pooled(self, x: TensorType) -> TensorType:
        """The type of one element for each window."""
        return x.with_shape((*x.shape[:2], *(axis.output for axis in self.windows(x.shape[2:]))))

    def taps(self, x: np.ndarray) -> Iterator[tuple[Region, np.ndarray]]:
        """For each tap of the window, in row-major order, the windows in which it lies in x, as a region of the result,
        and the elements that these windows see there."""
        axes = self.windows(x.shape[2:])
        for tap in itertools.product(*(axis.seen_taps() for axis in axes)):
            seen, places = zip(*(axis.seen(t) for axis, t in zip(axes, tap, strict=True)), strict=True)
            yield (..., *seen), x[(..., *places)]

    def untouched(self, x: np.ndarray, fill: np.ndarray | float) -> np.ndarray:
        """The result before the first tap."""
        extents = (axis.output for axis in self.windows(x.shape[2:]))
        return np.full((*x.shape[:2], *extents), fill, x.dtype)


class Pool(Windowed):
    """Base: of one result."""

    def infer(self, x: TensorType) -> TensorType:
        return self.pooled(x)


@operator("max_pool")
class MaxPool(Pool):
    """The largest element of each window; padding never counts."""

    QUANTIZATION = QuantizationRule.PRESERVE

    def reference(self, x: np.ndarray) -> np.ndarray:
        y = self.untouched(x, lowest(x.dtype))
        for region, elements in self.taps(x):
            y[region] = np.maximum(y[region], elements)
        return y


@operator("max_pool_with_indices")
class MaxPoolWithIndices(Windowed):
    """The largest element of each window, and where in x it lies; padding never counts.

    Results: as of ``max_pool``; i64, of the same shape, positions in the elements of x as they lie in memory, of equal
    elements that of the first, -1 where a window sees padding alone.
    ``column_major``: positions count the elements of each channel with the first spatial dimension as the fastest."""

    column_major: bool

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        check_dtype(x, NUMBERS)
        y = self.pooled(x)
        return y, y.with_dtype(DType.I64)

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = (0, 1, *reversed(range(2, x.ndim))) if self.column_major else range(x.ndim)
        positions = np.arange(x.size).reshape([x.shape[d] for d in order]).transpose(*order)
        y = self.untouched(x, lowest(x.dtype))
        indices = np.full(y.shape, -1)
        for (region, elements), (_, places) in zip(self.taps(x), self.taps(positions), strict=True):
            best = y[region]
            better = (elements > best) | (indices[region] < 0) | (np.isnan(elements) & ~np.isnan(best))
            y[region] = np.where(better, elements, best)
            indices[region] = np.where(better, places, indices[region])
        return y, indices


@operator("average_pool")
class AveragePool(Pool):
    """The mean of each window.

    Quantised: 8-bit tensors of any scales; the sum of the real numbers in binary32, one after the other, see
    :func:`tilewright.ir.arithmetic.average`. Of 16 bits, where all windows have as many elements, see
    :func:`tilewright.ir.quantized.mixed`.
    ``count_include_pad``: padding counts as zeros; else the mean is over the elements of x in the window.
    ``overhang``: how far windows may reach beyond the end padding of each spatial dimension. What lies there is not
    even padding and never counts: it is there because the source rounded the number of windows up."""

    QUANTIZATION = QuantizationRule.RESCALE

    count_include_pad: bool
    overhang: tuple[int, ...]

    def windows(self, image: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        return window_axes(image, self.kernel, self.strides, self.dilations, self.pads, self.overhang)

    def counted(self, image: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        """The windows over what counts as an element: the image, or the image with its padding."""
        windows = self.windows(image)
        if not self.count_include_pad:
            return windows
        after = self.pads[len(image) :]
        return tuple(
            replace(w, input=w.before + w.input + end, before=0) for w, end in zip(windows, after, strict=True)
        )

    def counts(self, image: tuple[int, ...]) -> np.ndarray:
        """By how many elements the sum of each window is divided, [*output], int64."""
        counts = np.ones((), np.int64)
        for axis in self.counted(image):
            counts = counts[..., None] * axis.counts(0, axis.input)
        return counts

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(super().infer(x).shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        total = self.untouched(x, 0)
        for region, elements in self.taps(x):
            total[region] += elements
        return total / self.counts(x.shape[2:]).astype(x.dtype)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, x_type = only_operand(arrays, operand_types)
        return averaged(self.taps(x), self.counts(x.shape[2:]), x_type, result_types[0])

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        x = operand_types[0]
        if x is not None and is_wide(x, *result_types) and np.ptp(self.counts(x.shape[2:])):
            return "means of 16 bits are of windows of as many elements"
        return check_elementwise(operand_types, result_types, wide=True)


def _check_norm(p: int, x: TensorType) -> None:
    """Raise IRError unless there is a norm of this power of the elements of x."""
    check_dtype(x, FLOATS)
    if p < 1:
        raise IRError("p must be at least 1", found=p)


@operator("lp_pool")
class LpPool(Pool):
    """The p-norm of each window, in float64; padding counts as zeros. ``p``: at least 1."""

    p: int

    def infer(self, x: TensorType) -> TensorType:
        _check_norm(self.p, x)
        return super().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        powers = self.untouched(wide, 0)
        for region, elements in self.taps(wide):
            powers[region] += np.abs(elements) ** float(self.p)
        return (powers ** (1 / self.p)).astype(x.dtype)


class GlobalPool(Operator[UnaryOperands]):
    """Base: x [N, C, *spatial] to [N, C, 1, ...], one element from each channel."""

    def infer(self, x: TensorType) -> TensorType:
        if x.rank < 3:
            raise IRError("x needs spatial dimensions", expected="rank of at least 3", found=list(x.shape))
        if not math.prod(x.shape[2:]):
            raise IRError("there is nothing to pool", found=list(x.shape))
        return x.with_shape((*x.shape[:2], *[1] * (x.rank - 2)))


@operator("global_average_pool")
class GlobalAveragePool(GlobalPool):
    """The mean of each channel.

    Quantised: tensors of any scales; the exact sum of the integers is requantised, see
    :func:`tilewright.ir.arithmetic.requantize`, and for 16 bits :func:`tilewright.ir.quantized.mixed`."""

    QUANTIZATION = QuantizationRule.RESCALE

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(super().infer(x).shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, x_type = only_operand(arrays, operand_types)
        return globally_averaged(x, x_type, result_types[0])

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        return check_elementwise(operand_types, result_types, wide=True)


@operator("global_max_pool")
class GlobalMaxPool(GlobalPool):
    """The largest element of each channel"""

    QUANTIZATION = QuantizationRule.PRESERVE

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("global_lp_pool")
class GlobalLpPool(GlobalPool):
    """The p-norm of each channel, in float64. ``p``: at least 1."""

    p: int

    def infer(self, x: TensorType) -> TensorType:
        _check_norm(self.p, x)
        return super().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        powers = np.abs(x.astype(np.float64)) ** float(self.p)
        return (np.sum(powers, axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / self.p)).astype(x.dtype)
