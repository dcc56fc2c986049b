"""Samples of the family ``shape``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    moved_sample,
    samples_of,
)

from tilewright.ir.ops.elementwise import NUMBERS
from tilewright.ir.ops.shape import BitCast, Cast, Expand, Reshape
from tilewright.ir.types import DType


@samples_of(Reshape)
def reshape(cls: type[Reshape], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls((6, 4)), (rng.standard_normal((2, 3, 4)).astype(np.float32),))
    yield Sample(cls((2, 1, 15)), (rng.integers(-99, 99, (5, 3, 2)),))
    yield Sample(cls(()), (np.array([[True]]),))
    yield Sample(cls((1, 1, 1)), (np.array(7, np.uint8),))
    yield moved_sample(rng, cls((1, 60)), (1, 3, 4, 5))


@samples_of(Expand)
def expand(cls: type[Expand], rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(cls((2, 3, 5)), (rng.standard_normal((3, 1)).astype(np.float32),))
    yield Sample(cls((4, 3)), (rng.integers(-9, 9, (4, 3)),))
    yield Sample(cls((7,)), (np.array(True),))
    yield Sample(cls((1, 6, 2)), (rng.integers(0, 9, (1, 1, 2)).astype(np.int32),))


@samples_of(Cast)
def cast(cls: type[Cast], rng: np.random.Generator) -> Iterator[Sample]:
    floats = np.array([0.0, -0.0, 0.5, -0.5, 1.5, -2.5, 127.9, -128.9, 200.5, -300.0, 65000.0, 1e-8], np.float32)
    wide = np.array([3e9, -3e9, 2.0**40, 1e20, -np.inf, np.inf, np.nan], np.float32)
    integers = rng.integers(-(2**40), 2**40, (3, 5))
    for to in DType:
        yield Sample(cls(to), (floats if to is not DType.U32 else np.abs(floats),))
        yield Sample(cls(to), (integers,))
        yield Sample(cls(to), (floats.astype(np.float16),))
    for to in (DType.I8, DType.U8, DType.I16, DType.I32, DType.I64, DType.BOOL, DType.F16, DType.F64):
        yield Sample(cls(to), (wide,))
    for source in (np.uint8, np.int8, np.int32, np.bool_, np.float64):
        yield Sample(cls(DType.F32), (rng.integers(0, 2 if source is np.bool_ else 127, (2, 3)).astype(source),))
    yield Sample(cls(DType.F16), (np.array([1 + 2.0**-11, 65519.0, 65520.0, 2.0**-25, 3 * 2.0**-26], np.float32),))


@samples_of(BitCast)
def bit_cast(cls: type[BitCast], rng: np.random.Generator) -> Iterator[Sample]:
    for source in NUMBERS:
        bits = rng.integers(0, 256, (3, 5, source.bytes)).astype(np.uint8)
        for to in NUMBERS:
            if to.bytes == source.bytes:
                yield Sample(cls(to), (bits.view(source.numpy)[..., 0],))
    halves = np.arange(2**16).astype(np.uint16)
    yield Sample(cls(DType.I16), (halves.view(np.float16),))
    yield Sample(cls(DType.F16), (halves,))
