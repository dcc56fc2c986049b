"""Arithmetic of IR on two tensors, which broadcast in one of three ways."""

from __future__ import annotations

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.op import Operator
from .....ir.ops.elementwise import (
    Add,
    Binary,
    BitShift,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    Div,
    Max,
    Min,
    Mod,
    Mul,
    Pow,
    Sub,
    broadcast_shape,
)
from .....ir.ops.unary import Reciprocal
from .....ir.types import DType, TensorType
from ...elementwise import floor_mod, squared_difference
from ...shape import reshape
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, opset
from .shape import converted

_OPERATORS: dict[str, Operator] = {
    "Add": Add(),
    "Subtract": Sub(),
    "Multiply": Mul(),
    "Power": Pow(),
    "Maximum": Max(),
    "Minimum": Min(),
    "Mod": Mod(fmod=True),
    "BitwiseAnd": BitwiseAnd(),
    "BitwiseOr": BitwiseOr(),
    "BitwiseXor": BitwiseXor(),
    "BitwiseLeftShift": BitShift(left=True),
    "BitwiseRightShift": BitShift(left=False),
}


def broadcast(node: IrNode, importer: IrImporter, first: int, default: str = "numpy") -> tuple[Value, Value]:
    """Inputs ``first`` and the one after it, shaped so that they broadcast by the rule of NumPy.

    Raises:
        ModelError: the layer says that they need not broadcast, but they must; or it says something unknown.
    """
    x, y = node.input(first), node.input(first + 1)
    mode = node.word("auto_broadcast", default)
    if mode in ("none", "explicit") and x.type.shape != y.type.shape:
        raise node.model_error(
            "the shapes differ, and are not to be broadcast", expected=list(x.type.shape), found=list(y.type.shape)
        )
    if mode not in ("numpy", "none", "explicit", "pdpd"):
        raise node.model_error("unknown auto_broadcast", expected="numpy, none or pdpd", found=repr(mode[:60]))
    return x, along(node, importer, x, y) if mode == "pdpd" else y


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


@opset(*_OPERATORS)
def import_binary(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_OPERATORS[node.op_type], *broadcast(node, importer, 0))


@opset("Divide")
def import_divide(node: IrNode, importer: IrImporter) -> Value:
    x, y = broadcast(node, importer, 0)
    is_one = isinstance(x, Constant) and x.type.elements == 1 and x.array.item() == 1
    if is_one and y.type.dtype.is_float and x.type.rank <= y.type.rank:
        return importer.emit_one(Reciprocal(), y)
    if x.type.dtype.is_integer and node.bool("m_pythondiv", True):
        # Toward minus infinity: the remainder of Python leaves what divides without one.
        x = importer.emit_one(Sub(), x, importer.emit_one(Mod(fmod=False), x, y))
    return importer.emit_one(Div(), x, y)


@opset("FloorMod")
def import_floor_mod(node: IrNode, importer: IrImporter) -> Value:
    return floor_mod(importer, *broadcast(node, importer, 0))


@opset("SquaredDifference")
def import_squared_difference(node: IrNode, importer: IrImporter) -> Value:
    return squared_difference(importer, *broadcast(node, importer, 0))


_FORMS: dict[type[Binary], tuple[str, int]] = {
    Add: ("Add", 1),
    Sub: ("Subtract", 1),
    Mul: ("Multiply", 1),
    Max: ("Maximum", 1),
    Min: ("Minimum", 1),
    BitwiseAnd: ("BitwiseAnd", 13),
    BitwiseOr: ("BitwiseOr", 13),
    BitwiseXor: ("BitwiseXor", 13),
}
"""Type of layer and operator set."""


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

    Args:
        dtype: of the result, if not that of ``x``.
    """
    left = exporter.tensor(x)
    if isinstance(y, (int, float)):
        right = exporter.constant(np.asarray(y, left.type.dtype.numpy))
    else:
        right = exporter.tensor(y)
    result = TensorType(broadcast_shape(left.type.shape, right.type.shape), dtype or left.type.dtype)
    return exporter.layer(type, [left, right], result, opset=opset, auto_broadcast="numpy", **attributes)


@exports(*_FORMS)
def export_binary(op: Op[Binary], exporter: IrExporter) -> None:
    type, opset = _FORMS[op.operator.__class__]
    exporter.define(op, combined(exporter, type, *op.operands, opset=opset))


@exports(Div)
def export_divide(op: Op[Div], exporter: IrExporter) -> None:
    exporter.define(op, combined(exporter, "Divide", *op.operands, m_pythondiv=False))


@exports(Mod)
def export_mod(op: Op[Mod], exporter: IrExporter) -> None:
    exporter.define(op, combined(exporter, "Mod" if op.operator.fmod else "FloorMod", *op.operands))


@exports(Pow)
def export_power(op: Op[Pow], exporter: IrExporter) -> None:
    x, y = map(exporter.tensor, op.operands)
    exporter.define(op, combined(exporter, "Power", x, converted(exporter, y, x.type.dtype)))


@exports(BitShift)
def export_shift(op: Op[BitShift], exporter: IrExporter) -> None:
    type = "BitwiseLeftShift" if op.operator.left else "BitwiseRightShift"
    exporter.define(op, combined(exporter, type, *op.operands, opset=15))
