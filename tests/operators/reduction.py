"""Samples of the family ``reduction``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.reduction import (
    ArgExtreme,
    Cumulative,
    Reduce,
    ReduceExtreme,
    TopK,
)


@samples_of(Reduce)
def reduce(cls: type[Reduce], rng: np.random.Generator) -> Iterator[Sample]:
    x = (0.1 + rng.random((2, 3, 4, 5))).astype(np.float32)
    for axes, keepdims in (((2, 3), True), ((1,), False), ((0, 1, 2, 3), False), ((), True), ((0, 2), True)):
        yield Sample(cls(axes, keepdims), (x,))
    yield Sample(cls((1,), True), (rng.standard_normal((3, 65)).astype(np.float32) ** 2,))
    yield Sample(cls((0,), True), (rng.standard_normal((3, 69)).astype(np.float32) ** 2,))
    for length in (5, 13):
        yield Sample(cls((1,), False), (rng.standard_normal((37, length)).astype(np.float32) ** 2,))
    yield Sample(cls((0,), False), (rng.integers(1, 9, (3, 5)).astype(np.int32),))
    yield Sample(cls((1,), False), (rng.integers(1, 9, (2, 7)),))
    # A row, short ones side by side, and columns, of more and fewer than a vector has.
    for shape, axis in (((2, 19), 1), ((37, 5), 1), ((3, 21), 0)):
        yield Sample(cls((axis,), True), (0.5 + rng.random(shape),))


@samples_of(ReduceExtreme)
def reduce_extreme(cls: type[ReduceExtreme], rng: np.random.Generator) -> Iterator[Sample]:
    yield from reduce(cls, rng)
    yield Sample(cls((1,), False), (rng.standard_normal((3, 17)).astype(np.float32),))
    yield Sample(cls((0,), True), (rng.integers(-128, 127, (4, 3)).astype(np.int8),))
    yield Sample(cls((1,), False), (rng.integers(0, 255, (4, 3)).astype(np.uint8),))


@samples_of(ArgExtreme)
def arg_extreme(cls: type[ArgExtreme], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((3, 17, 4)).astype(np.float32)
    few = rng.integers(0, 3, (2, 9)).astype(np.float32)
    for shape in ((2, 70), (2, 6, 21)):
        for last in (False, True):
            yield Sample(cls(1, True, last), (rng.integers(0, 9, shape).astype(np.float32),))
    for axis, keepdims in ((0, True), (1, False), (2, True)):
        yield Sample(cls(axis, keepdims), (x,))
    for last in (False, True):
        yield Sample(cls(1, False, last), (few,))
        yield Sample(cls(1, False, last), (rng.integers(0, 3, (37, 7)).astype(np.float32),))
        yield Sample(cls(0, True, last), (few.astype(np.int32),))
        yield Sample(cls(1, True, last), (few.astype(np.uint8),))


@samples_of(TopK)
def top_k(cls: type[TopK], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((3, 11, 2)).astype(np.float32)
    for largest in (True, False):
        yield Sample(cls(1, 4, largest), (x,))
        yield Sample(cls(0, 7, largest), (rng.integers(0, 4, (9, 2)),))
        yield Sample(cls(1, 5, largest), (rng.integers(0, 4, (2, 5)).astype(np.float32),))
        yield Sample(cls(0, 1, largest), (rng.integers(0, 4, (6,)).astype(np.int32),))
        many = rng.integers(0, 30, (2, 90, 2)).astype(np.float32)
        yield Sample(cls(1, 21, largest), (many,))
        yield Sample(cls(1, 80, largest), (many,))
        yield Sample(cls(1, 3, largest), (many,))
        # Many of more, whose upper bits are counted first: of both signs, with equal ones and such beyond all.
        wide = np.round(rng.standard_normal((2, 700)) * 40).astype(np.float32) / 16
        wide[:, ::90], wide[0, ::70], wide[1, 5::350] = -0.0, -np.inf, np.inf
        yield Sample(cls(1, 200, largest), (wide,))
        yield Sample(cls(1, 200, largest), (rng.integers(-9, 9, (1, 700)).astype(np.int32) << 19,))
        for length in (1, 2, 3, 16, 17):
            yield Sample(cls(1, 1, largest), (rng.integers(0, 3, (40, length)).astype(np.float32),))
        # Few in rows and columns of whole vectors and a rest, with equal ones.
        for axis, k in ((2, 8), (1, 5)):
            yield Sample(cls(axis, k, largest), (rng.integers(0, 30, (2, 9, 85)).astype(np.float32),))


@samples_of(Cumulative)
def cumulative(cls: type[Cumulative], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((3, 7, 2)).astype(np.float32)
    for exclusive in (False, True):
        for reverse in (False, True):
            yield Sample(cls(1, exclusive, reverse), (x,))
    yield Sample(cls(0), (rng.integers(-9, 9, (5,)),))
    yield Sample(cls(1), (1 + rng.random((1, 2, 1030)).astype(np.float32) / 4,))
    yield Sample(cls(1), ((1 + rng.random((2, 5)) / 4).astype(np.float16),))
