"""Samples of the family ``weight_only``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    random_array,
    samples_of,
)

from tilewright.ir.ops.weight_only import WeightOnlyMatMul
from tilewright.ir.types import Arrays, DType


@samples_of(WeightOnlyMatMul)
def weight_only_matmul(cls: type[WeightOnlyMatMul], rng: np.random.Generator) -> Iterator[Sample]:
    known = frozenset({1, 2, 3, 4})

    def array(*shape: int) -> np.ndarray:
        return random_array(rng, DType.F32, shape)

    def weights(inner: int, columns: int, block: int, *, zero: bool = False, limit: int = 128) -> Arrays:
        blocks = inner // block, columns
        w = rng.integers(-limit, limit, (inner, columns)).astype(np.int8)
        zeros = rng.integers(-limit, limit, blocks).astype(np.float32) if zero else None
        return [w, rng.uniform(0.01, 0.1, blocks).astype(np.float32), zeros]

    yield Sample(cls(32), (array(3, 32), *weights(32, 16, 32)), known)
    # Integers of 4 bits, in blocks, with zero points; a few rows and many.
    for rows in (1, 2, 9):
        yield Sample(cls(8), (array(rows, 40), *weights(40, 33, 8, zero=True, limit=8), array(33)), known)
    # What an engine may round to 16 bits, of numbers that have no more.
    coarse = np.rint(array(9, 64) * 64) / 64
    yield Sample(cls(32, x_bits=16), (coarse.astype(np.float32), *weights(64, 32, 32, limit=8)), known)
    yield Sample(cls(16, "gelu"), (array(2, 3, 48), *weights(48, 70, 16), array(70), array(2, 3, 70)), known)
    yield Sample(cls(4, "relu"), (array(3, 12), *weights(12, 24, 4, zero=True, limit=8), None, array(3, 24)), known)
    # Several matrices, of which each matrix of x meets one.
    for bits, rows in ((4, 1), (8, 2)):
        w = weights(5 * 24, 20, 8, zero=bits == 8, limit=1 << (bits - 1))
        which = np.array([[3, 0, -1], [2, 2, 4]])
        operands = (array(2, 3, rows, 24), *w, None, array(2, 3, rows, 20) if rows == 2 else None, which)
        yield Sample(cls(8), operands, known)
    # Rows that end within a word.
    yield Sample(cls(7), (array(6, 7), *weights(7, 20, 7)), known)
    yield Sample(cls(7), (array(1, 7), *weights(7, 20, 7, zero=True)), known)
