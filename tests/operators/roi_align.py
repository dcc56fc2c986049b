"""Samples of the family ``roi_align``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from operators.region_pooling import regions
from tilewright.ir.ops.roi_align import OFFSETS, RoiAlign


@samples_of(RoiAlign)
def roi_align(cls: type[RoiAlign], rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.standard_normal((2, 3, 7, 9)).astype(np.float32)
    for ratio, mode in ((0, "avg"), (2, "avg"), (0, "max"), (3, "max"), (2, "max_interpolated")):
        for alignment in OFFSETS:
            found = regions(rng, 4, 2, 16.0)
            images = found[:, 0].astype(np.int64 if ratio else np.int32)
            yield Sample(cls((2, 3), ratio, 0.5, mode, alignment), (x, found[:, 1:].copy(), images))
