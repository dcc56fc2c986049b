"""Normalisations: over the batch, over layers, instances and groups of channels, and by norms."""

import math

import numpy as np

from tilewright.errors import IRError

from ..core import OperandsT_co, Value
from ..op import Operator, UnaryOperands, operator
from ..types import TensorType
from .elementwise import FLOATS, check_dtype
from .movement import check_axis


def _check_channels(x: TensorType, least_rank: int, **parameters: TensorType) -> None:
    """Raise IRError unless x has channels, and each parameter one element for each of them."""
    check_dtype(x, FLOATS)
    if x.rank < least_rank:
        raise IRError(f"x needs a rank of at least {least_rank}", found=list(x.shape))
    for name, type in parameters.items():
        if type.shape != (x.shape[1],):
            raise IRError(f"{name} needs one element for each channel", expected=[x.shape[1]], found=list(type.shape))


def _along_channels(parameter: np.ndarray, x: np.ndarray) -> np.ndarray:
    return parameter.reshape(-1, *[1] * (x.ndim - 2))


def _standardize(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    centred = x - np.mean(x, axis=axes, keepdims=True)
    variance = np.mean(centred * centred, axis=axes, keepdims=True)
    return centred / np.sqrt(variance + np.asarray(epsilon, x.dtype))


def _standardize_exactly(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """As :func:`_standardize`, with mean and variance in float64, rounded once."""
    wide = x.astype(np.float64)
    mean = np.mean(wide, axis=axes, keepdims=True)
    variance = np.mean(np.square(wide - mean), axis=axes, keepdims=True)
    return (x - mean.astype(x.dtype)) * (1 / np.sqrt(variance + epsilon)).astype(x.dtype)


@operator("batch_norm")
class BatchNorm(Operator[tuple[Value, Value, Value, Value, Value]]):
    """(x - mean) / sqrt(var + epsilon) * scale + b, with statistics from training.

    Operands: x [N, C, *spatial]; scale, b, mean and var [C]."""

    epsilon: float

    def infer(self, x: TensorType, scale: TensorType, b: TensorType, mean: TensorType, var: TensorType) -> TensorType:
        _check_channels(x, 2, scale=scale, b=b, mean=mean, var=var)
        return TensorType(x.shape, x.dtype)

    def reference(
        self, x: np.ndarray, scale: np.ndarray, b: np.ndarray, mean: np.ndarray, var: np.ndarray
    ) -> np.ndarray:
        factor = scale / np.sqrt(var + np.asarray(self.epsilon, var.dtype))
        y = (x - _along_channels(mean, x)) * _along_channels(factor, x) + _along_channels(b, x)
        return y.astype(x.dtype)


class _TrailingNorm(Operator[OperandsT_co]):
    """Base: over the dimensions from ``axis`` to the last.
    ``axis``: first normalised dimension, counted from the front.
    ``epsilon``: added under the square root."""

    axis: int
    epsilon: float

    def _check(self, x: TensorType, **parameters: TensorType | None) -> TensorType:
        check_dtype(x, FLOATS)
        check_axis(self.axis, x)
        for name, type in parameters.items():
            if type is not None and type.shape != x.shape[self.axis :]:
                raise IRError(
                    f"{name} needs the shape of what is normalised",
                    expected=list(x.shape[self.axis :]),
                    found=list(type.shape),
                )
        return TensorType(x.shape, x.dtype)


@operator("layer_norm")
class LayerNorm(_TrailingNorm[tuple[Value, Value, Value | None]]):
    """Standardised over the dimensions from ``axis`` to the last, times scale, plus b.

    Operands: x; scale and b of the shape of these dimensions."""

    def infer(self, x: TensorType, scale: TensorType, b: TensorType | None) -> TensorType:
        return self._check(x, scale=scale, b=b)

    def reference(self, x: np.ndarray, scale: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        y = _standardize(x, tuple(range(self.axis, x.ndim)), self.epsilon) * scale
        return (y if b is None else y + b).astype(x.dtype)


@operator("rms_norm")
class RmsNorm(_TrailingNorm[tuple[Value, Value]]):
    """x over its root mean square from ``axis`` to the last dimension, times scale.

    Operands: x; scale of the shape of these dimensions."""

    def infer(self, x: TensorType, scale: TensorType) -> TensorType:
        return self._check(x, scale=scale)

    def reference(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        square = np.mean(x * x, axis=tuple(range(self.axis, x.ndim)), keepdims=True)
        return (x / np.sqrt(square + np.asarray(self.epsilon, x.dtype)) * scale).astype(x.dtype)


@operator("group_norm")
class GroupNorm(Operator[tuple[Value, Value, Value]]):
    """Each group of neighbouring channels of each image of x [N, C, *spatial] standardised together, times scale [C],
    plus b [C]. With a group for each channel it is instance normalisation.
    ``groups``: divides the number of channels.
    ``epsilon``: added to the variance."""

    groups: int
    epsilon: float

    def infer(self, x: TensorType, scale: TensorType, b: TensorType) -> TensorType:
        if self.groups < 1 or x.rank < 2 or x.shape[1] % self.groups:
            raise IRError("the channels do not divide into groups", expected=f"{self.groups} groups", found=x)
        _check_channels(x, 3, scale=scale, b=b)
        return TensorType(x.shape, x.dtype)

    def reference(self, x: np.ndarray, scale: np.ndarray, b: np.ndarray) -> np.ndarray:
        grouped = x.reshape(x.shape[0], self.groups, -1)
        y = _standardize_exactly(grouped, (2,), self.epsilon).reshape(x.shape)
        return (y * _along_channels(scale, x) + _along_channels(b, x)).astype(x.dtype)


@operator("lrn")
class Lrn(Operator[UnaryOperands]):
    """Local response normalisation: x / (bias + alpha / size * sum of squares over ``size`` channels) ^ beta.

    Operands: x [N, C, *spatial]. The window of channel c is from c - floor((size - 1) / 2) to
    c + ceil((size - 1) / 2), as far as there are channels."""

    size: int
    alpha: float
    beta: float
    bias: float

    def infer(self, x: TensorType) -> TensorType:
        _check_channels(x, 2)
        if self.size < 1:
            raise IRError("size must be at least 1", found=self.size)
        return TensorType(x.shape, x.dtype)

    @property
    def has_plain_power(self) -> bool:
        """Whether roots or logarithms can make the power: its base is never negative, and beta no special case."""
        return min(self.alpha, self.bias) >= 0 and math.isfinite(self.beta) and self.beta != 0

    def reference(self, x: np.ndarray) -> np.ndarray:
        before, channels = (self.size - 1) // 2, x.shape[1]
        squares, total = x * x, np.zeros_like(x)
        for distance in range(-min(before, channels - 1), min(self.size - 1 - before, channels - 1) + 1):
            first, last = max(0, -distance), min(channels, channels - distance)
            total[:, first:last] += squares[:, first + distance : last + distance]
        return (x / (self.bias + self.alpha / self.size * total) ** self.beta).astype(x.dtype)


@operator("lp_norm")
class LpNorm(Operator[UnaryOperands]):
    """x over its p-norm along one dimension, which is added up in float64; zeros stay zeros.
    ``axis``: counted from the front.
    ``p``: 1 or 2."""

    axis: int
    p: int

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, FLOATS)
        check_axis(self.axis, x)
        if self.p not in (1, 2):
            raise IRError("there is no such norm", expected="p of 1 or 2", found=self.p)
        return TensorType(x.shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        total = np.sum(np.abs(wide) if self.p == 1 else wide * wide, axis=self.axis, keepdims=True)
        norm = (total if self.p == 1 else np.sqrt(total)).astype(x.dtype)
        return np.where(norm == 0, np.zeros((), x.dtype), x / norm)


@operator("normalize_l2")
class NormalizeL2(Operator[UnaryOperands]):
    """x over the root of its sum of squares along ``axes``, which is added up in float64.

    As in the specification of OpenVINO's operation set, NormalizeL2-1; the ``Normalize`` of Caffe's SSD before scaling.
    ``axes``: counted from the front, ascending; none leaves every element a sum of its own.
    ``epsilon``: at least 0; keeps the sum above 0.
    ``epsilon_mode``: ``add``: it is added to the sum; ``max``: the sum is at least as much."""

    axes: tuple[int, ...]
    epsilon: float
    epsilon_mode: str = "add"

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, FLOATS)
        if list(self.axes) != sorted(set(self.axes)):
            raise IRError("axes must ascend", found=list(self.axes))
        for axis in self.axes:
            check_axis(axis, x)
        if self.epsilon_mode not in ("add", "max"):
            raise IRError("unknown epsilon_mode", expected="add or max", found=self.epsilon_mode)
        if not self.epsilon >= 0:
            raise IRError("epsilon must be at least 0", found=self.epsilon)
        return TensorType(x.shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        total = np.sum(np.square(x.astype(np.float64)), axis=self.axes, keepdims=True)
        total = total + self.epsilon if self.epsilon_mode == "add" else np.maximum(total, self.epsilon)
        return (x / np.sqrt(total)).astype(x.dtype)
