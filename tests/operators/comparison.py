"""Samples of the family ``comparison``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, random_array, samples_of

from operators.elementwise import ELEMENT_TYPES, OPERANDS
from tilewright.ir.ops.comparison import Comparison, Equal, Logic, Where
from tilewright.ir.ops.elementwise import BOOL
from tilewright.ir.types import DType

ELEMENT_TYPES.update(
    {
        Comparison: (DType.F32, DType.I64, DType.I32, DType.U8),
        Equal: (DType.F32, DType.I64, DType.I32, DType.BOOL),
        Logic: BOOL,
    }
)


def few_numbers(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...], index: int) -> np.ndarray:
    """Few different numbers, so that equal ones meet."""
    return np.asarray(np.rint(random_array(rng, dtype, shape, -2, 2)), dtype.numpy)


OPERANDS[Comparison] = few_numbers


@samples_of(Where)
def where(cls: type[Where], rng: np.random.Generator) -> Iterator[Sample]:
    def array(dtype: DType, *shape: int) -> np.ndarray:
        return random_array(rng, dtype, shape)

    for dtype in (DType.F32, DType.F16, DType.I64, DType.I32, DType.U8):
        yield Sample(cls(), (array(DType.BOOL, 3, 17), array(dtype, 3, 17), array(dtype, 3, 17)))
        yield Sample(cls(), (array(DType.BOOL, 2, 1, 5), array(dtype, 3, 1), array(dtype)), frozenset({2}))
    # Condition or elements repeated along rows of whole vectors and a rest.
    for condition, x in (((2, 5, 1), (2, 1, 19)), ((19,), (2, 5, 1))):
        yield Sample(cls(), (array(DType.BOOL, *condition), array(DType.I64, *x), array(DType.I64, 5, 19)))
    yield Sample(cls(), (array(DType.BOOL), array(DType.F32, 4), array(DType.F32, 2, 1)))
