"""Samples of the family ``elementwise``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from samples import Sample, moved_sample, nearest, quantized_type, random_array, samples_of, stored_array

from tilewright.ir.op import Operator
from tilewright.ir.ops.elementwise import (
    SIGNED,
    Add,
    Binary,
    BitShift,
    BitwiseBinary,
    Div,
    Extreme,
    Mod,
    Mul,
    Pow,
    Rescaling,
)
from tilewright.ir.types import DType

ELEMENT_TYPES: dict[type[Operator], tuple[DType, ...]] = {
    Binary: (DType.F32, DType.I32, DType.I64),
    Add: (DType.F32, DType.I32, DType.I64, DType.F64, DType.F16, DType.U8),
    Mul: (DType.F32, DType.I32, DType.I64, DType.F64),
    Div: (DType.F32, DType.I32, DType.I64, DType.I8, DType.U8),
    Extreme: (DType.F32, DType.I32, DType.I64, DType.U8, DType.F64),
    BitwiseBinary: (DType.I32, DType.I64, DType.U8),
}
"""Element types that the samples cover; other families add theirs."""

Operand = Callable[[np.random.Generator, DType, "tuple[int, ...]", int], np.ndarray]


def quotient_operand(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...], index: int) -> np.ndarray:
    array = random_array(rng, dtype, shape, -20, 20)
    return np.where(array == 0, np.ones((), array.dtype), array) if index else array


OPERANDS: dict[type[Operator], Operand] = {
    Binary: lambda rng, dtype, shape, index: random_array(rng, dtype, shape),
    Div: quotient_operand,
    Pow: lambda rng, dtype, shape, index: random_array(rng, dtype, shape, 0, 3),
}
"""Makers of operand ``index``, for not every pair of numbers makes sense; other families add theirs."""


@samples_of(Binary)
def binary(cls: type[Binary], rng: np.random.Generator) -> Iterator[Sample]:
    dtypes = [dtype for dtype in nearest(ELEMENT_TYPES, cls) if dtype in cls.DTYPES]
    operand = nearest(OPERANDS, cls)

    def sample(dtype: DType, left: tuple[int, ...], right: tuple[int, ...], *constants: int) -> Sample:
        return Sample(cls(), (operand(rng, dtype, left, 0), operand(rng, dtype, right, 1)), frozenset(constants))

    shapes = [((2, 3, 5), (2, 3, 5)), ((2, 1, 5), (3, 1)), ((1,), (2, 3)), ((), (7,)), ((), ())]
    for index, (left, right) in enumerate(shapes):
        yield sample(dtypes[index % len(dtypes)], left, right)
    for dtype in dtypes:
        yield sample(dtype, (1, 17, 3, 3), (17, 1, 1), 1)
        yield sample(dtype, (4, 19), (4, 19))


@samples_of(Rescaling)
def rescaling(cls: type[Rescaling], rng: np.random.Generator) -> Iterator[Sample]:
    yield from binary(cls, rng)
    yield from quantized_samples(rng, cls(), is_product=cls is Mul)


def quantized_samples(rng: np.random.Generator, operator: Operator, *, is_product: bool = False) -> Iterator[Sample]:
    """Two 8-bit tensors of unlike scales, broadcast and not; scales that are powers of two, which give exact ties."""
    cases = (
        (DType.U8, (1, 17, 5, 6), (1, 17, 5, 6), (0.021, 0.034, 0.05), (128, 103, 77)),
        (DType.I8, (2, 3, 4, 5), (3, 1, 1), (0.021, 0.0034, 0.02), (-5, 17, 0)),
        (DType.I8, (4, 33), (4, 33), (0.5, 0.25, 1.0), (0, -128, 1)),
        (DType.U8, (64,), (64,), (1.0, 1.0, 2.0), (128, 128, 128)),
    )
    for dtype, left, right, scales, zeros in cases:
        if is_product:
            scales = (*scales[:2], scales[0] * scales[1] * 128)
        yield Sample(
            operator,
            (stored_array(rng, dtype, left), stored_array(rng, dtype, right)),
            types=(
                quantized_type(dtype, left, scales[0], zeros[0]),
                quantized_type(dtype, right, scales[1], zeros[1]),
            ),
            result_types=(quantized_type(dtype, np.broadcast_shapes(left, right), scales[2], zeros[2]),),
        )


@samples_of(Mod)
def mod(cls: type[Mod], rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in (DType.F32, DType.I32, DType.I64, DType.I8, DType.U8):
        for fmod in (False, True):
            x, y = quotient_operand(rng, dtype, (4, 9), 0), quotient_operand(rng, dtype, (9,), 1)
            yield Sample(cls(fmod=fmod), (x, y))
    # Quotients that double precision does not hold, or that are none.
    far = np.array([1e30, -6, 5, -7.5, 3e38, 2**24 + 2, 7, -1e-40], np.float32)
    yield Sample(cls(fmod=True), (far, np.array([3, 3, np.inf, 2, 1e-3, 1, -0.7, 1e-42], np.float32)))


@samples_of(Pow)
def pow(cls: type[Pow], rng: np.random.Generator) -> Iterator[Sample]:
    yield from binary(cls, rng)
    signed = random_array(rng, DType.F32, (3, 11))
    yield Sample(cls(), (signed, np.array(2, np.float32)), frozenset({1}))
    yield Sample(cls(), (signed, np.array([3], np.int64)), frozenset({1}))
    yield Sample(cls(), (np.abs(signed) + 1, np.array(-0.5, np.float32)), frozenset({1}))
    yield Sample(cls(), (signed, np.array([[2], [0], [1]], np.int32)))


@samples_of(Extreme)
def extreme(cls: type[Extreme], rng: np.random.Generator) -> Iterator[Sample]:
    yield from binary(cls, rng)
    yield moved_sample(rng, cls(), (2, 3, 17), (3, 1))


@samples_of(BitShift)
def bit_shift(cls: type[BitShift], rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in (DType.U8, DType.U32, DType.U64, DType.I8, DType.I32, DType.I64):
        for left in (False, True):
            x = random_array(rng, dtype, (3, 5), -128 if dtype in SIGNED else 0, 127)
            yield Sample(cls(left), (x, random_array(rng, dtype, (5,), 0, 7)))
