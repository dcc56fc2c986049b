"""Arithmetic of IR on tensors that broadcast in one of three ways; Eltwise and Power of versions 2 to 7.

Versions 2 to 7 have no type of truth values: they are numbers that are 0 or not.
"""

from collections.abc import Callable

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.op import Operator
from .....ir.ops import elementwise
from .....ir.ops.comparison import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where, Xor
from .....ir.ops.unary import Not, Reciprocal
from .....ir.types import DType, TensorType
from ...elementwise import floor_mod, scaled, squared_difference
from ...shape import cast, reshape
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, element_type, legacy, opset
from .shape import converted

_OPERATORS: dict[str, elementwise.Binary] = {
    "Add": elementwise.Add(),
    "Subtract": elementwise.Sub(),
    "Multiply": elementwise.Mul(),
    "Power": elementwise.Pow(),
    "Maximum": elementwise.Max(),
    "Minimum": elementwise.Min(),
    "Mod": elementwise.Mod(fmod=True),
    "BitwiseAnd": elementwise.BitwiseAnd(),
    "BitwiseOr": elementwise.BitwiseOr(),
    "BitwiseXor": elementwise.BitwiseXor(),
    "BitwiseLeftShift": elementwise.BitShift(left=True),
    "BitwiseRightShift": elementwise.BitShift(left=False),
}


def broadcast(node: IrNode, importer: IrImporter, first: int) -> tuple[Value, Value]:
    """Inputs ``first`` and the one after it, shaped so that they broadcast by the rule of NumPy.
    Raises ModelError: the layer says that they need not broadcast, but they must; or it says something unknown."""
    x, y = node.input(first), node.input(first + 1)
    mode = node.choice("auto_broadcast", ("numpy", "none", "explicit", "pdpd"), "numpy")
    if mode in ("none", "explicit"):
        check_same_shape(node, x, y)
    return x, along(node, importer, x, y) if mode == "pdpd" else y


def check_same_shape(node: IrNode, x: Value, y: Value) -> None:
    """Raise ModelError where tensors that the layer does not broadcast differ in shape."""
    if x.type.shape != y.type.shape:
        raise node.model_error(
            "the shapes differ, and are not to be broadcast", expected=list(x.type.shape), found=list(y.type.shape)
        )


def along(node: IrNode, importer: IrImporter, x: Value, y: Value) -> Value:
    """The second operand of PaddlePaddle's rule, which lies along the dimensions of the first from ``axis`` on."""
    shape = list(y.type.shape)
    axis = node.int("axis", -1)
    axis = x.type.rank - len(shape) if axis == -1 else axis
    while len(shape) > 1 and shape[-1] == 1:
        del shape[-1]
    behind = x.type.rank - axis - len(shape)
    if axis < 0 or behind < 0:
        raise node.model_error("y does not lie along x", expected=list(x.type.shape), found=list(y.type.shape))
    return reshape(importer, y, (*shape, *(1,) * behind))


opset(*_OPERATORS)(lambda node, importer: importer.emit_one(_OPERATORS[node.op_type], *broadcast(node, importer, 0)))


@opset("Divide")
def import_divide(node: IrNode, importer: IrImporter) -> Value:
    x, y = broadcast(node, importer, 0)
    is_one = isinstance(x, Constant) and x.type.elements == 1 and x.array.item() == 1
    if is_one and y.type.dtype.is_float and x.type.rank <= y.type.rank:
        return importer.emit_one(Reciprocal(), y)
    if x.type.dtype.is_integer and node.bool("m_pythondiv", True):
        # Toward minus infinity: the remainder of Python leaves what divides without one.
        x = importer.emit_one(elementwise.Sub(), x, importer.emit_one(elementwise.Mod(fmod=False), x, y))
    return importer.emit_one(elementwise.Div(), x, y)


opset("FloorMod")(lambda node, importer: floor_mod(importer, *broadcast(node, importer, 0)))
opset("SquaredDifference")(lambda node, importer: squared_difference(importer, *broadcast(node, importer, 0)))


_OTHERS = (elementwise.Pow, elementwise.Mod, elementwise.BitShift)
_FORMS = {operator.__class__: type for type, operator in _OPERATORS.items() if not isinstance(operator, _OTHERS)}
"""Types of layers that need no attribute and no other type of an operand."""


