"""Arithmetic, comparison, logic and functions of one tensor in ONNX, but activations; fused operators as the nodes that
they were fused from."""

import numpy as np
import onnx
import onnx.helper

from .....ir.core import Op, Value
from .....ir.op import Operator
from .....ir.ops import unary
from .....ir.ops.comparison import And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Where, Xor
from .....ir.ops.elementwise import (
    UNSIGNED,
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
from .....ir.ops.fused import FusedElementwise
from ...expression import Expression
from ..exporter import Exporter, exports
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one

for _operator in (Add, Sub, Mul, Div, Pow, BitwiseAnd, BitwiseOr, BitwiseXor):
    one_to_one(_operator.__name__, _operator)
one_to_one("Mod", Mod, fmod=0)
exports_as("Max", Max)
exports_as("Min", Min)

_ARITHMETIC = (unary.Neg, unary.Abs, unary.Sign, unary.Sqrt, unary.Reciprocal, unary.Exp, unary.Log, unary.Erf)
_ROUNDING = (unary.Floor, unary.Ceil, unary.Round)
_TRIGONOMETRIC = (unary.Sin, unary.Cos, unary.Tan, unary.Asin, unary.Acos, unary.Atan)
_HYPERBOLIC = (unary.Sinh, unary.Cosh, unary.Asinh, unary.Acosh, unary.Atanh)
_LOGIC = (unary.BitwiseNot, unary.Not)

for _operator in (*_ARITHMETIC, *_ROUNDING, *_TRIGONOMETRIC, *_HYPERBOLIC, *_LOGIC):
    one_to_one(_operator.__name__, _operator)
one_to_one("IsNaN", unary.IsNan)
one_to_one("IsInf", unary.IsInf, detect_negative=1, detect_positive=1)


_CHAINS: dict[str, type[Operator]] = {"Max": Max, "Min": Min, "Sum": Add, "Mean": Add}


@imports(*_CHAINS)
def import_chain(node: Node, importer: Importer) -> Value:
    result = Expression(importer, node.input(0))
    for index in range(1, len(node.inputs)):
        result = result.apply(_CHAINS[node.op_type](), node.input(index))
    return (result / len(node.inputs) if node.op_type == "Mean" and len(node.inputs) > 1 else result).value


@imports("BitShift")
def import_bit_shift(node: Node, importer: Importer) -> Value:
    direction = node.string("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise node.model_error("unknown direction", expected="LEFT or RIGHT", found=direction)
    return importer.emit_one(BitShift(left=direction == "LEFT"), node.input(0), node.input(1))


@exports(BitShift)
def export_bit_shift(op: Op[BitShift], exporter: Exporter) -> None:
    x, y, dtype = *op.operands, op.result.type.dtype
    direction = "LEFT" if op.operator.left else "RIGHT"
    if dtype in UNSIGNED:
        exporter.write_as(op, "BitShift", [x, y], direction=direction)
        return
    # Until version 28 of bits without a sign alone: those of a negative number are turned over before and after.
    bits, signed = (onnx.helper.np_dtype_to_tensor_dtype(np.dtype(f"{u}int{8 * dtype.bytes}")) for u in ("u", ""))
    is_negative = exporter.node("Less", [x, exporter.constant(np.zeros((), dtype.numpy))])
    inner = x if op.operator.left else exporter.node("Where", [is_negative, exporter.node("BitwiseNot", [x]), x])
    inner, count = (exporter.node("Cast", [value], to=bits) for value in (inner, y))
    shifted = exporter.node("Cast", [exporter.node("BitShift", [inner, count], direction=direction)], to=signed)
    if not op.operator.left:
        shifted = exporter.node("Where", [is_negative, exporter.node("BitwiseNot", [shifted]), shifted])
    exporter.define(op, shifted)


@exports(Mod)
def export_mod(op: Op[Mod], exporter: Exporter) -> None:
    x, y, dtype = *op.operands, op.result.type.dtype
    if op.operator.fmod or dtype.is_integer:
        exporter.write_as(op, "Mod", [x, y], fmod=int(op.operator.fmod))
        return
    # Until version 28 of floats with the sign of x alone.
    zero, cut = exporter.constant(np.zeros((), dtype.numpy)), exporter.node("Mod", [x, y], fmod=1)
    signs = exporter.node("Less", [exporter.node("Mul", [exporter.node("Sign", [each]) for each in (cut, y)]), zero])
    exporter.write_as(op, "Where", [signs, exporter.node("Add", [cut, y]), cut])


for _operator in (Equal, Less, LessOrEqual, Greater, GreaterOrEqual, And, Or, Xor, Where):
    one_to_one(_operator.__name__, _operator)


@exports(FusedElementwise)
def export_fused(op: Op[FusedElementwise], exporter: Exporter) -> None:
    values: list[Value | None] = list(op.operands)
    parts: list[Op] = []
    for step in op.operator.steps:
        part = Op(step.operator, [values[position] for position in step.arguments], loc=op.loc)
        exporter.write(part)
        values.append(part.result)
        parts.append(part)
    exporter.define(op, exporter.name(parts[-1].result))
    for part in reversed(parts):
        part.erase()
