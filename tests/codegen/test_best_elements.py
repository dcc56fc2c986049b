"""Where the extremes of integers are: registers compare them as they are, at the ends of their range as well."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from kernel_harness import described
from operator_samples import Case, make_case
from quantized_cases import check
from samples import Sample

from tilewright.codegen.cpu.families import lower
from tilewright.ir.ops.reduction import ArgMax, ArgMin

SHAPES = (((5, 100), 1), ((2, 19, 33), 1), ((40, 3), 1), ((3, 700), 1))
"""Rows, columns, short rows and rows of several vectors."""


def cases(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (np.int32, np.int8, np.uint8, np.int16, np.uint16):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        for shape, axis in SHAPES:
            # Nothing but the least and the greatest, in lanes that fill the last vector too.
            ends = np.where(rng.random(shape) < 0.5, low, high).astype(dtype)
            for x in (rng.integers(low, high, shape, dtype, endpoint=True), ends, np.full(shape, low, dtype)):
                operator = (ArgMax, ArgMin)[int(rng.integers(2))]
                is_last = dtype is not np.int32 and bool(rng.integers(2))
                name = f"{operator.name}-{x.dtype}-{shape}-{is_last}"
                yield make_case(name, Sample(operator(axis, select_last_index=is_last), (x,)))


@pytest.mark.parametrize("target", ["avx2", "host"])
def test_positions_of_extreme_integers(target: str, rng: np.random.Generator) -> None:
    found = list(cases(rng))
    check(found, target)
    kernels = (lower(op, described(target)) for case in found for op in case.module.main.ops)
    assert all(kernel is not None and kernel.name.startswith("best_") for kernel in kernels)


def test_the_last_of_integers_that_fill_their_range_is_found() -> None:
    """What fills a vector behind the last of them could not be told from the least ones."""
    x = np.full((3, 21), np.iinfo(np.int32).min, np.int32)
    check([make_case("last", Sample(ArgMax(1, select_last_index=True), (x,)))], "host")
