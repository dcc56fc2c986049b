"""Normalisations: over the batch, over layers, instances and groups of channels, and by norms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tilewright.errors import IRError

from ..op import Operand, Operator, Sample, operand, operator, optional
from ..types import DType, TensorType
from .elementwise import FLOATS, check_dtype, random_array
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


@operator("batch_norm")
@dataclass(frozen=True)
class BatchNorm(Operator):
    """(x - mean) / sqrt(var + epsilon) * scale + b, with statistics from training.

    Operands: x [N, C, *spatial]; scale, b, mean and var [C].
    """

    OPERANDS = (operand("x"), operand("scale"), operand("b"), operand("mean"), operand("var"))

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

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        parameters = frozenset({1, 2, 3, 4})
        for shape in ((2, 17, 5, 3), (4, 3), (1, 5, 7), (1, 2, 3, 2, 4)):
            vectors = [random_array(rng, DType.F32, shape[1:2]) for _ in range(3)]
            var = random_array(rng, DType.F32, shape[1:2], 0.5, 2)
            yield Sample(cls(1e-5), (random_array(rng, DType.F32, shape), *vectors, var), parameters)


@dataclass(frozen=True)
class _TrailingNorm(Operator):
    """Base: over the dimensions from ``axis`` to the last.

    Attributes:
        axis: first normalised dimension, counted from the front.
        epsilon: added under the square root.
    """

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
@dataclass(frozen=True)
class LayerNorm(_TrailingNorm):
    """Standardised over the dimensions from ``axis`` to the last, times scale, plus b.

    Operands: x; scale and b of the shape of these dimensions.
    """

    OPERANDS = (operand("x"), operand("scale"), optional("b"))

    def infer(self, x: TensorType, scale: TensorType, b: TensorType | None) -> TensorType:
        return self._check(x, scale=scale, b=b)

    def reference(self, x: np.ndarray, scale: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        y = _standardize(x, tuple(range(self.axis, x.ndim)), self.epsilon) * scale
        return (y if b is None else y + b).astype(x.dtype)

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        for shape, axis, has_bias in (
            ((2, 5, 17), 2, True),
            ((3, 4, 6), 1, True),
            ((4, 32), 1, False),
            ((7,), 0, True),
        ):
            x, scale, b = (random_array(rng, DType.F32, s) for s in (shape, shape[axis:], shape[axis:]))
            yield Sample(cls(axis, 1e-5), (x, scale, b if has_bias else None), frozenset({1, 2}))


@operator("rms_norm")
@dataclass(frozen=True)
class RmsNorm(_TrailingNorm):
    """x over its root mean square from ``axis`` to the last dimension, times scale.

    Operands: x; scale of the shape of these dimensions.
    """

    OPERANDS = (operand("x"), operand("scale"))

    def infer(self, x: TensorType, scale: TensorType) -> TensorType:
        return self._check(x, scale=scale)

    def reference(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        square = np.mean(x * x, axis=tuple(range(self.axis, x.ndim)), keepdims=True)
        return (x / np.sqrt(square + np.asarray(self.epsilon, x.dtype)) * scale).astype(x.dtype)

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        for shape, axis in (((2, 5, 17), 2), ((4, 32), 1)):
            x, scale = (random_array(rng, DType.F32, s) for s in (shape, shape[axis:]))
            yield Sample(cls(axis, 1e-6), (x, scale), frozenset({1}))


@dataclass(frozen=True)
class _ChannelNorm(Operator):
    """Base: x [N, C, *spatial], normalised in each image, times scale [C], plus b [C]."""

    OPERANDS: ClassVar[tuple[Operand, ...]] = (operand("x"), operand("scale"), operand("b"))

    def infer(self, x: TensorType, scale: TensorType, b: TensorType) -> TensorType:
        _check_channels(x, 3, scale=scale, b=b)
        return TensorType(x.shape, x.dtype)

    @staticmethod
    def _operands(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, ...]:
        return tuple(random_array(rng, DType.F32, s) for s in (shape, shape[1:2], shape[1:2]))


@operator("instance_norm")
@dataclass(frozen=True)
class InstanceNorm(_ChannelNorm):
    """Each channel of each image standardised over its spatial dimensions.

    Attributes:
        epsilon: added to the variance.
    """

    epsilon: float

    def reference(self, x: np.ndarray, scale: np.ndarray, b: np.ndarray) -> np.ndarray:
        y = _standardize(x, tuple(range(2, x.ndim)), self.epsilon)
        return (y * _along_channels(scale, x) + _along_channels(b, x)).astype(x.dtype)

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        for shape in ((2, 17, 5, 6), (1, 3, 9)):
            yield Sample(cls(1e-5), cls._operands(rng, *shape), frozenset({1, 2}))


@operator("group_norm")
@dataclass(frozen=True)
class GroupNorm(_ChannelNorm):
    """Each group of neighbouring channels of each image standardised together.

    Attributes:
        groups: divides the number of channels.
        epsilon: added to the variance.
    """

    groups: int
    epsilon: float

    def infer(self, x: TensorType, scale: TensorType, b: TensorType) -> TensorType:
        if self.groups < 1 or x.rank < 2 or x.shape[1] % self.groups:
            raise IRError("the channels do not divide into groups", expected=f"{self.groups} groups", found=x)
        return super().infer(x, scale, b)

    def reference(self, x: np.ndarray, scale: np.ndarray, b: np.ndarray) -> np.ndarray:
        grouped = x.reshape(x.shape[0], self.groups, -1)
        y = _standardize(grouped, (2,), self.epsilon).reshape(x.shape)
        return (y * _along_channels(scale, x) + _along_channels(b, x)).astype(x.dtype)

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        for groups, shape in ((4, (2, 12, 5, 6)), (1, (1, 3, 9)), (5, (2, 5, 4, 4))):
            yield Sample(cls(groups, 1e-5), cls._operands(rng, *shape), frozenset({1, 2}))


@operator("lrn")
@dataclass(frozen=True)
class Lrn(Operator):
    """Local response normalisation: x / (bias + alpha / size * sum of squares over ``size`` channels) ^ beta.

    Operands: x [N, C, *spatial]. The window of channel c is from c - floor((size - 1) / 2) to
    c + ceil((size - 1) / 2), as far as there are channels.
    """

    OPERANDS = (operand("x"),)

    size: int
    alpha: float
    beta: float
    bias: float

    def infer(self, x: TensorType) -> TensorType:
        _check_channels(x, 2)
        if self.size < 1:
            raise IRError("size must be at least 1", found=self.size)
        return TensorType(x.shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        before = (self.size - 1) // 2
        padding = [(0, 0), (before, self.size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
        squares = np.pad(x * x, padding)
        total = sum((squares[:, k : k + x.shape[1]] for k in range(self.size)), np.zeros((), x.dtype))
        return (x / (self.bias + self.alpha / self.size * total) ** self.beta).astype(x.dtype)

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        for size, shape in ((5, (1, 17, 4, 5)), (7, (2, 6, 3, 3)), (3, (1, 2, 3, 3))):
            yield Sample(cls(size, alpha=0.25, beta=0.75, bias=1.5), (random_array(rng, DType.F32, shape),))


@operator("lp_norm")
@dataclass(frozen=True)
class LpNorm(Operator):
    """x over its p-norm along one dimension; zeros stay zeros.

    Attributes:
        axis: counted from the front.
        p: 1 or 2.
    """

    OPERANDS = (operand("x"),)

    axis: int
    p: int

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, FLOATS)
        check_axis(self.axis, x)
        if self.p not in (1, 2):
            raise IRError("there is no such norm", expected="p of 1 or 2", found=self.p)
        return TensorType(x.shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        total = np.sum(np.abs(x) if self.p == 1 else x * x, axis=self.axis, keepdims=True)
        norm = total if self.p == 1 else np.sqrt(total)
        return np.where(norm == 0, np.zeros((), x.dtype), x / norm)

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        for p, axis, shape in ((2, 1, (3, 17)), (1, 0, (4, 3)), (2, 1, (2, 5, 3, 4)), (1, 3, (2, 2, 3, 9))):
            x = random_array(rng, DType.F32, shape)
            np.moveaxis(x, axis, 0)[:, 0] = 0
            yield Sample(cls(axis, p), (x,))
