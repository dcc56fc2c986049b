"""Seeds of random networks and programs, and cases of two parameters: some run each time, and sweeps run the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest


def seeds(each_time: int, all_together: int) -> list[object]:
    """Values of a test's parameter: from 0 on, ``all_together``, of which the first ``each_time`` are in no sweep."""
    others = (pytest.param(seed, marks=pytest.mark.sweep) for seed in range(each_time, all_together))
    return [*range(each_time), *others]


def in_turn(first: Iterable[object], second: Iterable[object], one_in: int = 2, always: object = None) -> list[object]:
    """Values of two parameters together: of the pairs one in so many is in no sweep, taken so that each value is met
    about as often as any other; all with the second's value `always` are in none."""
    pairs = itertools.product(enumerate(first), enumerate(second))
    return [
        pytest.param(a, b, marks=() if (i + j) % one_in == 0 or b == always else (pytest.mark.sweep,))
        for (i, a), (j, b) in pairs
    ]
