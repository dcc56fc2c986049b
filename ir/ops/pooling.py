"""Pooling over windows and over whole images, with any number of spatial dimensions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tilewright.errors import IRError

from ..op import Operator, QuantizationRule, UnaryOperands, operator
from ..quantized import averaged, globally_averaged, only_operand, parameters
from ..types import Arrays, ResultTypes, TensorType, Types
from .convolution import output_extent


def lowest(dtype: np.dtype) -> np.ndarray:
    """The number below all others of a dtype: what padding is to a maximum."""
    return np.asarray(-math.inf if dtype.kind == "f" else np.iinfo(dtype).min, dtype)


@dataclass(frozen=True)
class Pool(Operator[UnaryOperands]):
    """Base: x [N, C, *spatial] to [N, C, *output], each element from one window of one channel.

    Attributes:
        kernel, strides, dilations: one for each spatial dimension.
        pads: begins of all spatial dimensions, then ends; explicit, whatever the rounding mode of the source was.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    def end_padding(self) -> tuple[int, ...]:
        """How far windows may reach beyond the end of each dimension."""
        return self.pads[len(self.kernel) :]

    def output_extents(self, extents: tuple[int, ...]) -> tuple[int, ...]:
        """Number of windows along each spatial dimension."""
        after = self.end_padding()
        return tuple(
            output_extent(extent, self.kernel[d], self.strides[d], self.dilations[d], self.pads[d], after[d])
            for d, extent in enumerate(extents)
        )

    def infer(self, x: TensorType) -> TensorType:
        spatial = x.rank - 2
        lengths = len(self.kernel), len(self.strides), len(self.dilations), len(self.pads)
        if spatial < 1 or lengths != (spatial, spatial, spatial, 2 * spatial):
            raise IRError(
                "kernel, strides, dilations and pads do not match the spatial dimensions of x",
                expected=f"{spatial}, {spatial}, {spatial} and {2 * spatial} of them",
                found=f"{lengths[0]}, {lengths[1]}, {lengths[2]} and {lengths[3]}",
            )
        if min(*self.kernel, *self.strides, *self.dilations) < 1 or min(*self.pads, *self.end_padding()) < 0:
            raise IRError(
                "kernel, strides and dilations are at least 1, pads at least 0",
                found=f"{list(self.kernel)}, {list(self.strides)}, {list(self.dilations)} and {list(self.pads)}",
            )
        extents = self.output_extents(x.shape[2:])
        if min(extents) < 1:
            raise IRError("the window is larger than the padded x", found=f"{list(self.kernel)} on {list(x.shape)}")
        return x.with_shape((*x.shape[:2], *extents))

    def taps(self, x: np.ndarray, fill: np.ndarray | float) -> Iterator[np.ndarray]:
        """For each tap of the window, what all windows see there, [N, C, *output]; ``fill`` in the padding."""
        after = self.end_padding()
        padding = [(0, 0), (0, 0), *((self.pads[d], after[d]) for d in range(len(self.kernel)))]
        padded = np.pad(x, padding, constant_values=fill)
        extents = self.output_extents(x.shape[2:])
        for tap in itertools.product(*map(range, self.kernel)):
            starts = [t * dilation for t, dilation in zip(tap, self.dilations, strict=True)]
            window = (
                slice(start, start + (extent - 1) * stride + 1, stride)
                for start, extent, stride in zip(starts, extents, self.strides, strict=True)
            )
            yield padded[(slice(None), slice(None), *window)]


