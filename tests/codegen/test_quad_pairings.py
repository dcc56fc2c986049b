"""Quads of weights in lists: each stands in one of them, and no pair of a listed order saturates."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.codegen.cpu.kernels.products.quad_pairings import BOUNDS_BYTES, KINDS, PAIRINGS, listed_quads


@pytest.mark.parametrize("columns", [1, 16, 37])
@pytest.mark.parametrize("most", [64, 90, 127])
def test_lists(most: int, columns: int, rng: np.random.Generator) -> None:
    inner = 120
    weights = rng.integers(-most - 1, most + 1, (inner, columns))
    weights[:4], weights[4:8] = 127, -128
    weights[8:12] = np.array([127, 1, 1, 127])[:, None]
    data = listed_quads(weights)
    panels = -(-columns // 16)
    assert len(data) == panels * (BOUNDS_BYTES + inner)
    for panel in range(panels):
        own = data[panel * BOUNDS_BYTES :]
        bounds = np.frombuffer(own, np.int32, KINDS + 1)
        seen: dict[int, int] = {}
        for kind in range(KINDS):
            for row in np.frombuffer(own[bounds[kind] : bounds[kind + 1]], np.int32).tolist():
                seen[row] = kind
                quad = weights[row : row + 4, panel * 16 : panel * 16 + 16]
                # 255 times either of a pair, or both: what the instruction adds in 16 bits.
                extremes = [
                    [np.clip(sign * quad[[*order]].reshape(2, 2, -1), 0, None).sum(1).max() for sign in (1, -1)]
                    for order in PAIRINGS
                ]
                fits = [255 * up <= 32767 and 255 * down <= 32768 for up, down in extremes]
                assert kind == (fits.index(True) if any(fits) else KINDS - 1)
        assert sorted(seen) == [*range(0, inner, 4)]
        assert seen[0] == seen[4] == KINDS - 1
        assert seen[8] == 0
