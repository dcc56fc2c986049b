"""Samples of the family ``selection``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.selection import Bounded, NonMaxSuppression, NonZero, Unique


@samples_of(NonZero)
def nonzero(cls: type[NonZero], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(), (rng.integers(0, 2, (3, 4, 5)).astype(np.bool_),))
    for shape in ((2, 3, 5, 8, 1), (2, 33, 1)):
        yield Sample(cls(), (rng.integers(0, 2, shape).astype(np.bool_),))
    yield Sample(cls(), (rng.integers(0, 3, (7,)),))
    yield Sample(cls(), (np.array([[0.0, -0.0, np.nan], [1e-30, -2.0, np.inf]], np.float32),))
    yield Sample(cls(), (np.zeros((2, 3), np.int32),))


@samples_of(Unique)
def unique(cls: type[Unique], rng: np.random.Generator) -> Iterator[Sample]:
    for is_sorted in (True, False):
        yield Sample(cls(None, is_sorted), (rng.integers(-3, 4, (3, 7)).astype(np.float32),))
        yield Sample(cls(1, is_sorted), (rng.integers(0, 2, (2, 9, 2)),))
        yield Sample(cls(0, is_sorted), (rng.integers(0, 2, (8, 3)).astype(np.int8),))
    yield Sample(cls(None, True), (np.array([7.5]),))


@samples_of(Bounded)
def bounded(cls: type[Bounded], rng: np.random.Generator) -> Iterator[Sample]:
    for x, limit in ((0, 0), (3, 7), (7, 7)):
        yield Sample(cls(), (np.asarray(x), np.asarray(limit)))


@samples_of(NonMaxSuppression)
def non_max_suppression(cls: type[NonMaxSuppression], rng: np.random.Generator) -> Iterator[Sample]:
    for images, classes, count, room, most, overlap, threshold in (
        (1, 1, 12, 12, 20, 0.3, 0.2),
        (2, 3, 9, 2, 2, 0.5, 0.0),
        (1, 2, 15, 4, 3, 0.1, 0.4),
        (1, 1, 5, 5, 5, 0.0, 2.0),
    ):
        for is_centred in (False, True):
            boxes = rng.random((images, count, 4)).astype(np.float32)
            # Of equal scores the lower box is the better one.
            scores = np.round(5 * rng.random((images, classes, count))).astype(np.float32) / 5
            numbers = np.asarray(most), np.float32(overlap), np.float32(threshold)
            yield Sample(cls(room, is_centred), (boxes, scores, *map(np.asarray, numbers)))
    # More kept boxes than are compared at once; boxes without area, numbers that are none, and huge ones.
    boxes = (10 * rng.random((1, 150, 4))).astype(np.float32)
    boxes[0, :8, 2:] = boxes[0, :8, :2]
    boxes[0, 8:16] = rng.choice(np.array([np.nan, np.inf, -np.inf, 3e38, 1e-30, 0.5], np.float32), (8, 4))
    scores, least = rng.random((1, 1, 150)).astype(np.float32), np.asarray(np.float32(0.02))
    for overlap, is_centred in ((0.6, False), (0.0, False), (0.5, True)):
        yield Sample(cls(150, is_centred), (boxes, scores, np.asarray(150), np.asarray(np.float32(overlap)), least))
