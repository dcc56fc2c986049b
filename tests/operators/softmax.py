"""Samples of the family ``softmax``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.softmax import AlongAxis


@samples_of(AlongAxis)
def along_axis(cls: type[AlongAxis], rng: np.random.Generator) -> Iterator[Sample]:
    x = (4 * rng.standard_normal((2, 5, 3, 17))).astype(np.float32)
    for axis in range(4):
        yield Sample(cls(axis), (x,))
    yield Sample(cls(0), (rng.standard_normal(33).astype(np.float32),))
    yield Sample(cls(1), (rng.standard_normal((2, 9, 5)).astype(np.float32),))
    yield Sample(cls(1), (rng.standard_normal((37, 3)).astype(np.float32),))
    yield Sample(cls(1), (rng.standard_normal((2, 570)).astype(np.float32),))
    yield Sample(cls(1), (np.array([[1e4, -1e4, 1e4], [-200.0, -300.0, -400.0]], np.float32),))
