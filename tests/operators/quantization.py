"""Samples of the family ``quantization``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    samples_of,
)

from tilewright.ir.ops.quantization import (
    STORED,
    Dequantize,
    DequantizeLinear,
    DynamicQuantizeLinear,
    FakeQuantize,
    Quantize,
    QuantizeLinear,
    Requantize,
    StorageCast,
)
from tilewright.ir.types import DType, Quantization, TensorType


def _random_integers(rng: np.random.Generator, type: TensorType) -> np.ndarray:
    limits = np.iinfo(type.dtype.numpy)
    return rng.integers(limits.min, limits.max, type.shape, endpoint=True).astype(type.dtype.numpy)


def _sample_types(rng: np.random.Generator) -> tuple[TensorType, ...]:
    """Types of [2, 5, 4], quantised per tensor and per channel."""
    shape = (2, 5, 4)
    scales = rng.uniform(0.01, 0.05, 5).astype(np.float32)
    return (
        TensorType(shape, DType.I8, Quantization.per_tensor(float(np.float32(0.0173)), -5)),
        TensorType(shape, DType.U8, Quantization.per_tensor(0.03125, 128)),
        TensorType(shape, DType.I16, Quantization.per_tensor(float(np.float32(1e-4)), 0)),
        TensorType(shape, DType.I8, Quantization.per_channel(scales, 1)),
    )


@samples_of(QuantizeLinear)
def quantize_linear(cls: type[QuantizeLinear], rng: np.random.Generator) -> Iterator[Sample]:
    x = (3 * rng.standard_normal((2, 5, 7))).astype(np.float32)
    halves = (np.arange(-1200, 1200) / 4).astype(np.float32)
    known = frozenset({1, 2})
    for to in STORED:
        zero = np.asarray(3, to.numpy)
        yield Sample(cls(to), (halves, np.asarray(0.5, np.float32), zero), known)
        yield Sample(cls(to), (x, np.asarray(0.0173, np.float32), zero))
    yield Sample(cls(DType.U8), (x, np.asarray(0.02, np.float32), None), known)
    scales = rng.uniform(0.001, 0.1, 5).astype(np.float32)
    yield Sample(cls(DType.I8, 1), (x, scales, rng.integers(-9, 9, 5).astype(np.int8)), known)
    special = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0], np.float32)
    yield Sample(cls(DType.I8), (special, np.asarray(0.1, np.float32), np.asarray(-5, np.int8)), known)
    yield Sample(cls(DType.U8), (x.astype(np.float16), np.asarray(0.02, np.float16), np.asarray(9, np.uint8)), known)


@samples_of(DequantizeLinear)
def dequantize_linear(cls: type[DequantizeLinear], rng: np.random.Generator) -> Iterator[Sample]:
    known = frozenset({1, 2})
    for dtype in STORED:
        limits = np.iinfo(dtype.numpy)
        x = rng.integers(limits.min, limits.max, (3, 4, 5), endpoint=True).astype(dtype.numpy)
        yield Sample(cls(), (x, np.asarray(0.037, np.float32), np.asarray(7, dtype.numpy)), known)
        yield Sample(cls(), (x, np.asarray(0.037, np.float32), None))
    scales = rng.uniform(0.001, 0.1, 4).astype(np.float32)
    x = rng.integers(-128, 128, (3, 4, 5)).astype(np.int8)
    yield Sample(cls(1), (x, scales, rng.integers(-9, 9, 4).astype(np.int8)), known)
    yield Sample(cls(0), (rng.integers(-(2**31), 2**31, 4).astype(np.int32), scales, None), known)
    yield Sample(cls(), (x, np.asarray(0.04, np.float16), np.asarray(1, np.int8)), known)


@samples_of(DynamicQuantizeLinear)
def dynamic_quantize_linear(cls: type[DynamicQuantizeLinear], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls(), (rng.standard_normal((3, 17)).astype(np.float32),))
    yield Sample(cls(), (np.array([[1.0, 2.0, 3.0]], np.float32),))
    yield Sample(cls(), (np.array([-2.55, 2.55, 0.005], np.float32),))
    yield Sample(cls(), (-rng.random((5,)).astype(np.float32),))
    yield Sample(cls(), (np.zeros((2, 2), np.float32),))


@samples_of(Quantize)
def quantize(cls: type[Quantize], rng: np.random.Generator) -> Iterator[Sample]:
    for type in _sample_types(rng):
        x = (3 * rng.standard_normal(type.shape)).astype(np.float32)
        yield Sample(cls(), (x,), result_types=(type,))
    halves = (np.arange(-600, 600) / 4).astype(np.float32)
    yield Sample(cls(), (halves,), result_types=(TensorType((1200,), DType.U8, Quantization.per_tensor(0.5, 77)),))


@samples_of(Dequantize)
def dequantize(cls: type[Dequantize], rng: np.random.Generator) -> Iterator[Sample]:
    bias = TensorType((7,), DType.I32, Quantization.per_tensor(2.0**-20))
    for type in (*_sample_types(rng), bias):
        yield Sample(cls(), (_random_integers(rng, type),), types=(type,))


@samples_of(Requantize)
def requantize(cls: type[Requantize], rng: np.random.Generator) -> Iterator[Sample]:
    types = _sample_types(rng)
    for source in types:
        for target in types:
            yield Sample(cls(), (_random_integers(rng, source),), types=(source,), result_types=(target,))
    # A single number, of 16 bits on either side.
    wide, narrow = (TensorType((), t, Quantization.per_tensor(0.01)) for t in (DType.I16, DType.I8))
    for source, target in ((wide, wide), (wide, narrow), (narrow, wide)):
        yield Sample(cls(), (_random_integers(rng, source),), types=(source,), result_types=(target,))


@samples_of(StorageCast)
def storage_cast(cls: type[StorageCast], rng: np.random.Generator) -> Iterator[Sample]:
    for type in _sample_types(rng):
        yield Sample(cls(), (_random_integers(rng, type),), result_types=(type,))
        yield Sample(cls(), (_random_integers(rng, type),), types=(type,))


@samples_of(FakeQuantize)
def fake_quantize(cls: type[FakeQuantize], rng: np.random.Generator) -> Iterator[Sample]:
    """Grids of 4 to 32 bits, per tensor and per channel, with exact ties, saturation and numbers that are none."""
    known = frozenset({1, 2, 3})

    def sample(x: np.ndarray, scale: float | np.ndarray, lowest: int, bits: int) -> Sample:
        grid = (lowest, lowest + 2**bits - 1)
        scales = np.asarray(scale, x.dtype)
        bounds = [np.asarray(scales.astype(np.float64) * bound, x.dtype) for bound in grid]
        return Sample(cls(), (x, scales, *bounds), known)

    halves = (np.arange(-1200, 1200) / 4).astype(np.float32)
    for bits in (4, 8, 12, 16, 24, 32):
        yield sample(halves, 0.5, -(2 ** (bits - 1)), bits)
        yield sample(3 * rng.standard_normal((2, 16, 3, 7)).astype(np.float32), 1e-3, -77, bits)
    x = 3 * rng.standard_normal((2, 16, 5))
    scales = rng.uniform(0.001, 0.1, (16, 1))
    for dtype in (np.float32, np.float64):
        yield sample(x.astype(dtype), scales, -128, 8)
    yield sample(np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, -0.0], np.float32), 0.1, -5, 8)
    arrays = (x.astype(np.float32), np.float32(0.02), np.float32(-1), np.float32(2))
    yield Sample(cls(), tuple(np.asarray(array) for array in arrays))
