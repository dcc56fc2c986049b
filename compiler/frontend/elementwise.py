"""Arithmetic operators of ONNX on two tensors, and Max, Min, Sum and Mean of any number of them."""

from __future__ import annotations

import numpy as np

from ...ir.core import Op, Value
from ...ir.op import Operator
from ...ir.ops.elementwise import (
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
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports

_PLAIN: dict[str, type[Operator]] = {
    "Add": Add,
    "Sub": Sub,
    "Mul": Mul,
    "Div": Div,
    "Pow": Pow,
    "BitwiseAnd": BitwiseAnd,
    "BitwiseOr": BitwiseOr,
    "BitwiseXor": BitwiseXor,
}
_CHAINS: dict[str, type[Operator]] = {"Max": Max, "Min": Min, "Sum": Add, "Mean": Add}
_ONNX_NAMES = {cls: name for name, cls in (_CHAINS | _PLAIN).items()}


@imports(*_PLAIN)
def import_binary(node: Node, importer: Importer) -> Value:
    return importer.emit_one(_PLAIN[node.op_type](), node.input(0), node.input(1))


@imports(*_CHAINS)
def import_chain(node: Node, importer: Importer) -> Value:
    result = node.input(0)
    for index in range(1, len(node.inputs)):
        result = importer.emit_one(_CHAINS[node.op_type](), result, node.input(index))
    if node.op_type == "Mean" and len(node.inputs) > 1:
        count = importer.constant(np.array(len(node.inputs), result.type.dtype.numpy), "count")
        result = importer.emit_one(Div(), result, count)
    return result


@exports(*_ONNX_NAMES)
def export_binary(op: Op, exporter: Exporter) -> None:
    exporter.define(op, exporter.node(_ONNX_NAMES[type(op.operator)], op.operands))


@imports("Mod")
def import_mod(node: Node, importer: Importer) -> Value:
    return importer.emit_one(Mod(fmod=node.int("fmod", 0) != 0), node.input(0), node.input(1))


@exports(Mod)
def export_mod(op: Op, exporter: Exporter) -> None:
    assert isinstance(op.operator, Mod)
    exporter.define(op, exporter.node("Mod", op.operands, fmod=int(op.operator.fmod)))


@imports("BitShift")
def import_bit_shift(node: Node, importer: Importer) -> Value:
    direction = node.string("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise node.model_error("unknown direction", expected="LEFT or RIGHT", found=direction)
    return importer.emit_one(BitShift(left=direction == "LEFT"), node.input(0), node.input(1))


@exports(BitShift)
def export_bit_shift(op: Op, exporter: Exporter) -> None:
    assert isinstance(op.operator, BitShift)
    exporter.define(op, exporter.node("BitShift", op.operands, direction="LEFT" if op.operator.left else "RIGHT"))
