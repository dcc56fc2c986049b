"""Activations of IR: attributes that became inputs, and those whose inputs are optional."""

from __future__ import annotations

import math

import numpy as np

from .....ir.activation import Args, clip_bounds
from .....ir.core import Op, Value
from .....ir.ops import REGISTRY
from .....ir.ops.activation import (
    Activation,
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
from .....ir.types import DType
from ...elementwise import scaled
from ...shape import reshape
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, opset
from .elementwise import combined
from .shape import reshaped

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


_FORMS: dict[str, tuple[str, int, dict[str, object]]] = {
    "relu": ("ReLU", 1, {}),
    "sigmoid": ("Sigmoid", 1, {}),
    "tanh": ("Tanh", 1, {}),
    "hard_swish": ("HSwish", 4, {}),
    "swish": ("Swish", 4, {}),
    "mish": ("Mish", 4, {}),
    "softplus": ("SoftPlus", 4, {}),
    "softsign": ("SoftSign", 9, {}),
    "gelu": ("Gelu", 7, {"approximation_mode": "ERF"}),
    "gelu_tanh": ("Gelu", 7, {"approximation_mode": "TANH"}),
}
"""Type of layer, operator set and attributes of activations without arguments, by the names of fused ones."""

_WITH_INPUTS = {"leaky_relu": "PReLU", "hard_sigmoid": "HardSigmoid", "selu": "Selu"}
"""Those whose arguments are inputs of the layer."""


def activated(exporter: IrExporter, x: Tensor, name: str, args: Args) -> Tensor:
    """A tensor after an activation, named as fused ones are."""
    if name == "none":
        return x
    if name in _FORMS:
        type, opset, attributes = _FORMS[name]
        return exporter.layer(type, [x], x.type, opset=opset, **attributes)
    number = x.type.dtype.numpy.type
    if name in _WITH_INPUTS:
        inputs = [exporter.constant(np.asarray(number(argument))) for argument in args]
        return exporter.layer(_WITH_INPUTS[name], [x, *inputs], x.type)
    if name == "elu":
        return exporter.layer("Elu", [x], x.type, alpha=args[0])
    if name == "clip":
        return _clipped(exporter, x, args)
    if name == "thresholded_relu":
        is_above = combined(exporter, "Greater", x, args[0], dtype=DType.BOOL)
        zero = exporter.constant(np.asarray(number(0)))
        return exporter.layer("Select", [is_above, x, zero], x.type, auto_broadcast="numpy")
    assert name == "celu", name
    quotient = combined(exporter, "Divide", x, args[0])
    if args[0] > 0:
        below = exporter.layer("Elu", [quotient], x.type, alpha=1.0)
    else:
        below = combined(exporter, "Subtract", exporter.layer("Exp", [quotient], x.type), 1)
    below = combined(exporter, "Minimum", combined(exporter, "Multiply", below, args[0]), 0)
    return combined(exporter, "Add", combined(exporter, "Maximum", x, 0), below)


def _clipped(exporter: IrExporter, x: Tensor, args: Args) -> Tensor:
    low, high = (float(bound) for bound in clip_bounds(args, x.type.dtype.numpy))
    if math.isfinite(low) and math.isfinite(high) and low <= high and x.type.dtype.is_float:
        return exporter.layer("Clamp", [x], x.type, min=low, max=high)
    for type, bound in zip(("Maximum", "Minimum"), clip_bounds(args, x.type.dtype.numpy), strict=True):
        if np.isfinite(bound):
            x = combined(exporter, type, x, exporter.constant(bound))
    return x


@exports(*(cls for cls in REGISTRY.values() if issubclass(cls, Activation)))
def export_activation(op: Op[Activation], exporter: IrExporter) -> None:
    x = exporter.tensor(op.operands.x)
    y = activated(exporter, x, op.operator.act, op.operator.act_args)
    exporter.define(op, exporter.identity(x) if y is x else y)


@exports(PRelu)
def export_prelu(op: Op[PRelu], exporter: IrExporter) -> None:
    x, slope = op.operands
    # A slope of one dimension would be one for each channel.
    full = (1,) * (x.type.rank - slope.type.rank) + slope.type.shape
    exporter.write_as(op, "PReLU", [x, reshaped(exporter, slope, full)])
