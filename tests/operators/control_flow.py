"""Samples of the family ``control_flow``: none, since its operators mean nothing without the module of their bodies, or
have no results.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, samples_of

from tilewright.ir.ops.control_flow import ControlFlow, Refuse


@samples_of(ControlFlow)
def control_flow(cls: type[ControlFlow], rng: np.random.Generator) -> Iterator[Sample]:
    return iter(())


@samples_of(Refuse)
def refuse(cls: type[Refuse], rng: np.random.Generator) -> Iterator[Sample]:
    return iter(())
