"""Samples of the family ``yolo``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    moved_sample,
    samples_of,
)

from tilewright.ir.ops.detection.yolo import RegionYolo, ReorgYolo


@samples_of(RegionYolo)
def region_yolo(cls: type[RegionYolo], rng: np.random.Generator) -> Iterator[Sample]:
    x = (3 * rng.standard_normal((2, 2 * (4 + 1 + 3), 3, 5))).astype(np.float32)
    for operator in (cls(2, 4, 3), cls(2, 4, 3, False), cls(2, 4, 3, True, 2, 3), cls(4, 2, 1, True, 0, 1)):
        yield Sample(operator, (x,))


@samples_of(ReorgYolo)
def reorg_yolo(cls: type[ReorgYolo], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(2), (rng.standard_normal((2, 8, 4, 6)).astype(np.float32),))
    yield Sample(cls(3), (rng.integers(-9, 9, (1, 9, 3, 6)),))
    yield Sample(cls(1), (rng.integers(0, 9, (1, 2, 3, 2)).astype(np.uint8),))
    yield moved_sample(rng, cls(2), (1, 4, 6, 2))
