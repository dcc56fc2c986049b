"""Comparisons, logic on truth values, and the choice between two tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..op import QuantizationRule, operator
from ..types import DType, ResultTypes, TensorType, Types
from .elementwise import BOOL, NUMBERS, Binary, Elementwise, broadcast_shape, check_dtype


class Comparison(Binary):
    """Base: the result is a truth value; a comparison with NaN is false."""

    QUANTIZATION = QuantizationRule.NONE

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        return super().infer(x, y).with_dtype(DType.BOOL)


@operator("equal")
class Equal(Comparison, function=np.equal, dtypes=(*NUMBERS, *BOOL)):
    """Whether x = y"""


@operator("less")
class Less(Comparison, function=np.less):
    """Whether x < y"""


@operator("less_or_equal")
class LessOrEqual(Comparison, function=np.less_equal):
    """Whether x <= y"""


@operator("greater")
class Greater(Comparison, function=np.greater):
    """Whether x > y"""


@operator("greater_or_equal")
class GreaterOrEqual(Comparison, function=np.greater_equal):
    """Whether x >= y"""


class Logic(Binary, dtypes=BOOL):
    """Base: truth values in, a truth value out."""

    QUANTIZATION = QuantizationRule.NONE


@operator("and")
class And(Logic, function=np.logical_and):
    """Whether both are true"""


@operator("or")
class Or(Logic, function=np.logical_or):
    """Whether one or both are true"""


@operator("xor")
class Xor(Logic, function=np.logical_xor):
    """Whether one only is true"""


class WhereOperands(NamedTuple):
    condition: Value
    x: Value
    y: Value


@operator("where")
class Where(Elementwise[WhereOperands]):
    """x where the condition holds, else y.

    Operands: condition, of truth values; x and y of one element type; all three broadcast.
    """

    QUANTIZATION = QuantizationRule.UNIFY

    def infer(self, condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
        check_dtype(condition, BOOL)
        if x.dtype is not y.dtype:
            raise IRError("the element types of x and y differ", expected=x.dtype.value, found=y.dtype.value)
        return TensorType(broadcast_shape(condition.shape, x.shape, y.shape), x.dtype, x.quant)

    def reference(self, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(condition, x, y)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        # The condition is no number and has no scale.
        return super().check_quantized(operand_types[1:], result_types)