@operator("max_pool")
@dataclass(frozen=True)
class MaxPool(Pool):
    """The largest element of each window; padding never counts."""

    QUANTIZATION = QuantizationRule.PRESERVE

    def reference(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray | None = None
        for tap in self.taps(x, lowest(x.dtype)):
            result = tap.copy() if result is None else np.maximum(result, tap)
        assert result is not None
        return result


@operator("average_pool")
@dataclass(frozen=True)
class AveragePool(Pool):
    """The mean of each window.

    Quantised: 8-bit tensors of any scales; the sum of the real numbers in binary32, one after the other, see
    :func:`tilewright.ir.arithmetic.average`.

    Attributes:
        count_include_pad: padding counts as zeros; else the mean is over the elements of x in the window.
        overhang: how far windows may reach beyond the end padding of each spatial dimension. What lies there is not
            even padding and never counts: it is there because the source rounded the number of windows up.
    """

    QUANTIZATION = QuantizationRule.RESCALE

    count_include_pad: bool
    overhang: tuple[int, ...]

    def end_padding(self) -> tuple[int, ...]:
        return tuple(p + o for p, o in zip(self.pads[len(self.kernel) :], self.overhang, strict=True))

    def counts(self, extents: tuple[int, ...]) -> np.ndarray:
        """By how many elements the sum of each window is divided, [1, 1, *output], int64."""
        spatial = len(extents)
        inside = np.ones((1, 1, *extents), np.int64)
        before, after = self.pads[:spatial], self.pads[spatial:]
        padding = [(0, 0), (0, 0), *zip(before, after, strict=True)]
        counted = np.pad(inside, padding, constant_values=int(self.count_include_pad))
        bare = AveragePool(
            self.kernel, self.strides, (*(0,) * spatial, *self.overhang), self.dilations, False, (0,) * spatial
        )
        return sum(bare.taps(counted, 0), np.zeros((), np.int64))

    def infer(self, x: TensorType) -> TensorType:
        if len(self.overhang) != len(self.kernel):
            raise IRError("overhang does not match the kernel", expected=len(self.kernel), found=len(self.overhang))
        if min(self.overhang) < 0:
            raise IRError("overhang must be at least 0", found=list(self.overhang))
        return TensorType(super().infer(x).shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        total = sum(self.taps(x, 0), np.zeros((), x.dtype))
        return total / self.counts(x.shape[2:]).astype(x.dtype)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, x_type = only_operand(arrays, operand_types)
        taps = list(self.taps(x, parameters(x_type)[1]))
        return averaged(taps, self.counts(x.shape[2:]), x_type, result_types[0])


def _check_power(p: int) -> None:
    if p < 1:
        raise IRError("p must be at least 1", found=p)


@operator("lp_pool")
@dataclass(frozen=True)
class LpPool(Pool):
    """The p-norm of each window; padding counts as zeros.

    Attributes:
        p: at least 1.
    """

    p: int

    def infer(self, x: TensorType) -> TensorType:
        _check_power(self.p)
        return super().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        powers = sum((np.abs(tap) ** self.p for tap in self.taps(x, 0)), np.zeros((), x.dtype))
        return (powers ** (1 / self.p)).astype(x.dtype)


@dataclass(frozen=True)
class GlobalPool(Operator[UnaryOperands]):
    """Base: x [N, C, *spatial] to [N, C, 1, ...], one element from each channel."""

    def infer(self, x: TensorType) -> TensorType:
        if x.rank < 3:
            raise IRError("x needs spatial dimensions", expected="rank of at least 3", found=list(x.shape))
        return x.with_shape((*x.shape[:2], *[1] * (x.rank - 2)))


@operator("global_average_pool")
class GlobalAveragePool(GlobalPool):
    """The mean of each channel.

    Quantised: 8-bit tensors of any scales; the exact sum of the integers is requantised, see
    :func:`tilewright.ir.arithmetic.requantize`.
    """

    QUANTIZATION = QuantizationRule.RESCALE

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(super().infer(x).shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, x_type = only_operand(arrays, operand_types)
        return globally_averaged(x, x_type, result_types[0])


@operator("global_max_pool")
class GlobalMaxPool(GlobalPool):
    """The largest element of each channel"""

    QUANTIZATION = QuantizationRule.PRESERVE

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("global_lp_pool")
@dataclass(frozen=True)
class GlobalLpPool(GlobalPool):
    """The p-norm of each channel.

    Attributes:
        p: at least 1.
    """

    p: int

    def infer(self, x: TensorType) -> TensorType:
        _check_power(self.p)
        return super().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        powers = np.sum(np.abs(x) ** self.p, axis=tuple(range(2, x.ndim)), keepdims=True)
        return (powers ** (1 / self.p)).astype(x.dtype)
