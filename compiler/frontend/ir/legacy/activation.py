"""Activations of IR of versions 2 to 7: layers of their own, or what the layer ``Activation`` names."""

from __future__ import annotations

from collections.abc import Callable

from .....ir.core import Value
from .....ir.ops.activation import (
    Clip,
    Elu,
    HardSigmoid,
    LeakyRelu,
    PRelu,
    Relu,
    Selu,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from .....ir.ops.unary import Exp
from ..importer import IrImporter, IrNode, legacy
from .truth import negated
from .weights import weights


@legacy("ReLU")
def import_relu(node: IrNode, importer: IrImporter) -> Value:
    slope = node.float("negative_slope", 0.0)
    return importer.emit_one(LeakyRelu(slope) if slope else Relu(), node.input(0))


@legacy("ReLU6")
def import_relu6(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Clip(0.0, node.float("n", 6.0)), node.input(0))


@legacy("Clamp")
def import_clamp(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Clip(node.float("min"), node.float("max")), node.input(0))


@legacy("ELU")
def import_elu(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(Elu(node.float("alpha", 1.0)), node.input(0))


@legacy("PReLU")
def import_prelu(node: IrNode, importer: IrImporter) -> Value:
    """Below zero, x times one slope for all channels or for each."""
    x = node.input(0)
    if x.type.rank < 2:
        raise node.model_error("the input has no channels", found=x.type)
    if node.bool("channel_shared", False):
        slope = weights(node, importer, (1,))
    else:
        slope = weights(node, importer, (x.type.shape[1], *[1] * (x.type.rank - 2)))
    return importer.emit_one(PRelu(), x, slope)


@legacy("Sigmoid", "TanH", "Exp", "SoftPlus", "SoftSign")
def import_plain(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_PLAIN[node.op_type.lower()](), node.input(0))


@legacy("HardSigmoid", "Hard_sigmoid")
def import_hard_sigmoid(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(HardSigmoid(node.float("alpha", 0.2), node.float("beta", 0.5)), node.input(0))


@legacy("Selu")
def import_selu(node: IrNode, importer: IrImporter) -> Value:
    alpha = node.float("alpha", 1.67326319217681884765625)
    return importer.emit_one(Selu(alpha, node.float("gamma", 1.05070102214813232421875)), node.input(0))


@legacy("Not")
def import_not(node: IrNode, importer: IrImporter) -> Value:
    return negated(node, importer, node.input(0))


_PLAIN = {"sigmoid": Sigmoid, "tanh": Tanh, "exp": Exp, "softplus": Softplus, "softsign": Softsign}

_NAMED: dict[str, Callable[[IrNode, IrImporter], Value]] = {
    "relu": import_relu,
    "prelu": import_prelu,
    "clamp": import_clamp,
    "elu": import_elu,
    "not": import_not,
}


@legacy("Activation")
def import_activation(node: IrNode, importer: IrImporter) -> Value:
    kind = node.word("type")
    if kind in _PLAIN:
        return importer.emit_one(_PLAIN[kind](), node.input(0))
    if kind not in _NAMED:
        expected = ", ".join(sorted({*_PLAIN, *_NAMED}))
        raise node.unsupported("this activation is not supported", expected=expected, found=repr(kind[:60]))
    return _NAMED[kind](node, importer)
