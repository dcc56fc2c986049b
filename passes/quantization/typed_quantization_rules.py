"""Rules that make quantisation part of the types: constants of scale and zero point leave the operands.

``quantize_linear`` and ``dequantize_linear`` become ``quantize`` and ``dequantize``, integer products with scales as
operands become ``conv`` and ``matmul`` on quantised types. Between two of them plain integers are never seen again.
"""

from __future__ import annotations

import math

import numpy as np

from ...ir.core import Constant, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.integer_products import QLinearConv, QLinearMatMul
from ...ir.ops.matmul import MatMul
from ...ir.ops.quantization import (
    AssumeQuantized,
    Dequantize,
    DequantizeLinear,
    Quantize,
    QuantizeLinear,
    StoredIntegers,
)
from ...ir.types import DType, Quantization, TensorType
from ..pattern import Match, Rule, node, operand_of_the_same_type


def quantization_of(scale: Value | None, zero_point: Value | None, axis: int | None) -> Quantization | None:
    """The parameters that constants give, ``None`` where one is no constant or a scale is not positive."""
    if not isinstance(scale, Constant) or not isinstance(zero_point, (Constant, type(None))):
        return None
    scales = scale.array.reshape(-1).astype(np.float64)
    zeros = np.zeros(scales.shape, np.int64) if zero_point is None else zero_point.array.reshape(-1).astype(np.int64)
    if zeros.size == 1:
        zeros = np.broadcast_to(zeros, scales.shape)
    if not all(math.isfinite(s) and s > 0 for s in scales) or scales.size != zeros.size:
        return None
    if scales.size == 1:
        return Quantization.per_tensor(float(scales[0]), int(zeros[0]))
    if axis is None:
        return None
    return Quantization.per_channel([float(s) for s in scales], axis, [int(z) for z in zeros])


def assume(found: Match, x: Value, quant: Quantization) -> Value:
    """``x``, plain integers, as a value of a quantised type; a constant becomes another constant."""
    type = x.type.with_quant(quant)
    if isinstance(x, Constant):
        return found.add_constant(x.name, x.array, type)
    return found.emit(AssumeQuantized(), x, result_types=[type])


def _typed_dequantize(found: Match) -> Value | None:
    dequantize, (x, scale, zero_point) = found.root.operator, (*found.root.operands, None)[:3]
    assert isinstance(dequantize, DequantizeLinear)
    assert x is not None
    quant = quantization_of(scale, zero_point, dequantize.axis)
    if quant is None or found.root.result.type.dtype is not DType.F32:
        return None
    return found.emit(Dequantize(), assume(found, x, quant))


def _typed_quantize(found: Match) -> Value | None:
    quantize, (x, scale, zero_point) = found.root.operator, (*found.root.operands, None)[:3]
    assert isinstance(quantize, QuantizeLinear)
    assert x is not None
    quant = quantization_of(scale, zero_point, quantize.axis)
    if quant is None or x.type.dtype is not DType.F32:
        return None
    type = TensorType(x.type.shape, quantize.to, quant)
    return found.emit(StoredIntegers(), found.emit(Quantize(), x, result_types=[type]))


def _typed_conv(found: Match) -> Value | None:
    conv = found.root.operator
    assert isinstance(conv, QLinearConv)
    typed = Conv(conv.strides, conv.pads, conv.dilations, conv.group)
    return _typed_product(found, typed, 0, (*found.root.operands, None)[8])


def _typed_matmul(found: Match) -> Value | None:
    w = found.root.operands[3]
    assert w is not None
    return _typed_product(found, MatMul(), w.type.rank - 1, None)


def _typed_product(found: Match, operator: Conv | MatMul, channel_axis: int, b: Value | None) -> Value | None:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = found.root.operands[:8]
    assert x is not None
    assert w is not None
    quants = (
        quantization_of(x_scale, x_zero, None),
        quantization_of(w_scale, w_zero, channel_axis),
        quantization_of(y_scale, y_zero, None),
    )
    if quants[0] is None or quants[1] is None or quants[2] is None:
        return None
    types = (x.type.with_quant(quants[0]), w.type.with_quant(quants[1]), b.type if b is not None else None)
    y_type = found.root.result.type.with_quant(quants[2])
    if operator.check_quantized(types, [y_type]) is not None:
        return None
    y = found.emit(operator, assume(found, x, quants[0]), assume(found, w, quants[1]), b, result_types=[y_type])
    return found.emit(StoredIntegers(), y)


RULES: tuple[Rule, ...] = (
    Rule("typed_dequantize", node(DequantizeLinear), _typed_dequantize),
    Rule("typed_quantize", node(QuantizeLinear), _typed_quantize),
    Rule("typed_conv", node(QLinearConv), _typed_conv),
    Rule("typed_matmul", node(QLinearMatMul), _typed_matmul),
    Rule(
        "stored_and_assumed",
        node(AssumeQuantized, node(StoredIntegers, "x", single_use=False)),
        operand_of_the_same_type,
    ),
    Rule(
        "assumed_and_stored",
        node(StoredIntegers, node(AssumeQuantized, "x", single_use=False)),
        operand_of_the_same_type,
    ),
)
"""From parameters as operands to parameters in types."""
