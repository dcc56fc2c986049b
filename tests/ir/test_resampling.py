"""Nearest resampling by steps: found wherever there are such steps, and never wrong."""

from __future__ import annotations

import numpy as np
from property_tests import given, st

from tilewright.passes.device.resampling import nearest_steps

LIMIT = (1 << 20) - 1


def follow(step: int, origin: int, count: int) -> np.ndarray:
    return (np.arange(count, dtype=np.int64) * step + origin) >> 16


@given(st.integers(0, LIMIT), st.integers(0, 65535), st.integers(1, 300), st.integers(0, 500))
def test_finds_the_steps_that_made_the_indices(step: int, origin: int, count: int, start: int) -> None:
    indices = follow(step, origin, count)
    found = nearest_steps(indices + start, LIMIT)
    assert found is not None
    assert found[0] <= LIMIT
    np.testing.assert_array_equal(follow(*found, count), indices)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_finds_none_only_where_there_are_none(differences: list[int]) -> None:
    indices = np.cumsum([0, *differences]).astype(np.int64)
    found = nearest_steps(indices, LIMIT)
    if found is not None:
        np.testing.assert_array_equal(follow(*found, len(indices)), indices)
        return
    # Indices follow steps only if no two differences over equally many positions differ by more than one.
    spread = [indices[k:] - indices[:-k] for k in range(1, len(indices))]
    assert any(s.max() - s.min() > 1 for s in spread)


def test_indices_that_no_steps_make() -> None:
    assert nearest_steps(np.array([0, 0, 1, 3]), LIMIT) is None
    assert nearest_steps(np.array([1, 0]), LIMIT) is None
    assert nearest_steps(np.array([0, 20]), LIMIT) is None
    assert nearest_steps(np.array([0, 20]), 2 * LIMIT) is not None
