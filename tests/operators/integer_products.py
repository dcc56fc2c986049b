"""Samples of the family ``integer_products``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
    stored_array,
    weight_array,
)

from tilewright.ir.ops.integer_products import (
    ConvInteger,
    MatMulInteger,
    QLinearConv,
    QLinearMatMul,
)
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


@samples_of(QLinearConv)
def qlinear_conv(cls: type[QLinearConv], rng: np.random.Generator) -> Iterator[Sample]:
    known = frozenset(range(1, 9))

    def scalar(value: float) -> np.ndarray:
        return np.asarray(value, np.float32)

    for x_dtype, w_dtype, channels in ((DType.U8, DType.U8, 1), (DType.U8, DType.I8, 5), (DType.I8, DType.I8, 5)):
        x, w = stored_array(rng, x_dtype, (1, 3, 6, 5)), weight_array(rng, w_dtype, (5, 3, 3, 3))
        scales = rng.uniform(0.001, 0.01, channels).astype(np.float32)
        zero_w = np.asarray(3 if w_dtype is DType.U8 else 0, w_dtype.numpy)
        zeros_w = np.full(channels, zero_w) if channels > 1 else zero_w
        zero_x, zero_y = np.asarray(9, x_dtype.numpy), np.asarray(100, x_dtype.numpy)
        b = rng.integers(-5000, 5000, 5).astype(np.int32)
        w_scale = scales if channels > 1 else scales[0].reshape(())
        operands = (x, scalar(0.04), zero_x, w, w_scale, zeros_w, scalar(0.05), zero_y)
        yield Sample(cls((1, 1), (1, 1, 1, 1), (1, 1)), (*operands, b), known)
        yield Sample(cls((2, 1), (0, 1, 2, 0), (1, 2)), (*operands, None), known)
    x, w = stored_array(rng, DType.I8, (2, 19, 5, 5)), weight_array(rng, DType.I8, (19, 1, 3, 3))
    zero = np.asarray(-3, np.int8)
    operands = (x, scalar(0.5), zero, w, scalar(0.25), np.asarray(0, np.int8), scalar(8), zero, None)
    yield Sample(cls((1, 1), (1, 1, 1, 1), (1, 1), 19), operands, known)


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


@samples_of(QLinearMatMul)
def qlinear_mat_mul(cls: type[QLinearMatMul], rng: np.random.Generator) -> Iterator[Sample]:
    known = frozenset(range(1, 8))
    for dtype, b_dtype in ((DType.U8, DType.U8), (DType.U8, DType.I8), (DType.I8, DType.I8)):
        a, b = stored_array(rng, dtype, (3, 4, 17)), weight_array(rng, b_dtype, (17, 5))
        left = (a, np.asarray(0.04, np.float32), np.asarray(9, dtype.numpy))
        result = (np.asarray(0.07, np.float32), np.asarray(77, dtype.numpy))
        yield Sample(cls(), (*left, b, np.asarray(0.01, np.float32), np.asarray(3, b_dtype.numpy), *result), known)
        scales = rng.uniform(0.001, 0.01, 5).astype(np.float32)
        yield Sample(cls(), (*left, b, scales, rng.integers(0, 9, 5).astype(b_dtype.numpy), *result), known)
