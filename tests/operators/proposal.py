"""Samples of the family ``proposal``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.detection.proposal import Proposal


@samples_of(Proposal)
def proposal(cls: type[Proposal], rng: np.random.Generator) -> Iterator[Sample]:
    ratios, scales = (0.5, 1.0, 2.0), (2.0, 4.0)
    # Of equal scores, OpenVINO takes any first.
    scores = (rng.permutation(2 * 12 * 3 * 4).reshape(2, 12, 3, 4) / 300).astype(np.float32)
    deltas = (0.3 * rng.standard_normal((2, 24, 3, 4))).astype(np.float32)
    for image in ((48.0, 64.0, 1.0), (48.0, 64.0, 1.5, 1.25)):
        for operator in (
            cls(16, ratios, scales, 16, 0, 40, 10, 0.7),
            cls(16, ratios, scales, 16, 0, 1000, 5, 0.3, 10.0, 5.0, True, True),
            cls(7, ratios, scales, 16, 2, 20, 6, 0.5, clip_before_nms=False, clip_after_nms=True),
        ):
            yield Sample(operator, (scores, deltas, np.array(image, np.float32)))
