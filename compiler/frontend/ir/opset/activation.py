"""Activations of IR: attributes that became inputs, and those whose inputs are optional."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.activation import (
    Clip,
    Elu,
    Gelu,
    GeluTanh,
    HardSigmoid,
    HardSwish,
    Mish,
    PRelu,
    Relu,
    Selu,
    Sigmoid,
    Softplus,
    Softsign,
    Swish,
    Tanh,
)
from .....ir.ops.elementwise import Mul
from ...elementwise import scaled
from ...shape import reshape
from ..exporter import IrExporter, exports
from ..importer import IrImporter, IrNode, opset

_PLAIN = {
    "ReLU": Relu(),
    "Sigmoid": Sigmoid(),
    "Tanh": Tanh(),
    "TanH": Tanh(),
    "HSwish": HardSwish(),
    "HSigmoid": HardSigmoid(1 / 6, 0.5),
    "Mish": Mish(),
    "SoftPlus": Softplus(),
    "SoftSign": Softsign(),
}
"""Those without attributes and further inputs."""


@opset(*_PLAIN)
def import_plain(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_PLAIN[node.op_type], node.input(0))


@opset("Clamp")
def import_clamp(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Clip(node.float("min"), node.float("max")), node.input(0))


@opset("Elu")
def import_elu(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Elu(node.float("alpha")), node.input(0))


@opset("Selu")
def import_selu(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Selu(node.number(1, "alpha"), node.number(2, "lambda")), node.input(0))


@opset("HardSigmoid")
def import_hard_sigmoid(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(HardSigmoid(node.number(1, "alpha"), node.number(2, "beta")), node.input(0))


@opset("Gelu")
def import_gelu(node: IrNode, importer: IrImporter) -> Value:
    mode = node.word("approximation_mode", "erf")
    if mode not in ("erf", "tanh"):
        raise node.model_error("unknown approximation", expected="ERF or TANH", found=repr(mode[:60]))
    return importer.emit_one(GeluTanh() if mode == "tanh" else Gelu(), node.input(0))


@opset("Swish")
def import_swish(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    beta = node.number(1, "beta") if node.optional(1) is not None else 1.0
    if beta == 1:
        return importer.emit_one(Swish(), x)
    return importer.emit_one(Mul(), x, importer.emit_one(Sigmoid(), scaled(importer, x, beta)))


@opset("PReLU")
def import_prelu(node: IrNode, importer: IrImporter) -> Value:
    x, slope = node.input(0), node.input(1)
    if slope.type.rank == 1 and x.type.rank > 1 and slope.type.elements in (1, x.type.shape[1]):
        # One slope for each channel, wherever that dimension would be by the rule of NumPy.
        slope = reshape(importer, slope, (slope.type.elements, *(1,) * (x.type.rank - 2)))
    return importer.emit_one(PRelu(), x, slope)


@exports(Relu)
def export_relu(op: Op[Relu], exporter: IrExporter) -> None:
    exporter.write_as(op, "ReLU", op.operands)
