"""Functions of one tensor in ONNX. Their activations stand in the module ``activation``."""

from __future__ import annotations

from ...ir.ops import unary
from .onnx.one_to_one import one_to_one

one_to_one("Neg", unary.Neg)
one_to_one("Abs", unary.Abs)
one_to_one("Sign", unary.Sign)
one_to_one("Sqrt", unary.Sqrt)
one_to_one("Reciprocal", unary.Reciprocal)
one_to_one("Exp", unary.Exp)
one_to_one("Log", unary.Log)
one_to_one("Floor", unary.Floor)
one_to_one("Ceil", unary.Ceil)
one_to_one("Round", unary.Round)
one_to_one("Erf", unary.Erf)
one_to_one("Sin", unary.Sin)
one_to_one("Cos", unary.Cos)
one_to_one("Tan", unary.Tan)
one_to_one("Asin", unary.Asin)
one_to_one("Acos", unary.Acos)
one_to_one("Atan", unary.Atan)
one_to_one("Sinh", unary.Sinh)
one_to_one("Cosh", unary.Cosh)
one_to_one("Asinh", unary.Asinh)
one_to_one("Acosh", unary.Acosh)
one_to_one("Atanh", unary.Atanh)
one_to_one("BitwiseNot", unary.BitwiseNot)
one_to_one("Not", unary.Not)
one_to_one("IsNaN", unary.IsNan)
one_to_one("IsInf", unary.IsInf, detect_negative=1, detect_positive=1)
