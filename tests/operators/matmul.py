"""Samples of the family ``matmul``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from samples import (
    Sample,
    channel_type,
    quantized_type,
    random_array,
    samples_of,
    stored_array,
    weight_array,
)

from tilewright.ir.ops.matmul import Determinant, MatMul, NarrowMatMul
from tilewright.ir.types import DType, TensorType


@samples_of(MatMul)
def mat_mul(cls: type[MatMul], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int, dtype: DType = DType.F32) -> np.ndarray:
        return random_array(rng, dtype, shape)

    weights = frozenset({1, 2})
    yield Sample(cls(), (array(3, 5), array(5, 4), None), weights)
    yield Sample(cls(), (array(1, 65), array(65, 33), array(33)), weights)
    yield Sample(cls(transpose_b=True), (array(7, 64), array(48, 64), array(48)), weights)
    yield Sample(cls(transpose_a=True), (array(9, 17), array(9, 19), None))
    yield Sample(cls(transpose_a=True, transpose_b=True), (array(2, 6, 5), array(2, 3, 6), None))
    yield Sample(cls(), (array(2, 3, 17, 8), array(2, 3, 8, 17), None))
    yield Sample(cls(transpose_b=True), (array(2, 3, 5, 8), array(2, 3, 7, 8), None))
    yield Sample(cls(), (array(2, 5, 16), array(16, 10), array(10)), weights)
    yield Sample(cls(), (array(3, 1, 4, 6), array(2, 6, 5), None))
    yield Sample(cls(), (array(4, 6), array(3, 6, 1), None))
    yield Sample(cls(act="relu"), (array(4, 32), array(32, 16), array(16)), weights)
    yield Sample(cls(act="gelu"), (array(2, 3, 8), array(8, 16), array(16), array(2, 3, 16)), weights)
    clipped = cls(transpose_b=True, act="clip", act_args=(-1.0, 2.0))
    yield Sample(clipped, (array(5, 24), array(31, 24), None, array(5, 31)), weights)
    yield Sample(cls(), (array(5, 7, dtype=DType.F64), array(7, 3, dtype=DType.F64), array(3, dtype=DType.F64)))
    yield Sample(cls(), (array(2, 5, 7, dtype=DType.I32), array(7, 3, dtype=DType.I32), None))
    yield Sample(cls(), (array(2, 9, dtype=DType.I64), array(9, 2, dtype=DType.I64), array(2, dtype=DType.I64)))
    yield from mat_mul_quantized_samples(cls, rng)


@samples_of(NarrowMatMul)
def narrow_mat_mul(cls: type[NarrowMatMul], rng: np.random.Generator) -> Iterator[Sample]:
    for sample in mat_mul(MatMul, rng):
        x = sample.inputs[0]
        if not sample.types and x is not None and x.dtype == np.float32:
            yield replace(sample, operator=cls(**vars(sample.operator)))


def mat_mul_quantized_samples(cls: type[MatMul], rng: np.random.Generator) -> Iterator[Sample]:
    def sample(
        matmul: MatMul, x: TensorType, w: TensorType, bias: bool, scale: float, zero: int, constant: bool = True
    ) -> Sample:
        b = rng.integers(-3000, 3000, w.shape[matmul.column_axis(w)]).astype(np.int32) if bias else None
        y = quantized_type(x.dtype, matmul.infer(x, w, None, None).shape, scale, zero)
        arrays = (stored_array(rng, x.dtype, x.shape), weight_array(rng, w.dtype, w.shape), b)
        types = (x, w, TensorType.of(b) if b is not None else None)
        return Sample(matmul, arrays, frozenset({1, 2} if constant else ()), types, (y,))

    u8, i8 = DType.U8, DType.I8
    row = quantized_type(i8, (1, 65), 0.02, -12)
    yield sample(cls(), row, channel_type(rng, i8, (65, 33), 1), False, 0.1, 3)
    yield sample(cls(transpose_b=True), row, channel_type(rng, i8, (33, 65), 0), True, 0.1, 3)
    yield sample(
        cls(transpose_b=True, act="leaky_relu", act_args=(0.2,)),
        quantized_type(u8, (5, 64), 0.02, 120),
        quantized_type(u8, (17, 64), 0.01, 29),
        True,
        0.1,
        40,
    )
    batch = quantized_type(i8, (2, 5, 16), 0.5, 0)
    yield sample(cls(), batch, quantized_type(i8, (16, 10), 2.0**-8, 4), False, 2.0**-2, 0)
    yield sample(cls(), batch, quantized_type(i8, (2, 16, 7), 2.0**-8, 0), False, 2.0**-2, -9, constant=False)


@samples_of(Determinant)
def determinant(cls: type[Determinant], rng: np.random.Generator) -> Iterator[Sample]:
    for shape in ((3, 3), (2, 3, 5, 5), (4, 1, 1)):
        yield Sample(cls(), (random_array(rng, DType.F32, shape),))
    yield Sample(cls(), (np.array([[0.0, 2, 1], [3, 0, 1], [0, 1, 0]], np.float32),))
    yield Sample(cls(), (np.array([[[1.0, 2], [2, 4]], [[0, 1], [0, 1]]], np.float32),))
