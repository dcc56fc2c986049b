"""Samples of the family ``layout``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.movement import Reorder
from tilewright.ir.types import TensorType


@samples_of(Reorder)
def reorder(cls: type[Reorder], rng: np.random.Generator) -> Iterator[Sample]:
    shapes = [(1, 16, 3, 5), (2, 19, 4, 3), (1, 3, 7), (1, 33, 1, 1)]
    for shape, (source, target) in zip(shapes * 3, [("", "c16")] * 4 + [("c16", "")] * 4 + [("", "")], strict=False):
        x = rng.standard_normal(shape).astype(np.float32)
        type = TensorType.of(x)
        yield Sample(cls(), (x,), types=(type.with_layout(source),), result_types=(type.with_layout(target),))
