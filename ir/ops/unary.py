"""Functions of one tensor, element by element. Activations stand in :mod:`tilewright.ir.ops.activation`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..activation import erf
from ..op import QuantizationRule, UnaryOperands, operator
from ..quantized import look_up, only_operand, table
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from .elementwise import BOOL, FLOATS, INTEGERS, NUMBERS, SIGNED, Elementwise, check_dtype


@dataclass(frozen=True)
class Unary(Elementwise[UnaryOperands]):
    """Base: a function of one number, in and of one element type.

    Quantised: a table of 256 entries, each the function of the real number that an integer stands for, quantised.

    A subclass gives ``FUNCTION``, or overrides ``reference`` where attributes matter.
    """

    QUANTIZATION = QuantizationRule.TABLE

    DTYPES: ClassVar[tuple[DType, ...]] = FLOATS
    """Element types of the operand."""

    FUNCTION: ClassVar[Callable[[np.ndarray], np.ndarray]]

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, self.DTYPES)
        return TensorType(x.shape, x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return type(self).FUNCTION(x)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, x_type = only_operand(arrays, operand_types)
        return look_up(table(self.reference, x_type, result_types[0]), x, x_type)


@operator("neg")
class Neg(Unary):
    """-x"""

    FUNCTION = np.negative
    DTYPES = (*FLOATS, *SIGNED)


@operator("abs")
class Abs(Unary):
    """|x|"""

    FUNCTION = np.absolute
    DTYPES = NUMBERS


@operator("sign")
class Sign(Unary):
    """-1, 0 or 1"""

    FUNCTION = np.sign
    DTYPES = NUMBERS


@operator("sqrt")
class Sqrt(Unary):
    """The square root; NaN below zero."""

    FUNCTION = np.sqrt


@operator("reciprocal")
class Reciprocal(Unary):
    """1 / x"""

    FUNCTION = np.reciprocal


@operator("exp")
class Exp(Unary):
    """e to the power of x"""

    FUNCTION = np.exp


@operator("log")
class Log(Unary):
    """The natural logarithm; NaN below zero."""

    FUNCTION = np.log


@dataclass(frozen=True)
class Rounding(Unary):
    """Base: to an integer of the same element type."""


@operator("floor")
class Floor(Rounding):
    """The next integer toward minus infinity."""

    FUNCTION = np.floor


@operator("ceil")
class Ceil(Rounding):
    """The next integer toward infinity."""

    FUNCTION = np.ceil


@operator("round")
class Round(Rounding):
    """The nearest integer; halves go to the even one."""

    FUNCTION = np.rint


@operator("erf")
class Erf(Unary):
    """The error function"""

    FUNCTION = erf


@operator("sin")
class Sin(Unary):
    """The sine of x radians"""

    FUNCTION = np.sin


@operator("cos")
class Cos(Unary):
    """The cosine of x radians"""

    FUNCTION = np.cos


@operator("tan")
class Tan(Unary):
    """The tangent of x radians"""

    FUNCTION = np.tan


@operator("asin")
class Asin(Unary):
    """The arc sine in radians; NaN beyond 1."""

    FUNCTION = np.arcsin


@operator("acos")
class Acos(Unary):
    """The arc cosine in radians; NaN beyond 1."""

    FUNCTION = np.arccos


@operator("atan")
class Atan(Unary):
    """The arc tangent in radians"""

    FUNCTION = np.arctan


@operator("sinh")
class Sinh(Unary):
    """The hyperbolic sine"""

    FUNCTION = np.sinh


@operator("cosh")
class Cosh(Unary):
    """The hyperbolic cosine"""

    FUNCTION = np.cosh


@operator("asinh")
class Asinh(Unary):
    """The inverse of the hyperbolic sine"""

    FUNCTION = np.arcsinh


@operator("acosh")
class Acosh(Unary):
    """The inverse of the hyperbolic cosine; NaN below 1."""

    FUNCTION = np.arccosh


@operator("atanh")
class Atanh(Unary):
    """The inverse of the hyperbolic tangent; NaN beyond 1."""

    FUNCTION = np.arctanh


@operator("bitwise_not")
class BitwiseNot(Unary):
    """Every bit of an integer turned over"""

    QUANTIZATION = QuantizationRule.NONE
    FUNCTION = np.invert
    DTYPES = INTEGERS


@dataclass(frozen=True)
class Predicate(Unary):
    """Base: the result is a truth value."""

    QUANTIZATION = QuantizationRule.NONE

    def infer(self, x: TensorType) -> TensorType:
        return super().infer(x).with_dtype(DType.BOOL)


@operator("not")
class Not(Predicate):
    """Whether x is false"""

    FUNCTION = np.logical_not
    DTYPES = BOOL


@operator("is_nan")
class IsNan(Predicate):
    """Whether x is not a number"""

    FUNCTION = np.isnan


@operator("is_inf")
@dataclass(frozen=True)
class IsInf(Predicate):
    """Whether x is infinite.

    Attributes:
        negative, positive: which of the infinities count.
    """

    negative: bool = True
    positive: bool = True

    def reference(self, x: np.ndarray) -> np.ndarray:
        return (self.negative & np.isneginf(x)) | (self.positive & np.isposinf(x))
