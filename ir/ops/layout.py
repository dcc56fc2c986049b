"""Physical order of elements as an operator of its own, so that every change of layout is visible in the module."""

from __future__ import annotations

import numpy as np

from ..op import Operator, QuantizationRule, UnaryOperands, operator
from ..types import TensorType


@operator("reorder")
class Reorder(Operator[UnaryOperands]):
    """The same tensor in another layout, as the types of operand and result say.

    Operands: x, of any dtype. Result: shape, dtype and quantisation of x, in any layout of
    :mod:`tilewright.ir.layout`; in the layout of x it is a copy.
    """

    QUANTIZATION = QuantizationRule.PRESERVE

    def infer(self, x: TensorType) -> TensorType:
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x
