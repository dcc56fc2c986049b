"""Seeds of random networks and programs: some run each time, and sweeps run the others."""

from __future__ import annotations

import pytest


def seeds(each_time: int, all_together: int) -> list[object]:
    """Values of a test's parameter: from 0 on, ``all_together``, of which the first ``each_time`` are in no sweep."""
    others = (pytest.param(seed, marks=pytest.mark.sweep) for seed in range(each_time, all_together))
    return [*range(each_time), *others]
