"""Functions of one tensor in IR; activations stand in the module ``activation``."""

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops import unary
from ...expression import Expression
from ..exporter import IrExporter, exports, exports_as
from ..importer import IrImporter, IrNode, legacy, opset
from .elementwise import combined

_ALGEBRAIC = (unary.Abs, unary.Neg, unary.Sign, unary.Sqrt, unary.Exp, unary.Log, unary.Erf, unary.Not)
_TRIGONOMETRIC = (unary.Sin, unary.Cos, unary.Tan, unary.Asin, unary.Acos, unary.Atan)
_AREAS = (unary.Asinh, unary.Acosh, unary.Atanh)
_FIRST: dict[int, tuple[type[unary.Unary], ...]] = {
    1: (*_ALGEBRAIC, *_TRIGONOMETRIC, unary.Sinh, unary.Cosh),
    4: _AREAS,
    10: (unary.IsNan,),
    13: (unary.BitwiseNot,),
}
"""Functions by the first operator set that has them."""

_RENAMED: dict[type[unary.Unary], str] = {unary.IsNan: "IsNaN", unary.Neg: "Negative", unary.Not: "LogicalNot"}
_FUNCTIONS = {_RENAMED.get(cls, cls.__name__): cls for each in _FIRST.values() for cls in each}
_ROUNDING: dict[str, type[unary.Rounding]] = {"Ceiling": unary.Ceil, "Floor": unary.Floor, "Round": unary.Round}

opset(*_FUNCTIONS)(lambda node, importer: importer.emit_one(_FUNCTIONS[node.op_type](), node.input(0)))


@opset(*_ROUNDING)
def import_rounding(node: IrNode, importer: IrImporter) -> Value:
    x, mode = node.input(0), node.choice("mode", ("half_to_even", "half_away_from_zero"), "half_to_even")
    if not x.type.dtype.is_float:
        return x
    if mode == "half_to_even":
        return importer.emit_one(_ROUNDING[node.op_type](), x)
    numbers = Expression(importer, x)
    return ((abs(numbers) + 0.5).apply(unary.Floor()) * numbers.apply(unary.Sign())).value


@opset("IsInf")
def import_is_infinite(node: IrNode, importer: IrImporter) -> Value:
    operator = unary.IsInf(node.bool("detect_negative", True), node.bool("detect_positive", True))
    return importer.emit_one(operator, node.input(0))


@opset("IsFinite")
def import_is_finite(node: IrNode, importer: IrImporter) -> Value:
    x = Expression(importer, node.input(0))
    return (x.apply(unary.IsInf()) | x.apply(unary.IsNan())).apply(unary.Not()).value


_FORMS: dict[type[unary.Unary], tuple[str, int, dict[str, object]]] = {
    **{cls: (_RENAMED.get(cls, cls.__name__), opset, {}) for opset, each in _FIRST.items() for cls in each},
    unary.Ceil: ("Ceiling", 1, {}),
    unary.Floor: ("Floor", 1, {}),
    unary.Round: ("Round", 5, {"mode": "half_to_even"}),
}
"""Type of layer, operator set and attributes."""


@exports(*_FORMS)
def export_function(op: Op[unary.Unary], exporter: IrExporter) -> None:
    type, opset, attributes = _FORMS[op.operator.__class__]
    exporter.write_as(op, type, op.operands, opset=opset, **attributes)


@exports(unary.Reciprocal)
def export_reciprocal(op: Op[unary.Unary], exporter: IrExporter) -> None:
    one = exporter.constant(np.ones((), op.result.type.dtype.numpy))
    exporter.define(op, combined(exporter, "Divide", one, op.operands.x, m_pythondiv=False))


exports_as(unary.IsInf, "IsInf", "detect_negative", "detect_positive", opset=10)


_LEGACY = (unary.Neg, unary.Abs, unary.Sign, unary.Sqrt, unary.Reciprocal, unary.Log, unary.Erf, unary.Floor)
_OPERATORS = {cls.__name__.lower(): cls for cls in (*_LEGACY, *_TRIGONOMETRIC, unary.Sinh, unary.Cosh, *_AREAS)}
_OPERATORS |= {"ceil": unary.Ceil, "ceiling": unary.Ceil}

legacy(*_OPERATORS)(lambda node, importer: importer.emit_one(_OPERATORS[node.op_type.lower()](), node.input(0)))