def combined(
    exporter: IrExporter,
    type: str,
    x: Value | Tensor,
    y: Value | Tensor | float,
    dtype: DType | None = None,
    opset: int = 1,
    **attributes: bool,
) -> Tensor:
    """A layer of two tensors, or of a tensor and a number, that broadcast by the rule of NumPy.
    ``dtype``: of the result, if not that of ``x``."""
    left = exporter.tensor(x)
    if isinstance(y, (int, float)):
        right = exporter.constant(np.asarray(y, left.type.dtype.numpy))
    else:
        right = exporter.tensor(y)
    result = TensorType(elementwise.broadcast_shape(left.type.shape, right.type.shape), dtype or left.type.dtype)
    return exporter.layer(type, [left, right], result, opset=opset, auto_broadcast="numpy", **attributes)


@exports(*_FORMS)
def export_binary(op: Op[elementwise.Binary], exporter: IrExporter) -> None:
    type = _FORMS[op.operator.__class__]
    exporter.define(op, combined(exporter, type, *op.operands, opset=13 if type.startswith("Bitwise") else 1))


@exports(elementwise.Div)
def export_divide(op: Op[elementwise.Div], exporter: IrExporter) -> None:
    exporter.define(op, combined(exporter, "Divide", *op.operands, m_pythondiv=False))


@exports(elementwise.Mod)
def export_mod(op: Op[elementwise.Mod], exporter: IrExporter) -> None:
    exporter.define(op, combined(exporter, "Mod" if op.operator.fmod else "FloorMod", *op.operands))


@exports(elementwise.Pow)
def export_power(op: Op[elementwise.Pow], exporter: IrExporter) -> None:
    x, y = map(exporter.tensor, op.operands)
    exporter.define(op, combined(exporter, "Power", x, converted(exporter, y, x.type.dtype)))


@exports(elementwise.BitShift)
def export_shift(op: Op[elementwise.BitShift], exporter: IrExporter) -> None:
    type = "BitwiseLeftShift" if op.operator.left else "BitwiseRightShift"
    exporter.define(op, combined(exporter, type, *op.operands, opset=15))


def truth(importer: IrImporter, x: Value) -> Value:
    """Whether elements are not 0."""
    return cast(importer, x, DType.BOOL)


def stated(node: IrNode, importer: IrImporter, x: Value, index: int = 0) -> Value:
    """``x`` in the precision that the file gives an output of the layer; single precision where it gives none."""
    ports = node.layer.outputs
    precision = (ports[index].precision if index < len(ports) else "") or node.layer.precision
    return cast(importer, x, element_type(precision or "FP32", node.layer))


def negated(node: IrNode, importer: IrImporter, x: Value) -> Value:
    """1 where ``x`` is 0, else 0."""
    return stated(node, importer, importer.emit_one(Not(), truth(importer, x)))


_ARITHMETIC: dict[str, type[Operator]] = {
    "sum": elementwise.Add,
    "mul": elementwise.Mul,
    "prod": elementwise.Mul,
    "max": elementwise.Max,
    "min": elementwise.Min,
    "sub": elementwise.Sub,
    "div": elementwise.Div,
    "pow": elementwise.Pow,
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
def import_legacy_eltwise(node: IrNode, importer: IrImporter) -> Value:
    operation = node.word("operation", "sum")
    parts = node.all_inputs()
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
def import_legacy_power(node: IrNode, importer: IrImporter) -> Value:
    """(scale * x + shift) ^ power"""
    y = cast(importer, node.input(0), DType.F32)
    for name, operator, neutral in (
        ("scale", elementwise.Mul, 1.0),
        ("shift", elementwise.Add, 0.0),
        ("power", elementwise.Pow, 1.0),
    ):
        value = node.float(name, neutral)
        if value != neutral:
            y = importer.emit_one(operator(), y, importer.constant(np.array(value, np.float32), name))
    return y


@legacy("Select")
def import_legacy_select(node: IrNode, importer: IrImporter) -> Value:
    """The second input where the first one is not 0, else the third."""
    x, y = _of_one_type(importer, [node.input(1), node.input(2)])
    return importer.emit_one(Where(), truth(importer, node.input(0)), x, y)
