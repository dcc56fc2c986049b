"""Samples of the family ``resize``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.resize import COORDINATES, NEAREST, Resize


@samples_of(Resize)
def resize(cls: type[Resize], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x = array(1, 2, 5, 4)
    up, down, odd = (1.0, 1.0, 2.0, 2.0), (1.0, 1.0, 0.5, 0.75), (1.0, 1.0, 1.7, 0.6)
    plain = [c for c in COORDINATES if c != "tf_crop_and_resize"]
    for coordinates, scales in itertools.product(plain, (up, down, odd)):
        extents = tuple(int(np.float32(e) * np.float32(s)) for e, s in zip(x.shape, scales, strict=True))
        rounded = tuple(float(np.float32(s)) for s in scales)
        for nearest_mode in NEAREST:
            yield Sample(cls(extents, rounded, "nearest", coordinates, nearest_mode), (x,))
        if coordinates != "tf_half_pixel_for_nn":
            yield Sample(cls(extents, rounded, "linear", coordinates), (x,))
            yield Sample(cls(extents, rounded, "cubic", coordinates), (x,))
    half = (1.0, 1.0, 0.5, 0.5)
    yield Sample(cls((1, 2, 10, 8), up, "cubic", cubic_coeff_a=-0.5, exclude_outside=True), (x,))
    yield Sample(cls((1, 2, 2, 2), half, "cubic", exclude_outside=True), (x,))
    yield Sample(cls((1, 2, 1, 1), (1.0, 1.0, float(np.float32(0.2)), 0.25), "linear", "pytorch_half_pixel"), (x,))
    roi = (0.0, 0.0, 0.25, -0.25, 1.0, 1.0, 0.75, 1.5)
    scales = (1.0, 1.0, float(np.float32(0.6)), 1.5)
    crop = cls((1, 2, 3, 6), scales, "linear", "tf_crop_and_resize", roi=roi, extrapolation_value=7.0)
    yield Sample(crop, (x,))
    yield Sample(cls((1, 2, 15, 12), (1.0, 1.0, 3.0, 3.0)), (rng.integers(0, 255, x.shape).astype(np.uint8),))
    yield Sample(cls((1, 2, 10, 8), up, "nearest", "asymmetric", "floor"), (x.astype(np.float32),))
    yield Sample(cls((2, 3, 14), (1.0, 1.0, 2.0), "linear"), (array(2, 3, 7),))
    yield Sample(cls((1, 2, 6, 4, 10), (1.0, 1.0, 2.0, 1.0, 2.0), "linear"), (array(1, 2, 3, 4, 5),))
    yield Sample(
        cls((6, 4), (2.0, float(np.float32(0.8))), "nearest", "asymmetric", "floor"),
        (rng.integers(-9, 9, (3, 5)).astype(np.int32),),
    )
