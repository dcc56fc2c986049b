"""Samples of the family ``normalization``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    random_array,
    samples_of,
)

from tilewright.ir.ops.normalization import (
    BatchNorm,
    GroupNorm,
    LayerNorm,
    LpNorm,
    Lrn,
    NormalizeL2,
    RmsNorm,
)
from tilewright.ir.types import DType


def channel_operands(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, ...]:
    """x [N, C, *spatial], scale [C] and b [C]."""
    return tuple(random_array(rng, DType.F32, s) for s in (shape, shape[1:2], shape[1:2]))


@samples_of(BatchNorm)
def batch_norm(cls: type[BatchNorm], rng: np.random.Generator) -> Iterator[Sample]:
    parameters = frozenset({1, 2, 3, 4})
    for shape in ((2, 17, 5, 3), (4, 3), (1, 5, 7), (1, 2, 3, 2, 4)):
        vectors = [random_array(rng, DType.F32, shape[1:2]) for _ in range(3)]
        var = random_array(rng, DType.F32, shape[1:2], 0.5, 2)
        yield Sample(cls(1e-5), (random_array(rng, DType.F32, shape), *vectors, var), parameters)


@samples_of(LayerNorm)
def layer_norm(cls: type[LayerNorm], rng: np.random.Generator) -> Iterator[Sample]:
    for shape, axis, has_bias in (
        ((2, 5, 17), 2, True),
        ((3, 4, 6), 1, True),
        ((4, 32), 1, False),
        ((7,), 0, True),
    ):
        x, scale, b = (random_array(rng, DType.F32, s) for s in (shape, shape[axis:], shape[axis:]))
        yield Sample(cls(axis, 1e-5), (x, scale, b if has_bias else None), frozenset({1, 2}))


@samples_of(RmsNorm)
def rms_norm(cls: type[RmsNorm], rng: np.random.Generator) -> Iterator[Sample]:
    for shape, axis in (((2, 5, 17), 2), ((4, 32), 1)):
        x, scale = (random_array(rng, DType.F32, s) for s in (shape, shape[axis:]))
        yield Sample(cls(axis, 1e-6), (x, scale), frozenset({1}))


@samples_of(GroupNorm)
def group_norm(cls: type[GroupNorm], rng: np.random.Generator) -> Iterator[Sample]:
    for groups, shape in ((4, (2, 12, 5, 6)), (1, (1, 3, 9)), (5, (2, 5, 4, 4)), (17, (2, 17, 5, 6)), (3, (1, 3, 9))):
        yield Sample(cls(groups, 1e-5), channel_operands(rng, *shape), frozenset({1, 2}))


@samples_of(Lrn)
def lrn(cls: type[Lrn], rng: np.random.Generator) -> Iterator[Sample]:
    for size, shape in ((5, (1, 17, 4, 5)), (7, (2, 6, 3, 3)), (3, (1, 2, 3, 3))):
        yield Sample(cls(size, alpha=0.25, beta=0.75, bias=1.5), (random_array(rng, DType.F32, shape),))


@samples_of(LpNorm)
def lp_norm(cls: type[LpNorm], rng: np.random.Generator) -> Iterator[Sample]:
    for p, axis, shape in ((2, 1, (3, 17)), (1, 0, (4, 3)), (2, 1, (2, 5, 3, 4)), (1, 3, (2, 2, 3, 9))):
        x = random_array(rng, DType.F32, shape)
        np.moveaxis(x, axis, 0)[:, 0] = 0
        yield Sample(cls(axis, p), (x,))


@samples_of(NormalizeL2)
def normalize_l2(cls: type[NormalizeL2], rng: np.random.Generator) -> Iterator[Sample]:
    for axes, epsilon, mode in (
        ((1,), 1e-10, "add"),
        ((1, 2, 3), 1e-3, "max"),
        ((3,), 1.0, "add"),
        ((2, 3), 0.5, "max"),
    ):
        yield Sample(cls(axes, epsilon, mode), (random_array(rng, DType.F32, (2, 5, 3, 4)),))
    yield Sample(cls((0, 2), 50.0, "max"), (random_array(rng, DType.F32, (4, 1, 3)),))
