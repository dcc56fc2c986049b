"""Comparisons, logic on truth values, and the choice between two tensors."""

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..op import QuantizationRule, declared, operator
from ..types import DType, ResultTypes, TensorType, Types
from .elementwise import BOOL, NUMBERS, Binary, Elementwise, broadcast_shape, check_dtype


class Comparison(Binary):
    """Base: the result is a truth value; a comparison with NaN is false."""

    QUANTIZATION = QuantizationRule.NONE

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        return super().infer(x, y).with_dtype(DType.BOOL)


Equal = declared(Comparison, "equal", "Whether x = y", np.equal, dtypes=(*NUMBERS, *BOOL))
Less = declared(Comparison, "less", "Whether x < y", np.less)
LessOrEqual = declared(Comparison, "less_or_equal", "Whether x <= y", np.less_equal)
Greater = declared(Comparison, "greater", "Whether x > y", np.greater)
GreaterOrEqual = declared(Comparison, "greater_or_equal", "Whether x >= y", np.greater_equal)


class Logic(Binary, dtypes=BOOL):
    """Base: truth values in, a truth value out."""

    QUANTIZATION = QuantizationRule.NONE


And = declared(Logic, "and", "Whether both are true", np.logical_and)
Or = declared(Logic, "or", "Whether one or both are true", np.logical_or)
Xor = declared(Logic, "xor", "Whether one only is true", np.logical_xor)


@operator("where")
class Where(Elementwise[tuple[Value, Value, Value]]):
    """x where the condition holds, else y.

    Operands: condition, of truth values; x and y of one element type; all three broadcast."""

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
