"""Rules between quantised tensors: new parameters, padding, clamps and turned rows go into neighbours or vanish."""

import math
from dataclasses import replace

import numpy as np

from ...ir.core import Op, Value, is_op
from ...ir.ops.activation import Clip, Relu
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Pad, Transpose
from ...ir.ops.quantization import Dequantize, Quantize, Requantize
from ...ir.quantized import CLAMPING, EIGHT_BIT, is_redundant
from ...ir.types import DType, TensorType
from ..pattern import Match, Rule, node
from ..simplify.window_rules import pad_into_conv
from ..views import exchanged


def _quantize_dequantized(found: Match) -> Value | None:
    x, y_type = found["x"], found.root.result.type
    if x.type == y_type:
        return x
    if x.type.dtype is DType.I32 or (x.type.quant is not None and x.type.quant.axis is not None):
        return None
    return found.emit(Requantize(), x, result_types=[y_type], origin=[found.root])


def _requantize_before_pad(found: Match) -> Value | None:
    """Padding with zero stays padding with zero, and next to a convolution goes into it."""
    pad_op = found.op("pad", Pad)
    pad, x, y_type = pad_op.operator, found["x"], found.root.result.type
    if pad.mode == "constant" and pad.value != 0:
        return None
    type = TensorType(x.type.shape, y_type.dtype, y_type.quant)
    before = found.emit(Requantize(), x, result_types=[type], origin=[found.root])
    return found.emit(pad, before, result_types=[y_type], origin=[pad_op])


def _drop_shift(found: Match[Conv | MatMul]) -> Value | None:
    """Products read integers of either signedness: those that are only moved by as much as their zero point stay."""
    shift, product = found.op("shift", Requantize), found.root
    x, moved = shift.operands.x, shift.result
    quant, other = x.type.quant, moved.type.quant
    if quant is None or other is None or quant.axis is not None or quant.scale != other.scale:
        return None
    if not {x.type.dtype, moved.type.dtype} <= {*EIGHT_BIT}:
        return None
    if any(not isinstance(user, Op) or not is_op(user, Conv, MatMul) or index for user, index in moved.uses):
        return None
    by = np.iinfo(moved.type.dtype.numpy).min - np.iinfo(x.type.dtype.numpy).min
    if other.zero_point[0] - quant.zero_point[0] != by:
        return None
    return found.emit(product.operator, x, *product.operands[1:], result_types=[product.result.type])


def _bounds(clamp: Conv | MatMul | Relu | Clip) -> tuple[float, ...]:
    return (0.0, math.inf) if clamp.act == "relu" else clamp.act_args


def _absorb_activation(found: Match[Relu | Clip]) -> Value | None:
    """A clamp of the quantised result of a product, with equal parameters, becomes its fused activation, or part of the
    clamp that it has."""
    activation, source = found.root.operator, found.op("product", Conv, MatMul)
    operator, act, act_args = source.operator, activation.act, activation.act_args
    y_type = found.root.result.type
    if y_type.quant is None or source.result.type != y_type or operator.act not in CLAMPING:
        return None
    if operator.act != "none":
        (inner_low, inner_high), (low, high) = _bounds(operator), _bounds(activation)
        if inner_low > inner_high or low > high:
            return None
        act, act_args = "clip", (min(max(inner_low, low), high), min(max(inner_high, low), high))
    fused = replace(operator, act=act, act_args=act_args)
    return found.emit(fused, *source.operands, result_types=[y_type], origin=[source, found.root])


def _drop_activation(found: Match[Relu | Clip]) -> Value | None:
    """A clamp that saturation has done already."""
    activation, x = found.root.operator, found["x"]
    if not x.type.has_one_scale or x.type != found.root.result.type:
        return None
    return x if activation.act in CLAMPING and is_redundant(x.type, activation.act, activation.act_args) else None


def _turned(found: Match[MatMul]) -> Value:
    """Integers are turned before their product: they are few, and kernels and the accelerator read rows in order."""
    product, x = found.root, found["x"]
    turned = found.emit(Transpose(exchanged(x)), x)
    operator = replace(product.operator, transpose_a=False)
    return found.emit(operator, turned, *product.operands[1:], result_types=[product.result.type])


def _is_quantized(op: Op) -> bool:
    return op.inputs[0].type.quant is not None


BETWEEN = (
    Rule("quantize_dequantized", node(Quantize, node(Dequantize, "x", single_use=False)), _quantize_dequantized),
    Rule("requantize_before_pad", node(Requantize, node(Pad, "x", name="pad")), _requantize_before_pad),
    Rule("pad_into_quantized_conv", node(Conv, node(Pad, "x", name="pad"), where=_is_quantized), pad_into_conv),
    Rule("shift_before_product", node((Conv, MatMul), node(Requantize, name="shift", single_use=False)), _drop_shift),
    Rule("turned_rows", node(MatMul, "x", where=lambda op: _is_quantized(op) and op.operator.transpose_a), _turned),
    Rule("redundant_activation", node((Relu, Clip), "x"), _drop_activation),
    Rule("activation_into_product", node((Relu, Clip), node((Conv, MatMul), name="product")), _absorb_activation),
)
"""Of quantised types throughout."""
