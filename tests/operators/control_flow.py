"""Samples of the family ``control_flow``: none, since its operators mean nothing without the module of their bodies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, samples_of

from tilewright.ir.ops.control_flow import ControlFlow


@samples_of(ControlFlow)
def control_flow(cls: type[ControlFlow], rng: np.random.Generator) -> Iterator[Sample]:
    return iter(())
