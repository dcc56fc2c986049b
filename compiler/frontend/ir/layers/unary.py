"""Functions of one tensor in IR; activations stand in the module ``activation``."""

from __future__ import annotations

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops import unary
from .....ir.ops.comparison import Or
from .....ir.ops.elementwise import Add, Mul
from ..exporter import IrExporter, exports, exports_as
from ..importer import IrImporter, IrNode, legacy, opset
from .elementwise import combined

_FUNCTIONS: dict[str, type[unary.Unary]] = {
    "Abs": unary.Abs,
    "Acos": unary.Acos,
    "Acosh": unary.Acosh,
    "Asin": unary.Asin,
    "Asinh": unary.Asinh,
    "Atan": unary.Atan,
    "Atanh": unary.Atanh,
    "BitwiseNot": unary.BitwiseNot,
    "Cos": unary.Cos,
    "Cosh": unary.Cosh,
    "Erf": unary.Erf,
    "Exp": unary.Exp,
    "IsNaN": unary.IsNan,
    "Log": unary.Log,
    "LogicalNot": unary.Not,
    "Negative": unary.Neg,
    "Sign": unary.Sign,
    "Sin": unary.Sin,
    "Sinh": unary.Sinh,
    "Sqrt": unary.Sqrt,
    "Tan": unary.Tan,
}
_ROUNDING: dict[str, type[unary.Rounding]] = {"Ceiling": unary.Ceil, "Floor": unary.Floor, "Round": unary.Round}


@opset(*_FUNCTIONS)
def import_function(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_FUNCTIONS[node.op_type](), node.input(0))


@opset(*_ROUNDING)
def import_rounding(node: IrNode, importer: IrImporter) -> Value:
    x, mode = node.input(0), node.choice("mode", ("half_to_even", "half_away_from_zero"), "half_to_even")
    if not x.type.dtype.is_float:
        return x
    if mode == "half_to_even":
        return importer.emit_one(_ROUNDING[node.op_type](), x)
    half = importer.constant(np.array(0.5, x.type.dtype.numpy), "half")
    magnitude = importer.emit_one(unary.Floor(), importer.emit_one(Add(), importer.emit_one(unary.Abs(), x), half))
    return importer.emit_one(Mul(), magnitude, importer.emit_one(unary.Sign(), x))


@opset("IsInf")
def import_is_infinite(node: IrNode, importer: IrImporter) -> Value:
    operator = unary.IsInf(node.bool("detect_negative", True), node.bool("detect_positive", True))
    return importer.emit_one(operator, node.input(0))


@opset("IsFinite")
def import_is_finite(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    odd = importer.emit_one(Or(), importer.emit_one(unary.IsInf(), x), importer.emit_one(unary.IsNan(), x))
    return importer.emit_one(unary.Not(), odd)


_FORMS: dict[type[unary.Unary], tuple[str, int, dict[str, object]]] = {
    **{cls: (type, 1, {}) for type, cls in _FUNCTIONS.items()},
    unary.Acosh: ("Acosh", 4, {}),
    unary.Asinh: ("Asinh", 4, {}),
    unary.Atanh: ("Atanh", 4, {}),
    unary.BitwiseNot: ("BitwiseNot", 13, {}),
    unary.Ceil: ("Ceiling", 1, {}),
    unary.Floor: ("Floor", 1, {}),
    unary.IsNan: ("IsNaN", 10, {}),
    unary.Round: ("Round", 5, {"mode": "half_to_even"}),
}
"""Type of layer, operator set and attributes."""


@exports(*_FORMS)
def export_function(op: Op[unary.Unary], exporter: IrExporter) -> None:
    type, opset, attributes = _FORMS[op.operator.__class__]
    exporter.write_as(op, type, op.operands, opset=opset, **attributes)


@exports(unary.Reciprocal)
def export_reciprocal(op: Op[unary.Reciprocal], exporter: IrExporter) -> None:
    one = exporter.constant(np.ones((), op.result.type.dtype.numpy))
    exporter.define(op, combined(exporter, "Divide", one, op.operands.x, m_pythondiv=False))


exports_as(unary.IsInf, "IsInf", "detect_negative", "detect_positive", opset=10)


_ARITHMETIC = (unary.Neg, unary.Abs, unary.Sign, unary.Sqrt, unary.Reciprocal, unary.Log, unary.Erf)
_LEGACY_ROUNDING = (unary.Floor, unary.Ceil)
_TRIGONOMETRIC = (unary.Sin, unary.Cos, unary.Tan, unary.Asin, unary.Acos, unary.Atan)
_HYPERBOLIC = (unary.Sinh, unary.Cosh, unary.Asinh, unary.Acosh, unary.Atanh)
_OPERATORS = {cls.__name__.lower(): cls for cls in (*_ARITHMETIC, *_LEGACY_ROUNDING, *_TRIGONOMETRIC, *_HYPERBOLIC)}
_OPERATORS["ceiling"] = unary.Ceil


@legacy(*_OPERATORS)
def import_legacy_unary(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_OPERATORS[node.op_type.lower()](), node.input(0))
