"""Activation operators of ONNX, as ops and as the epilogues that are fused into other operators.

Softmax, LogSoftmax and Hardmax had a flattened meaning before version 13.
"""

import math
from typing import Any

import numpy as np
import onnx

from .....ir.activation import clip_bounds
from .....ir.core import Constant, Op, Value
from .....ir.ops import activation
from .....ir.ops.comparison import Equal
from .....ir.ops.elementwise import Max, Min
from .....ir.ops.reduction import ArgMax
from .....ir.ops.softmax import AlongAxis, LogSoftmax, Softmax
from .....ir.types import DType
from ...elementwise import swish
from ...shape import cast, reshape
from ..exporter import MICROSOFT, Exporter, exports
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one

_DEFAULTS: dict[type[activation.Activation], dict[str, float]] = {
    activation.LeakyRelu: {"alpha": 0.01},
    activation.ThresholdedRelu: {"alpha": 1.0},
    activation.HardSigmoid: {"alpha": 0.2, "beta": 0.5},
    activation.Elu: {"alpha": 1.0},
    activation.Selu: {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    activation.Celu: {"alpha": 1.0},
    activation.Relu: {},
    activation.Sigmoid: {},
    activation.HardSwish: {},
    activation.Tanh: {},
    activation.Softplus: {},
    activation.Softsign: {},
    activation.Mish: {},
}
"""Attributes that ONNX gives an activation, in the order in which ours take them."""

_ONNX_FORMS = {cls.name: (cls.__name__, tuple(attributes)) for cls, attributes in _DEFAULTS.items()}
"""ONNX operator and names of its attributes by the name of a fused activation."""

for _operator, _attributes in _DEFAULTS.items():
    if _operator is not activation.Relu:
        one_to_one(_operator.__name__, _operator, **_attributes)
one_to_one("PRelu", activation.PRelu)


@imports("Relu")
def import_relu(node: Node, importer: Importer) -> Value:
    return importer.emit_one(activation.Relu(), node.input(0))


@imports("Gelu")
@imports("Gelu", domain=MICROSOFT)
def import_gelu(node: Node, importer: Importer) -> Value:
    approximate = node.string("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise node.model_error("unknown approximation", expected="none or tanh", found=approximate)
    operator = activation.GeluTanh() if approximate == "tanh" else activation.Gelu()
    return importer.emit_one(operator, node.input(0))


@imports("Swish")
@imports("QuickGelu", domain=MICROSOFT)
def import_swish(node: Node, importer: Importer) -> Value:
    return swish(importer, node.input(0), node.float("alpha", 1.0 if node.op_type == "Swish" else 1.702))


@imports("Clip")
def import_clip(node: Node, importer: Importer) -> Value:
    x, low, high = node.input(0), node.optional(1), node.optional(2)
    if node.opset < 11:
        return importer.emit_one(activation.Clip(node.float("min", -math.inf), node.float("max", math.inf)), x)
    bounds = [_bound(low, -math.inf), _bound(high, math.inf)]
    if bounds[0] is not None and bounds[1] is not None:
        return importer.emit_one(activation.Clip(bounds[0], bounds[1]), x)
    x = importer.emit_one(Max(), x, low) if low is not None else x
    return importer.emit_one(Min(), x, high) if high is not None else x


def _bound(value: Value | None, default: float) -> float | None:
    """A bound as a float, ``None`` where it is not known or a float cannot hold it."""
    if value is None:
        return default
    if not isinstance(value, Constant):
        return None
    exact = value.array.reshape(-1)[0].item()
    return float(exact) if float(exact) == exact else None


@exports(activation.Relu, activation.Clip, activation.Gelu, activation.GeluTanh, activation.Swish)
def export_activation_op(op: Op[activation.Activation], exporter: Exporter) -> None:
    x, operator = exporter.name(op.operands.x), op.operator
    exporter.define(op, export_activation(exporter, x, operator.act, operator.act_args, op.result.type.dtype))


def export_activation(exporter: Exporter, x: str, name: str, args: tuple[float, ...], dtype: DType = DType.F32) -> str:
    """Write an activation of a tensor of element type ``dtype`` as nodes; the name of the result."""
    if name == "none":
        return x
    if name == "relu" and dtype in (DType.I16, DType.I64):
        # onnxruntime has no Relu of these.
        name, args = "clip", (0.0, math.inf)
    if name == "clip":
        bounds = [
            exporter.constant(bound, "bound") if math.isfinite(given) else None
            for given, bound in zip(args, clip_bounds(args, dtype.numpy), strict=True)
        ]
        if dtype not in (DType.I16, DType.U16):
            return exporter.node("Clip", [x, *bounds])
        # onnxruntime clips no integers of 16 bits.
        wide = [each and exporter.node("Cast", [each], to=onnx.TensorProto.INT32) for each in (x, *bounds)]
        to = onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy)
        return exporter.node("Cast", [exporter.node("Clip", wide)], to=to)
    if name == "swish":
        return exporter.node("Mul", [x, exporter.node("Sigmoid", [x])])
    if name in ("gelu", "gelu_tanh"):
        return exporter.node("Gelu", [x], approximate="tanh" if name == "gelu_tanh" else None)
    op_type, names = _ONNX_FORMS[name]
    attributes: dict[str, Any] = dict(zip(names, args, strict=True))
    return exporter.node(op_type, [x], **attributes)


_OPERATORS: dict[str, type[AlongAxis]] = {cls.__name__: cls for cls in (LogSoftmax, Softmax)}

for _op_type, _operator in _OPERATORS.items():
    exports_as(_op_type, _operator)


@imports("Hardmax", *_OPERATORS)
def import_along_axis(node: Node, importer: Importer) -> Value:
    x, shape = node.input(0), node.input(0).type.shape
    if node.opset >= 13:
        return _along(node, importer, x, node.axis(len(shape), -1))
    # All dimensions from the axis on count as one line; a line with a single true dimension needs no reshape.
    axis = node.axis(len(shape), 1)
    longer = [d for d in range(axis, len(shape)) if shape[d] != 1]
    if len(longer) <= 1:
        return _along(node, importer, x, longer[0] if longer else axis)
    flat = reshape(importer, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
    return reshape(importer, _along(node, importer, flat, 1), shape)


def _along(node: Node, importer: Importer, x: Value, axis: int) -> Value:
    """One of the functions of lines; a hardmax is 1 in the place of the first of the largest elements."""
    if node.op_type in _OPERATORS or not x.type.elements:
        return importer.emit_one(_OPERATORS.get(node.op_type, Softmax)(axis), x)
    places = np.arange(x.type.shape[axis]).reshape(-1, *[1] * (x.type.rank - 1 - axis))
    first = importer.emit_one(ArgMax(axis), x)
    is_first = importer.emit_one(Equal(), first, importer.constant(places, f"{node.name}_places"))
    return importer.open.opened(cast(importer, is_first, x.type.dtype), importer.open.shape(x))
