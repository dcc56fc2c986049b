"""Physical order of elements as an operator of its own, so that every change of layout is visible in the module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..op import Operator, QuantizationRule, Sample, operand, operator
from ..types import TensorType


@operator("reorder")
@dataclass(frozen=True)
class Reorder(Operator):
    """The same tensor in another place and, as the types of operand and result say, in another layout.

    Operands: x, of any dtype. Result: shape, dtype and quantisation of x, in any layout of
    :mod:`tilewright.ir.layout`; in the layout of x it is a copy.
    """

    OPERANDS = (operand("x"),)
    QUANTIZATION = QuantizationRule.PRESERVE

    def infer(self, x: TensorType) -> TensorType:
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        shapes = [(1, 16, 3, 5), (2, 19, 4, 3), (1, 3, 7), (1, 33, 1, 1)]
        for shape, (source, target) in zip(
            shapes * 3, [("", "c16")] * 4 + [("c16", "")] * 4 + [("", "")], strict=False
        ):
            x = rng.standard_normal(shape).astype(np.float32)
            type = TensorType.of(x)
            yield Sample(cls(), (x,), types=(type.with_layout(source),), result_types=(type.with_layout(target),))
