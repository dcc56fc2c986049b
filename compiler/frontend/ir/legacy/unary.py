"""Functions of one tensor of IR of versions 2 to 7; activations stand in the module ``activation``."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops import unary
from ..importer import IrImporter, IrNode, legacy

_ARITHMETIC = (unary.Neg, unary.Abs, unary.Sign, unary.Sqrt, unary.Reciprocal, unary.Log, unary.Erf)
_ROUNDING = (unary.Floor, unary.Ceil)
_TRIGONOMETRIC = (unary.Sin, unary.Cos, unary.Tan, unary.Asin, unary.Acos, unary.Atan)
_HYPERBOLIC = (unary.Sinh, unary.Cosh, unary.Asinh, unary.Acosh, unary.Atanh)
_OPERATORS = {cls.__name__.lower(): cls for cls in (*_ARITHMETIC, *_ROUNDING, *_TRIGONOMETRIC, *_HYPERBOLIC)}
_OPERATORS["ceiling"] = unary.Ceil


@legacy(*_OPERATORS)
def import_unary(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_OPERATORS[node.op_type.lower()](), node.input(0))
