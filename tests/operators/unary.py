"""Samples of the family ``unary``; activations are unary operators, too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, nearest, quantized_type, random_array, samples_of

from tilewright.ir.op import Operator, QuantizationRule
from tilewright.ir.ops.elementwise import BOOL
from tilewright.ir.ops.unary import (
    Abs,
    Acos,
    Acosh,
    Asin,
    Atanh,
    BitwiseNot,
    Cos,
    Exp,
    IsInf,
    IsNan,
    Log,
    Neg,
    Not,
    Reciprocal,
    Rounding,
    Sign,
    Sin,
    Sqrt,
    Tan,
    Unary,
)
from tilewright.ir.types import DType

FLOATS = (DType.F32, DType.F64)

ELEMENT_TYPES: dict[type[Operator], tuple[DType, ...]] = {
    Unary: (DType.F32,),
    Neg: (DType.F32, DType.I64, DType.I32, DType.I8),
    Abs: (DType.F32, DType.I64, DType.I32, DType.U8),
    Sign: (DType.F32, DType.I64, DType.I32, DType.U8),
    Sqrt: FLOATS,
    Reciprocal: FLOATS,
    Exp: FLOATS,
    Log: FLOATS,
    Rounding: FLOATS,
    Sin: FLOATS,
    Cos: FLOATS,
    BitwiseNot: (DType.I32, DType.I64, DType.U8),
    Not: 3 * BOOL,
}
"""Element types that the samples cover; other families add theirs."""

RANGES: dict[type[Operator], tuple[float, float]] = {
    Unary: (-4.0, 4.0),
    Sqrt: (0.0, 9.0),
    Reciprocal: (0.1, 4.0),
    Log: (0.01, 9.0),
    Tan: (-1.2, 1.2),
    Asin: (-1.0, 1.0),
    Acos: (-1.0, 1.0),
    Acosh: (1.0, 9.0),
    Atanh: (-0.9, 0.9),
}
"""Where the samples lie."""

OPERATORS: dict[type[Operator], tuple[Operator, ...]] = {}
"""The attributes that the samples cover, for operators that have some."""


@samples_of(Unary)
def unary(cls: type[Unary], rng: np.random.Generator) -> Iterator[Sample]:
    shapes = [(2, 3, 5), (), (1, 17, 3, 3), (37,)]
    dtypes, limits = nearest(ELEMENT_TYPES, cls), nearest(RANGES, cls)
    for each in OPERATORS[cls] if cls in OPERATORS else (cls(),):
        for index in range(max(2, len(dtypes))):
            dtype = dtypes[index % len(dtypes)]
            yield Sample(each, (random_array(rng, dtype, shapes[index % len(shapes)], *limits),))
        if cls.QUANTIZATION is QuantizationRule.TABLE:
            yield from quantized_samples(rng, each, limits)


def quantized_samples(rng: np.random.Generator, operator: Operator, range: tuple[float, float]) -> Iterator[Sample]:
    """All 256 values of an operator of one 8-bit tensor, signed and unsigned, its input over ``range``.

    Values that the function takes to no number are left out: each executor may do with them as it likes.
    """
    low, high = min(range[0], 0.0), max(range[1], 0.0)
    scale = (high - low) / 255
    for dtype, zero_y in ((DType.I8, -11), (DType.U8, 100)):
        limits = np.iinfo(dtype.numpy)
        zero_x = int(np.clip(round(limits.min - low / scale), limits.min, limits.max))
        x = np.arange(limits.min, limits.max + 1)
        with np.errstate(all="ignore"):
            is_number = ~np.isnan(operator.reference(((x - zero_x) * scale).astype(np.float32)))
        x = rng.permutation(np.resize(x[is_number], 256)).astype(dtype.numpy).reshape(4, 64)
        yield Sample(
            operator,
            (x,),
            types=(quantized_type(dtype, x.shape, scale, zero_x),),
            result_types=(quantized_type(dtype, x.shape, 0.03, zero_y),),
        )


@samples_of(Rounding)
def rounding(cls: type[Rounding], rng: np.random.Generator) -> Iterator[Sample]:
    yield from unary(cls, rng)
    ties = np.arange(-3.5, 4, 0.5, dtype=np.float32)
    yield Sample(cls(), (ties,))


@samples_of(IsNan)
def is_nan(cls: type[Operator], rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in (np.float32, np.float64):
        yield Sample(cls(), (np.array([[0, np.nan, 1.5], [np.inf, -np.inf, -np.nan]], dtype),))


@samples_of(IsInf)
def is_inf(cls: type[IsInf], rng: np.random.Generator) -> Iterator[Sample]:
    x = np.array([[0, np.nan, 1.5], [np.inf, -np.inf, -3e38]], np.float32)
    for negative, positive in ((True, True), (True, False), (False, True), (False, False)):
        yield Sample(cls(negative, positive), (x,))
