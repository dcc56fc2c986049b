"""Samples of the family ``priors``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.detection.priors import PriorBox, PriorBoxClustered

GRID, IMAGE = (3, 2), (48, 64)
VARIANCES = (0.1, 0.1, 0.2, 0.2)


@samples_of(PriorBox)
def prior_box(cls: type[PriorBox], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(GRID, IMAGE, VARIANCES, False, (16.0,)), ())
    for clip, order in ((True, False), (False, True)):
        sizes = (12.0, 20.5), (30.0,)
        operator = cls(GRID, IMAGE, (0.1,), clip, *sizes, (2.0, 3.0, 0.5), True, min_max_aspect_ratios_order=order)
        yield Sample(operator, ())
    yield Sample(cls(GRID, IMAGE, VARIANCES, False, (16.0,), (), (2.0,), False, 16.0, 0.25), ())
    yield Sample(cls(GRID, IMAGE, (), False, (0.2, 0.3), (), (2.0,), True, -1.0, 0.5, False), ())
    yield Sample(cls(GRID, IMAGE, (), False, (), (), (2.0,), fixed_size=(33.0, 16.5), density=(2, 1)), ())
    yield Sample(
        cls(GRID, IMAGE, (), True, (), (), (2.0,), fixed_size=(32.0,), density=(3,), fixed_ratio=(1.0, 2.0)), ()
    )


@samples_of(PriorBoxClustered)
def prior_box_clustered(cls: type[PriorBoxClustered], rng: np.random.Generator) -> Iterator[Sample]:
    sizes = (9.5, 30.0, 61.0), (12.0, 7.0, 80.0)
    yield Sample(cls(GRID, IMAGE, VARIANCES, False, *sizes), ())
    yield Sample(cls(GRID, IMAGE, (), True, *sizes, 16.0, 8.0, 0.25), ())
