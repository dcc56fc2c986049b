"""Eltwise, Power and Select of IR of versions 2 to 7."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .....ir.core import Value
from .....ir.op import Operator
from .....ir.ops.comparison import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where, Xor
from .....ir.ops.elementwise import Add, Div, Max, Min, Mul, Pow, Sub
from .....ir.ops.unary import Not
from .....ir.types import DType
from ...elementwise import floor_mod, scaled, squared_difference
from ...shape import cast
from ..importer import IrImporter, IrNode, legacy
from .truth import stated, truth

_ARITHMETIC: dict[str, type[Operator]] = {
    "sum": Add,
    "mul": Mul,
    "prod": Mul,
    "max": Max,
    "min": Min,
    "sub": Sub,
    "div": Div,
    "pow": Pow,
}
_LOGIC: dict[str, type[Operator]] = {"logical_and": And, "logical_or": Or, "logical_xor": Xor}
_COMPARISONS: dict[str, type[Operator]] = {
    "equal": Equal,
    "not_equal": Equal,
    "less": Less,
    "less_equal": LessOrEqual,
    "greater": Greater,
    "greater_equal": GreaterOrEqual,
}


_COMPOSED: dict[str, Callable[[IrImporter, Value, Value], Value]] = {
    "squared_diff": squared_difference,
    "floor_mod": floor_mod,
}


@legacy("Eltwise")
def import_eltwise(node: IrNode, importer: IrImporter) -> Value:
    operation = node.word("operation", "sum")
    parts = [node.input(index) for index in range(len(node.inputs))]
    if len(parts) < 2:
        raise node.model_error("there is nothing to combine", expected="at least 2 inputs", found=len(parts))
    if operation in _LOGIC:
        result = truth(importer, parts[0])
        for part in parts[1:]:
            result = importer.emit_one(_LOGIC[operation](), result, truth(importer, part))
        return stated(node, importer, result)
    parts = _of_one_type(importer, parts)
    if operation in _COMPARISONS:
        if len(parts) > 2:
            raise node.model_error("two tensors are compared", found=len(parts))
        result = importer.emit_one(_COMPARISONS[operation](), *parts)
        return stated(node, importer, importer.emit_one(Not(), result) if operation == "not_equal" else result)
    if operation == "sum" and node.has("coeff"):
        parts = _weighted(node, importer, parts)
    result = parts[0]
    for part in parts[1:]:
        if operation in _COMPOSED:
            result = _COMPOSED[operation](importer, result, part)
        elif operation in _ARITHMETIC:
            result = importer.emit_one(_ARITHMETIC[operation](), result, part)
        else:
            expected = ", ".join(sorted({*_ARITHMETIC, *_COMPOSED, *_COMPARISONS, *_LOGIC}))
            raise node.unsupported("this operation is not supported", expected=expected, found=repr(operation[:60]))
    return result


def _of_one_type(importer: IrImporter, parts: list[Value]) -> list[Value]:
    """Tensors of one element type: single precision, where they are not."""
    if len({part.type.dtype for part in parts}) == 1 and parts[0].type.dtype is not DType.BOOL:
        return parts
    return [cast(importer, part, DType.F32) for part in parts]


def _weighted(node: IrNode, importer: IrImporter, parts: list[Value]) -> list[Value]:
    """Each part times its coefficient."""
    factors = node.floats("coeff")
    if not factors:
        return parts
    if len(factors) != len(parts):
        raise node.model_error("each input needs a coefficient", expected=len(parts), found=len(factors))
    pairs = zip(parts, factors, strict=True)
    return [part if factor == 1 else scaled(importer, part, factor) for part, factor in pairs]


@legacy("Power")
def import_power(node: IrNode, importer: IrImporter) -> Value:
    """(scale * x + shift) ^ power"""
    y = cast(importer, node.input(0), DType.F32)
    for name, operator, neutral in (("scale", Mul, 1.0), ("shift", Add, 0.0), ("power", Pow, 1.0)):
        value = node.float(name, neutral)
        if value != neutral:
            y = importer.emit_one(operator(), y, importer.constant(np.array(value, np.float32), name))
    return y


@legacy("Select")
def import_select(node: IrNode, importer: IrImporter) -> Value:
    """The second input where the first one is not 0, else the third."""
    x, y = _of_one_type(importer, [node.input(1), node.input(2)])
    return importer.emit_one(Where(), truth(importer, node.input(0)), x, y)
