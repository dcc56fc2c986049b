"""Functions of one tensor, element by element. Activations stand in :mod:`tilewright.ir.ops.activation`."""

from typing import ClassVar

import numpy as np

from .. import interpolation
from ..activation import erf
from ..op import QuantizationRule, UnaryOperands, declared, operator
from ..quantized import check_words, is_wide, look_up, only_operand, parameters, table
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from .elementwise import BOOL, FLOATS, INTEGERS, NUMBERS, SIGNED, Elementwise, check_dtype


class Unary(Elementwise[UnaryOperands], dtypes=FLOATS):
    """Base: a function of one number, in and of one element type.

    Quantised: a table of 256 entries, each the function of the real number that an integer stands for, quantised; of 16
    bits, straight lines between the entries of one of 706.

    A subclass gives its function, or overrides ``reference`` where attributes matter."""

    QUANTIZATION = QuantizationRule.TABLE

    HAS_KNOTS: ClassVar[bool] = True
    """Of 16 bits, whether results lie between entries of a table; else the meaning is one that convolutions have."""

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, self.DTYPES)
        return TensorType(x.shape, x.dtype)

    def knots(self, x: TensorType, y: TensorType) -> np.ndarray:
        """The table between whose entries results lie, where operand and result have 16 bits: int32, by number."""
        return interpolation.knots(self.reference, parameters(x)[0], parameters(y)[0])

    def misses(self, x: TensorType, y: TensorType) -> float:
        """By how many steps that table is wrong at most, beyond what rounding to integers is."""
        return interpolation.largest_error(self.reference, parameters(x)[0], parameters(y)[0])

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        if self.QUANTIZATION is QuantizationRule.TABLE and is_wide(*operand_types, *result_types):
            return check_words(operand_types, result_types)
        return super().check_quantized(operand_types, result_types)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, x_type = only_operand(arrays, operand_types)
        if is_wide(x_type):
            return interpolation.interpolate(x, self.knots(x_type, result_types[0]))
        return look_up(table(self.reference, x_type, result_types[0]), x, x_type)


Neg = declared(Unary, "neg", "-x", np.negative, dtypes=(*FLOATS, *SIGNED))
Abs = declared(Unary, "abs", "|x|", np.absolute, dtypes=NUMBERS)
Sign = declared(Unary, "sign", "-1, 0 or 1", np.sign, dtypes=NUMBERS)
Sqrt = declared(Unary, "sqrt", "The square root; NaN below zero.", np.sqrt)


@operator("reciprocal")
class Reciprocal(Unary, function=np.reciprocal):
    """1 / x"""

    def misses(self, x: TensorType, y: TensorType) -> float:
        # Straight lines miss it by 1/4096 of itself wherever it is, which is more than steps only where it is large.
        return interpolation.largest_error(self.reference, parameters(x)[0], parameters(y)[0], share=2.0**-11)


Exp = declared(Unary, "exp", "e to the power of x", np.exp)
Log = declared(Unary, "log", "The natural logarithm; NaN below zero.", np.log)


class Rounding(Unary):
    """Base: to an integer of the same element type."""


Floor = declared(Rounding, "floor", "The next integer toward minus infinity.", np.floor)
Ceil = declared(Rounding, "ceil", "The next integer toward infinity.", np.ceil)
Round = declared(Rounding, "round", "The nearest integer; halves go to the even one.", np.rint)
Erf = declared(Unary, "erf", "The error function", erf)
Sin = declared(Unary, "sin", "The sine of x radians", np.sin)
Cos = declared(Unary, "cos", "The cosine of x radians", np.cos)
Tan = declared(Unary, "tan", "The tangent of x radians", np.tan)
Asin = declared(Unary, "asin", "The arc sine in radians; NaN beyond 1.", np.arcsin)
Acos = declared(Unary, "acos", "The arc cosine in radians; NaN beyond 1.", np.arccos)
Atan = declared(Unary, "atan", "The arc tangent in radians", np.arctan)
Sinh = declared(Unary, "sinh", "The hyperbolic sine", np.sinh)
Cosh = declared(Unary, "cosh", "The hyperbolic cosine", np.cosh)
Asinh = declared(Unary, "asinh", "The inverse of the hyperbolic sine", np.arcsinh)
Acosh = declared(Unary, "acosh", "The inverse of the hyperbolic cosine; NaN below 1.", np.arccosh)
Atanh = declared(Unary, "atanh", "The inverse of the hyperbolic tangent; NaN beyond 1.", np.arctanh)


@operator("bitwise_not")
class BitwiseNot(Unary, function=np.invert, dtypes=INTEGERS):
    """Every bit of an integer turned over"""

    QUANTIZATION = QuantizationRule.NONE


class Predicate(Unary):
    """Base: the result is a truth value."""

    QUANTIZATION = QuantizationRule.NONE

    def infer(self, x: TensorType) -> TensorType:
        return super().infer(x).with_dtype(DType.BOOL)


Not = declared(Predicate, "not", "Whether x is false", np.logical_not, dtypes=BOOL)
IsNan = declared(Predicate, "is_nan", "Whether x is not a number", np.isnan)


@operator("is_inf")
class IsInf(Predicate):
    """Whether x is infinite. ``negative``, ``positive``: which of the infinities count."""

    negative: bool = True
    positive: bool = True

    def reference(self, x: np.ndarray) -> np.ndarray:
        return (self.negative & np.isneginf(x)) | (self.positive & np.isposinf(x))
