"""Sums of short rows, of which several are added up together."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS, described, run

from tilewright.codegen.cpu.kernels.reduction import Sum, dimensions_of


@pytest.mark.parametrize("target", [*TARGETS, "x86-64-v2"])
@pytest.mark.parametrize(("rows", "length"), [(3, 53), (8, 11), (29, 16), (29, 53)])
def test_short_rows_are_added_up_together(rows: int, length: int, target: str, rng: np.random.Generator) -> None:
    lanes = described(target).lanes
    x = rng.standard_normal((rows, length)).astype(np.float32)
    spec = Sum(*dimensions_of(x.shape, (1,)), divisor=3)
    (y,) = run(spec, described(target), [x], [((rows,), np.float32)])
    np.testing.assert_allclose(y, (x.sum(1, np.float64) / 3).astype(np.float32), rtol=1e-6)
    together = lanes // 2 if rows >= lanes // 2 else 1
    assert spec.kernel(described(target)).units == -(-rows // together)
