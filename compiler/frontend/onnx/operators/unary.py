"""Functions of one tensor in ONNX; activations stand in the module ``activation``."""

from __future__ import annotations

from .....ir.ops import unary
from ..one_to_one import one_to_one

_ARITHMETIC = (unary.Neg, unary.Abs, unary.Sign, unary.Sqrt, unary.Reciprocal, unary.Exp, unary.Log, unary.Erf)
_ROUNDING = (unary.Floor, unary.Ceil, unary.Round)
_TRIGONOMETRIC = (unary.Sin, unary.Cos, unary.Tan, unary.Asin, unary.Acos, unary.Atan)
_HYPERBOLIC = (unary.Sinh, unary.Cosh, unary.Asinh, unary.Acosh, unary.Atanh)
_LOGIC = (unary.BitwiseNot, unary.Not)

for _operator in (*_ARITHMETIC, *_ROUNDING, *_TRIGONOMETRIC, *_HYPERBOLIC, *_LOGIC):
    one_to_one(_operator.__name__, _operator)
one_to_one("IsNaN", unary.IsNan)
one_to_one("IsInf", unary.IsInf, detect_negative=1, detect_positive=1)
