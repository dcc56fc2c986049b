"""Functions of one tensor, element by element. Activations stand in :mod:`tilewright.ir.ops.activation`."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .. import interpolation
from ..activation import erf
from ..op import QuantizationRule, UnaryOperands, operator
from ..quantized import check_words, is_wide, look_up, only_operand, parameters, table
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from .elementwise import BOOL, FLOATS, INTEGERS, NUMBERS, SIGNED, Elementwise, check_dtype


class Unary(Elementwise[UnaryOperands], dtypes=FLOATS):
    """Base: a function of one number, in and of one element type.

    Quantised: a table of 256 entries, each the function of the real number that an integer stands for, quantised; of 16
    bits, straight lines between the entries of one of 706.

    A subclass gives its function, or overrides ``reference`` where attributes matter.
    """

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


@operator("neg")
class Neg(Unary, function=np.negative, dtypes=(*FLOATS, *SIGNED)):
    """-x"""


@operator("abs")
class Abs(Unary, function=np.absolute, dtypes=NUMBERS):
    """|x|"""


@operator("sign")
class Sign(Unary, function=np.sign, dtypes=NUMBERS):
    """-1, 0 or 1"""


@operator("sqrt")
class Sqrt(Unary, function=np.sqrt):
    """The square root; NaN below zero."""


@operator("reciprocal")
class Reciprocal(Unary, function=np.reciprocal):
    """1 / x"""


@operator("exp")
class Exp(Unary, function=np.exp):
    """e to the power of x"""


@operator("log")
class Log(Unary, function=np.log):
    """The natural logarithm; NaN below zero."""


class Rounding(Unary):
    """Base: to an integer of the same element type."""


@operator("floor")
class Floor(Rounding, function=np.floor):
    """The next integer toward minus infinity."""


@operator("ceil")
class Ceil(Rounding, function=np.ceil):
    """The next integer toward infinity."""


@operator("round")
class Round(Rounding, function=np.rint):
    """The nearest integer; halves go to the even one."""


@operator("erf")
class Erf(Unary, function=erf):
    """The error function"""


@operator("sin")
class Sin(Unary, function=np.sin):
    """The sine of x radians"""


@operator("cos")
class Cos(Unary, function=np.cos):
    """The cosine of x radians"""


@operator("tan")
class Tan(Unary, function=np.tan):
    """The tangent of x radians"""


@operator("asin")
class Asin(Unary, function=np.arcsin):
    """The arc sine in radians; NaN beyond 1."""


@operator("acos")
class Acos(Unary, function=np.arccos):
    """The arc cosine in radians; NaN beyond 1."""


@operator("atan")
class Atan(Unary, function=np.arctan):
    """The arc tangent in radians"""


@operator("sinh")
class Sinh(Unary, function=np.sinh):
    """The hyperbolic sine"""


@operator("cosh")
class Cosh(Unary, function=np.cosh):
    """The hyperbolic cosine"""


@operator("asinh")
class Asinh(Unary, function=np.arcsinh):
    """The inverse of the hyperbolic sine"""


@operator("acosh")
class Acosh(Unary, function=np.arccosh):
    """The inverse of the hyperbolic cosine; NaN below 1."""


@operator("atanh")
class Atanh(Unary, function=np.arctanh):
    """The inverse of the hyperbolic tangent; NaN beyond 1."""


@operator("bitwise_not")
class BitwiseNot(Unary, function=np.invert, dtypes=INTEGERS):
    """Every bit of an integer turned over"""

    QUANTIZATION = QuantizationRule.NONE


class Predicate(Unary):
    """Base: the result is a truth value."""

    QUANTIZATION = QuantizationRule.NONE

    def infer(self, x: TensorType) -> TensorType:
        return super().infer(x).with_dtype(DType.BOOL)


@operator("not")
class Not(Predicate, function=np.logical_not, dtypes=BOOL):
    """Whether x is false"""


@operator("is_nan")
class IsNan(Predicate, function=np.isnan):
    """Whether x is not a number"""


@operator("is_inf")
class IsInf(Predicate):
    """Whether x is infinite.

    Attributes:
        negative, positive: which of the infinities count.
    """

    negative: bool = True
    positive: bool = True

    def reference(self, x: np.ndarray) -> np.ndarray:
        return (self.negative & np.isneginf(x)) | (self.positive & np.isposinf(x))
