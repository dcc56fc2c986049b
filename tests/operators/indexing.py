"""Samples of the family ``indexing``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND


@samples_of(Gather)
def gather(cls: type[Gather], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((5, 4, 3)).astype(np.float32)
    yield Sample(cls(0), (x, np.array([[0, 4], [-1, 2]])))
    yield Sample(cls(1), (x, np.array([3, -4, 0], np.int32)), frozenset({1}))
    yield Sample(cls(2), (x, np.array(-2)))
    yield Sample(cls(0), (rng.integers(-9, 9, (7,)), np.array([6, 0])))
    yield Sample(cls(0), (rng.integers(0, 255, (9, 5)).astype(np.uint8), rng.integers(0, 9, (2, 3))))


@samples_of(GatherElements)
def gather_elements(cls: type[GatherElements], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((4, 5, 3)).astype(np.float32)
    yield Sample(cls(0), (x, rng.integers(-4, 4, (2, 5, 3))))
    yield Sample(cls(1), (x, rng.integers(-5, 5, (4, 7, 2)).astype(np.int32)))
    yield Sample(cls(0), (rng.integers(-9, 9, (6,)), np.array([5, -6])))


@samples_of(GatherND)
def gather_nd(cls: type[GatherND], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((3, 4, 5)).astype(np.float32)
    yield Sample(cls(), (x, np.array([[0, 1], [2, -1]])))
    yield Sample(cls(), (x, np.array([[[2, 3, 4]], [[0, 0, -5]]])))
    yield Sample(cls(1), (x, np.array([[[1], [0]], [[3], [2]], [[0], [-1]]])))
    yield Sample(cls(2), (rng.integers(-9, 9, (2, 2, 3)), rng.integers(-3, 3, (2, 2, 1))))


@samples_of(ScatterElements)
def scatter_elements(cls: type[ScatterElements], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((4, 5)).astype(np.float32)
    distinct = np.stack([rng.permutation(5)[:3] for _ in range(4)])
    yield Sample(cls(1), (x, distinct, rng.standard_normal((4, 3)).astype(np.float32)))
    for reduction in ("add", "mul", "min", "max"):
        updates = rng.standard_normal((3, 5)).astype(np.float32)
        yield Sample(cls(0, reduction), (x, rng.integers(-4, 4, (3, 5)), updates))


@samples_of(ScatterND)
def scatter_nd(cls: type[ScatterND], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((4, 3, 5)).astype(np.float32)
    yield Sample(cls(), (x, np.array([[0], [-1]]), rng.standard_normal((2, 3, 5)).astype(np.float32)))
    yield Sample(cls(), (x, np.array([[[3, 2]], [[0, -3]]]), rng.standard_normal((2, 1, 5)).astype(np.float32)))
    for reduction in ("add", "mul", "min", "max"):
        updates = rng.standard_normal((3, 5)).astype(np.float32)
        yield Sample(cls(reduction), (x, np.array([[1, 1], [2, 0], [1, 1]]), updates))


@samples_of(OneHot)
def one_hot(cls: type[OneHot], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(5, 1), (np.array([0, 4, -1, 7, -6]), np.array([0.0, 1.0], np.float32)))
    yield Sample(cls(3, 0), (rng.integers(-3, 3, (2, 4)), np.array([-1.0, 2.5], np.float32)))
    yield Sample(cls(4, 1), (rng.integers(-4, 4, (2, 3)), np.array([7, 9])), frozenset({1}))
    yield Sample(cls(4, 1), (rng.integers(-4, 4, (2, 3)).astype(np.int32), np.array([0.5, -2.0], np.float32)))
