"""Samples of the family ``sampling``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, random_array, samples_of

from tilewright.ir.ops.sampling import COORDINATES, PADDINGS, GridSample
from tilewright.ir.types import DType


@samples_of(GridSample)
def grid_sample(cls: type[GridSample], rng: np.random.Generator) -> Iterator[Sample]:
    for padding_mode in PADDINGS:
        for coordinates in COORDINATES:
            for mode in ("linear", "cubic", "nearest"):
                x = random_array(rng, DType.F32, (2, 6, 5, 4))
                reach = 12.3 if coordinates == "pixels" else 3.1
                grid = random_array(rng, DType.F32, (2, 3, 7, 2), -reach, reach)
                yield Sample(cls(mode, padding_mode, coordinates), (x, grid))
            x = random_array(rng, DType.F32, (1, 2, 3, 1, 4))
            reach = 9.7 if coordinates == "pixels" else 2.3
            grid = random_array(rng, DType.F32, (1, 2, 3, 2, 3), -reach, reach)
            yield Sample(cls("linear", padding_mode, coordinates), (x, grid))
            yield Sample(cls("nearest", padding_mode, coordinates), (x, grid))
    line, volume = random_array(rng, DType.F32, (2, 5, 2), -9, 9), random_array(rng, DType.F32, (2, 4, 2, 3, 2), -9, 9)
    for grid in (line, volume):
        yield Sample(cls("linear", "zeros", "pixels"), (random_array(rng, DType.F32, (2, 3, 5, 4)), grid))
    half = random_array(rng, DType.F16, (1, 2, 4, 4)), random_array(rng, DType.F16, (1, 3, 3, 2), -1, 1)
    yield Sample(cls("linear", "zeros", "edges"), half)
    double = random_array(rng, DType.F64, (1, 2, 4, 4)), random_array(rng, DType.F64, (1, 3, 3, 2), -1.4, 1.4)
    yield Sample(cls("cubic", "reflection", "centres"), double)
