"""Samples of the family ``region_pooling``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.detection.region_pooling import OFFSETS, PsroiPool, RoiAlign, RoiPool


def regions(rng: np.random.Generator, count: int, images: int, scale: float, is_ended: bool = False) -> np.ndarray:
    """Regions [count, 5] about an image of sides ``scale``; some reach beyond it."""
    low = 1.2 * rng.random((count, 2)) - 0.1
    found = np.concatenate(
        [rng.integers(0, images, (count, 1)), low * scale, (low + rng.random((count, 2))) * scale], 1
    )
    if is_ended:
        found[count // 2, 0] = -1
    return found.astype(np.float32)


@samples_of(RoiPool)
def roi_pool(cls: type[RoiPool], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((2, 3, 7, 9)).astype(np.float32)
    yield Sample(cls(0.5, (2, 3)), (x, regions(rng, 5, 2, 16.0)))
    yield Sample(cls(1.0, (4, 1)), (x, regions(rng, 3, 1, 8.0)))
    yield Sample(cls(1.0, (3, 2), "bilinear"), (x, regions(rng, 6, 2, 1.0, True)))
    yield Sample(cls(1.0, (1, 4), "bilinear"), (x, regions(rng, 4, 2, 1.0)))


@samples_of(PsroiPool)
def psroi_pool(cls: type[PsroiPool], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((2, 18, 7, 9)).astype(np.float32)
    yield Sample(cls(0.25, 2, 3), (x, regions(rng, 5, 2, 32.0, True)))
    yield Sample(cls(1.0, 18, 1), (x, regions(rng, 3, 2, 8.0)))
    yield Sample(cls(0.8, 3, 4, "bilinear", (3, 2)), (x, regions(rng, 4, 2, 1.0)))
    yield Sample(cls(1.0, 9, 1, "bilinear", (1, 2)), (x, regions(rng, 4, 2, 1.0, True)))


@samples_of(RoiAlign)
def roi_align(cls: type[RoiAlign], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((2, 3, 7, 9)).astype(np.float32)
    for ratio, mode in ((0, "avg"), (2, "avg"), (0, "max"), (3, "max"), (2, "max_interpolated")):
        for alignment in OFFSETS:
            found = regions(rng, 4, 2, 16.0)
            images = found[:, 0].astype(np.int64 if ratio else np.int32)
            yield Sample(cls((2, 3), ratio, 0.5, mode, alignment), (x, found[:, 1:].copy(), images))
