"""Samples of the family ``pooling``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    moved_sample,
    quantized_type,
    random_array,
    samples_of,
    stored_array,
)

from tilewright.ir.ops.pooling import (
    AveragePool,
    GlobalAveragePool,
    GlobalLpPool,
    GlobalMaxPool,
    GlobalPool,
    LpPool,
    MaxPool,
    MaxPoolWithIndices,
)
from tilewright.ir.types import DType


def _geometries() -> Iterator[tuple[tuple[int, ...], dict[str, tuple[int, ...]]]]:
    """Shapes of x and windows that the samples of every pooling operator cover."""

    def window(kernel: tuple[int, ...], **changes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        ones = (1,) * len(kernel)
        return {"kernel": kernel, "strides": ones, "pads": (0,) * 2 * len(kernel), "dilations": ones, **changes}

    yield (1, 3, 6, 7), window((2, 2), strides=(2, 2))
    yield (2, 17, 9, 8), window((3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    yield (1, 16, 7, 5), window((3, 2), strides=(1, 2), pads=(0, 1, 2, 0))
    yield (1, 4, 11, 9), window((3, 2), pads=(1, 0, 1, 1), dilations=(2, 3))
    yield (2, 5, 13), window((4,), strides=(3,), pads=(2, 1))
    yield (1, 2, 5, 4, 6), window((2, 3, 2), strides=(2, 1, 2), pads=(0, 1, 0, 1, 1, 1))


@samples_of(MaxPool)
def max_pool(cls: type[MaxPool], rng: np.random.Generator) -> Iterator[Sample]:
    for shape, window in _geometries():
        yield Sample(cls(**window), (random_array(rng, DType.F32, shape),))
    for dtype in (DType.I8, DType.U8):
        same = cls(kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1))
        yield Sample(same, (random_array(rng, dtype, (1, 3, 5, 6), -100, 100),))
        stored = quantized_type(dtype, (2, 5, 6, 7), 0.1, 3)
        halving = cls(kernel=(3, 2), strides=(2, 2), pads=(1, 0, 0, 1), dilations=(1, 1))
        yield Sample(
            halving,
            (stored_array(rng, dtype, stored.shape),),
            types=(stored,),
            result_types=(halving.infer(stored),),
        )


@samples_of(MaxPoolWithIndices)
def max_pool_with_indices(cls: type[MaxPoolWithIndices], rng: np.random.Generator) -> Iterator[Sample]:
    for shape, window in _geometries():
        for column_major in (False, True):
            x = random_array(rng, DType.F32, shape)
            yield Sample(cls(**window, column_major=column_major), (x,))
    equal = np.ones((1, 2, 4, 4), np.int8)
    yield Sample(cls((2, 2), (2, 2), (0, 0, 0, 0), (1, 1), False), (equal,))


@samples_of(AveragePool)
def average_pool(cls: type[AveragePool], rng: np.random.Generator) -> Iterator[Sample]:
    for shape, window in _geometries():
        for counting in (False, True):
            operator = cls(**window, count_include_pad=counting, overhang=(0,) * len(window["kernel"]))
            yield Sample(operator, (random_array(rng, DType.F32, shape),))
    reaching = cls((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), True, overhang=(1, 1))
    yield Sample(reaching, (random_array(rng, DType.F32, (1, 3, 8, 6)),))
    reaching = cls((3,), (3,), (0, 0), (1,), True, overhang=(2,))
    yield Sample(reaching, (random_array(rng, DType.F32, (2, 3, 7)),))
    for index, (shape, window) in enumerate(_geometries()):
        if max(window["dilations"]) > 1:
            continue
        dtype, zeros = ((DType.I8, (3, -20)), (DType.U8, (128, 99)))[index % 2]
        operator = cls(**window, count_include_pad=index % 3 == 0, overhang=(0,) * len(window["kernel"]))
        x = quantized_type(dtype, shape, 0.05, zeros[0])
        # Half of the samples have equal scales, where means fall on exact ties.
        y = quantized_type(dtype, operator.infer(x).shape, 0.05 if index % 4 < 2 else 0.03, zeros[1])
        yield Sample(operator, (stored_array(rng, dtype, shape),), types=(x,), result_types=(y,))


@samples_of(LpPool)
def lp_pool(cls: type[LpPool], rng: np.random.Generator) -> Iterator[Sample]:
    for p, (shape, window) in zip((1, 2, 3, 2, 2, 1), _geometries(), strict=True):
        yield Sample(cls(**window, p=p), (random_array(rng, DType.F32, shape),))


@samples_of(GlobalPool)
def global_pool(cls: type[GlobalPool], rng: np.random.Generator) -> Iterator[Sample]:
    for shape in ((1, 17, 7, 7), (2, 3, 5), (1, 2, 3, 1, 4)):
        yield Sample(cls(), (random_array(rng, DType.F32, shape),))


@samples_of(GlobalAveragePool)
def global_average_pool(cls: type[GlobalAveragePool], rng: np.random.Generator) -> Iterator[Sample]:
    yield from global_pool(cls, rng)
    for dtype, shape, scales, zeros in (
        (DType.I8, (1, 17, 7, 7), (0.05, 0.02), (-128, 7)),
        (DType.U8, (2, 5, 4, 4), (0.5, 0.5), (128, 131)),
        (DType.I8, (1, 3, 2, 5), (0.05, 0.05), (3, 0)),
    ):
        x = quantized_type(dtype, shape, scales[0], zeros[0])
        y = quantized_type(dtype, (*shape[:2], 1, 1), scales[1], zeros[1])
        yield Sample(cls(), (stored_array(rng, dtype, shape),), types=(x,), result_types=(y,))


@samples_of(GlobalMaxPool)
def global_max_pool(cls: type[GlobalMaxPool], rng: np.random.Generator) -> Iterator[Sample]:
    yield from global_pool(cls, rng)
    yield moved_sample(rng, cls(), (1, 17, 5, 4))


@samples_of(GlobalLpPool)
def global_lp_pool(cls: type[GlobalLpPool], rng: np.random.Generator) -> Iterator[Sample]:
    for p in (1, 2, 3):
        yield Sample(cls(p), (random_array(rng, DType.F32, (2, 17, 4, 5)),))
