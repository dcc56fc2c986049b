"""Samples of the family ``fused``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import (
    Sample,
    random_array,
    samples_of,
)

from tilewright.ir.ops.fused import FusedElementwise
from tilewright.ir.types import DType


@samples_of(FusedElementwise)
def fused_elementwise(cls: type[FusedElementwise], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int, dtype: DType = DType.F32) -> np.ndarray:
        return random_array(rng, dtype, shape)

    swish = cls(("t0 = add(a0, a1)", "t1 = sigmoid(t0)", "t2 = mul(t0, t1)"))
    yield Sample(swish, (array(1, 17, 5, 3), array(17, 1, 1)), frozenset({1}))
    yield Sample(swish, (array(2, 1, 33), array(4, 1)))
    yield Sample(cls(("t0 = clip(a0) {min=0x0.0p+0, max=0x1.8p+1}", "t1 = mul(t0, a0)")), (array(19),))
    gelu = ("t0 = div(a0, a1)", "t1 = erf(t0)", "t2 = add(t1, a2)", "t3 = mul(a0, t2)", "t4 = mul(t3, a3)")
    scalars = [np.array(value, np.float32) for value in (2**0.5, 1.0, 0.5)]
    yield Sample(cls(gelu), (array(2, 7, 16), *scalars), frozenset({1, 2, 3}))
    choose = ("t0 = greater(a0, a1)", "t1 = neg(a0)", "t2 = where(t0, t1, a2)")
    yield Sample(cls(choose), (array(3, 4, 8), array(1, 8), array()))
    convert = ("t0 = cast(a0) {to=f32}", "t1 = mul(t0, a1)", "t2 = floor(t1)", "t3 = cast(t2) {to=i64}")
    yield Sample(cls(convert), (array(5, 9, dtype=DType.I32), array(9)))
    real = ("t0 = cast(a0) {to=f32}", "t1 = mul(t0, a1)")
    for dtype in (DType.I32, DType.U8, DType.I8, DType.U16):
        yield Sample(cls(real), (array(3, 21, dtype=dtype), array(21)))
        yield Sample(cls(real), (array(3, 1, dtype=dtype), array(21)))
    # A bias behind a product of bytes; single precision does not hold these numbers.
    biased = cls(("t0 = add(a0, a1)", "t1 = add(t0, a1)", "t2 = cast(t1) {to=f32}", "t3 = mul(t2, a2)"))
    sums, bias = (rng.integers(-(2**28), 2**28, shape, np.int32) for shape in ((2, 3, 21), (3, 1)))
    yield Sample(biased, (sums, bias, array()), frozenset({1, 2}))
    yield Sample(
        cls(("t0 = add(a0, a1)", "t1 = cast(t0) {to=f32}", "t2 = less(a0, a1)", "t3 = where(t2, t1, a2)")),
        (sums, bias, array()),
    )
    yield Sample(cls(("t0 = add(a0, a0)", "t1 = abs(t0)")), (array(11, dtype=DType.I64),))
    widen = ("t0 = cast(a0) {to=u32}", "t1 = bit_shift(t0, a1) {left=true}", "t2 = bit_cast(t1) {to=f32}")
    yield Sample(cls(widen), (array(5, 9, dtype=DType.U16), np.array(16, np.uint32)), frozenset({1}))
