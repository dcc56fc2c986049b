"""Samples of the family ``integer_products``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, samples_of, stored_array, weight_array

from tilewright.ir.ops.integer_products import ConvInteger, MatMulInteger
from tilewright.ir.quantized import EIGHT_BIT
from tilewright.ir.types import DType


@samples_of(ConvInteger)
def conv_integer(cls: type[ConvInteger], rng: np.random.Generator) -> Iterator[Sample]:
    known = frozenset({1, 2, 3})
    one = cls((1, 1), (1, 0, 1, 2), (1, 1))
    for w_dtype in EIGHT_BIT:
        x, w = stored_array(rng, DType.U8, (1, 3, 6, 5)), weight_array(rng, w_dtype, (5, 3, 3, 3))
        yield Sample(one, (x, w, None, None), known)
        yield Sample(one, (x, w, np.asarray(130, np.uint8), np.asarray(3, w_dtype.numpy)), known)
    depthwise = cls((2, 1), (1, 1, 1, 1), (1, 2), 17)
    x, w = stored_array(rng, DType.U8, (1, 17, 7, 6)), weight_array(rng, DType.I8, (17, 1, 3, 3))
    yield Sample(depthwise, (x, w, np.asarray(7, np.uint8), None), known)
    grouped = cls((3,), (4, 3), (2,), 3)
    x, w = stored_array(rng, DType.U8, (2, 15, 40)), weight_array(rng, DType.I8, (21, 5, 3))
    yield Sample(grouped, (x, w, np.asarray(255, np.uint8), None))
    solid = cls((1, 2, 1), (1, 0, 1, 0, 1, 1), (1, 1, 2))
    x, w = stored_array(rng, DType.U8, (1, 2, 3, 4, 5)), weight_array(rng, DType.U8, (3, 2, 2, 2, 2))
    yield Sample(solid, (x, w, np.asarray(9, np.uint8), np.asarray(200, np.uint8)), known)


@samples_of(MatMulInteger)
def mat_mul_integer(cls: type[MatMulInteger], rng: np.random.Generator) -> Iterator[Sample]:
    known = frozenset({1, 2, 3})
    for b_dtype in EIGHT_BIT:
        a, b = stored_array(rng, DType.U8, (3, 17)), weight_array(rng, b_dtype, (17, 5))
        yield Sample(cls(), (a, b, None, None), known)
        yield Sample(cls(), (a, b, np.asarray(120, np.uint8), np.asarray(3, b_dtype.numpy)), known)
        zeros = rng.integers(0, 9, 5).astype(b_dtype.numpy)
        yield Sample(cls(), (a, b, np.asarray(1, np.uint8), zeros), known)
    a, b = stored_array(rng, DType.U8, (2, 3, 4, 6)), weight_array(rng, DType.I8, (3, 6, 7))
    yield Sample(cls(), (a, b, np.asarray(3, np.uint8), None))
