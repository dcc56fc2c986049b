"""Arithmetic of IR on two tensors, which broadcast in one of three ways."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.op import Operator
from .....ir.ops.elementwise import (
    Add,
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
)
from ...elementwise import floor_mod, squared_difference
from ...shape import reshape
from ..importer import IrImporter, IrNode, opset

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
