"""Activations and softmax of IR: attributes that became inputs, and what the layer ``Activation`` names."""

import math
from collections.abc import Callable

import numpy as np

from .....ir.activation import Args, clip_bounds
from .....ir.core import Op, Value
from .....ir.op import Operator
from .....ir.ops import REGISTRY, activation
from .....ir.ops.softmax import LogSoftmax, Softmax
from .....ir.ops.unary import Exp
from .....ir.types import DType
from ...elementwise import swish
from ...shape import reshape
from ..exporter import IrExporter, Tensor, exports, exports_as
from ..importer import IrImporter, IrNode, channels_of, legacy, opset, weights
from .elementwise import combined, negated
from .shape import reshaped

_PLAIN = {
    "ReLU": activation.Relu(),
    "Sigmoid": activation.Sigmoid(),
    "Tanh": activation.Tanh(),
    "TanH": activation.Tanh(),
    "HSwish": activation.HardSwish(),
    "HSigmoid": activation.HardSigmoid(1 / 6, 0.5),
    "Mish": activation.Mish(),
    "SoftPlus": activation.Softplus(),
    "SoftSign": activation.Softsign(),
}
"""Those without attributes and further inputs."""


_WITH_ARGUMENTS: dict[str, Callable[[IrNode], Operator]] = {
    "Clamp": lambda node: activation.Clip(node.float("min"), node.float("max")),
    "Elu": lambda node: activation.Elu(node.float("alpha")),
    "Selu": lambda node: activation.Selu(node.number(1, "alpha"), node.number(2, "lambda")),
    "HardSigmoid": lambda node: activation.HardSigmoid(node.number(1, "alpha"), node.number(2, "beta")),
}


@opset(*_PLAIN, *_WITH_ARGUMENTS)
def import_function(node: IrNode, importer: IrImporter) -> Value:
    made = _WITH_ARGUMENTS.get(node.op_type)
    return importer.emit_one(_PLAIN[node.op_type] if made is None else made(node), node.input(0))


@opset("Gelu")
def import_gelu(node: IrNode, importer: IrImporter) -> Value:
    mode = node.choice("approximation_mode", ("erf", "tanh"), "erf")
    return importer.emit_one(activation.GeluTanh() if mode == "tanh" else activation.Gelu(), node.input(0))


@opset("Swish")
def import_swish(node: IrNode, importer: IrImporter) -> Value:
    return swish(importer, node.input(0), node.number(1, "beta") if node.optional(1) is not None else 1.0)


@opset("PReLU")
def import_prelu(node: IrNode, importer: IrImporter) -> Value:
    x, slope = node.input(0), node.input(1)
    if slope.type.rank == 1 and x.type.rank > 1 and slope.type.elements in (1, x.type.shape[1]):
        # One slope for each channel, wherever that dimension would be by the rule of NumPy.
        slope = reshape(importer, slope, (slope.type.elements, *(1,) * (x.type.rank - 2)))
    return importer.emit_one(activation.PRelu(), x, slope)


_SINCE = {"HSwish": 4, "Mish": 4, "SoftPlus": 4, "SoftSign": 9}
_FORMS: dict[str, tuple[str, int, dict[str, object]]] = {
    **{op.act: (type, _SINCE.get(type, 1), {}) for type, op in _PLAIN.items() if type not in ("TanH", "HSigmoid")},
    "swish": ("Swish", 4, {}),
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


@exports(*(cls for cls in REGISTRY.values() if issubclass(cls, activation.Activation)))
def export_activation(op: Op[activation.Activation], exporter: IrExporter) -> None:
    x = exporter.tensor(op.operands.x)
    y = activated(exporter, x, op.operator.act, op.operator.act_args)
    exporter.define(op, exporter.identity(x) if y is x else y)


@exports(activation.PRelu)
def export_prelu(op: Op[activation.PRelu], exporter: IrExporter) -> None:
    x, slope = op.operands
    # A slope of one dimension would be one for each channel.
    full = (1,) * (x.type.rank - slope.type.rank) + slope.type.shape
    exporter.write_as(op, "PReLU", [x, reshaped(exporter, slope, full)])


@opset("SoftMax", "Softmax", "LogSoftmax")
@legacy("SoftMax", "LogSoftmax")
def import_softmax(node: IrNode, importer: IrImporter) -> Value:
    x, is_log = node.input(0), node.op_type.lower() == "logsoftmax"
    axis = node.from_front(node.int("axis", -1 if is_log and not node.is_legacy else 1), x.type.rank)
    return importer.emit_one(LogSoftmax(axis) if is_log else Softmax(axis), x)


exports_as(Softmax, "SoftMax", opset=8)
exports_as(LogSoftmax, "LogSoftmax", opset=5)


@legacy("PReLU")
def import_legacy_prelu(node: IrNode, importer: IrImporter) -> Value:
    """Below zero, x times one slope for all channels or for each."""
    x, channels = node.input(0), channels_of(node)
    shape = (1,) if node.bool("channel_shared", False) else (channels, *[1] * (x.type.rank - 2))
    return importer.emit_one(activation.PRelu(), x, weights(node, importer, shape))


def _legacy_relu(node: IrNode) -> Operator:
    slope = node.float("negative_slope", 0.0)
    return activation.LeakyRelu(slope) if slope else activation.Relu()


_LEGACY: dict[str, Callable[[IrNode], Operator]] = {
    "ReLU": _legacy_relu,
    "ReLU6": lambda node: activation.Clip(0.0, node.float("n", 6.0)),
    "Clamp": _WITH_ARGUMENTS["Clamp"],
    "ELU": lambda node: activation.Elu(node.float("alpha", 1.0)),
    "Sigmoid": lambda node: activation.Sigmoid(),
    "TanH": lambda node: activation.Tanh(),
    "Exp": lambda node: Exp(),
    "SoftPlus": lambda node: activation.Softplus(),
    "SoftSign": lambda node: activation.Softsign(),
    "HardSigmoid": lambda node: activation.HardSigmoid(node.float("alpha", 0.2), node.float("beta", 0.5)),
    "Selu": lambda node: activation.Selu(
        node.float("alpha", 1.67326319217681884765625), node.float("gamma", 1.05070102214813232421875)
    ),
}
_BY_KIND = {type.lower(): made for type, made in _LEGACY.items()}
_BY_KIND["hard_sigmoid"] = _BY_KIND["hardsigmoid"]


@legacy(*_LEGACY, "Hard_sigmoid")
def import_legacy_function(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(_BY_KIND[node.op_type.lower()](node), node.input(0))


@legacy("Not")
def import_legacy_not(node: IrNode, importer: IrImporter) -> Value:
    return negated(node, importer, node.input(0))


_NAMED = ("clamp", "elu", "exp", "not", "prelu", "relu", "sigmoid", "softplus", "softsign", "tanh")
"""What the layer ``Activation`` may name."""


@legacy("Activation")
def import_legacy_activation(node: IrNode, importer: IrImporter) -> Value:
    kind = node.word("type")
    if kind not in _NAMED:
        raise node.unsupported("this activation is not supported", expected=", ".join(_NAMED), found=repr(kind[:60]))
    others = {"prelu": import_legacy_prelu, "not": import_legacy_not}
    return others[kind](node, importer) if kind in others else importer.emit_one(_BY_KIND[kind](node), node.input(0))
