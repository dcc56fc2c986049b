"""Samples of the family ``call``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.call import Call


@samples_of(Call)
def call(cls: type[Call], rng: np.random.Generator) -> Iterator[Sample]:
    return iter(())
