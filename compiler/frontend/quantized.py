"""Operators on quantised tensors in ONNX: as QLinear operators, or between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilewright.errors import UnsupportedError

from ...ir.core import Op, Value
from ...ir.op import Operator, QuantizationRule
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.pooling import AveragePool, GlobalAveragePool
from ...ir.quantized import clamp_bounds, limits
from ...ir.types import DType, TensorType
from .export import MICROSOFT, Exporter
from .registry import EXPORTS

Parameters = tuple[str, str]
"""Names of the tensors of scale and zero point."""


def export_quantized(op: Op, exporter: Exporter) -> None:
    """Write an op that has quantised operands or results.

    Raises:
        UnsupportedError: the operator has no ONNX form.
    """
    write = _WRITERS.get(type(op.operator))
    if write is not None:
        write(op, exporter)
        return
    plain = EXPORTS.get(type(op.operator))
    if plain is None:
        raise UnsupportedError(f"operator {op.name} has no ONNX form", stage="export", node=op.node)
    rule = op.operator.QUANTIZATION
    if rule in (QuantizationRule.TABLE, QuantizationRule.RESCALE, QuantizationRule.ACCUMULATE):
        _export_between(op, exporter, plain)
    else:
        plain(op, exporter)


def parameters(exporter: Exporter, type: TensorType) -> Parameters:
    """Initialisers with scale and zero point of a quantised type, scalars or one for each channel."""
    assert type.quant is not None
    scale = np.asarray(type.quant.scale, np.float32)
    zero = np.asarray(type.quant.zero_point, type.dtype.numpy)
    if type.quant.axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    return exporter.constant(scale, "scale"), exporter.constant(zero, "zero_point")


def _operand(exporter: Exporter, value: Value) -> list[Value | str]:
    return [value, *parameters(exporter, value.type)]


def _clamped(exporter: Exporter, name: str, type: TensorType, act: str, act_args: tuple[float, ...]) -> str:
    """The result of a clamping activation, on stored integers."""
    bounds = clamp_bounds(type, act, act_args)
    if bounds == limits(type):
        return name
    return exporter.node("Clip", [name, *(exporter.constant(np.asarray(b, type.dtype.numpy), "bound") for b in bounds)])


def _export_conv(op: Op, exporter: Exporter) -> None:
    conv = op.operator
    assert isinstance(conv, Conv)
    x, w, b = (*op.operands, None)[:3]
    assert x is not None and w is not None
    inputs = [*_operand(exporter, x), *_operand(exporter, w), *parameters(exporter, op.result.type), b]
    attributes: dict[str, Any] = {
        "strides": conv.strides,
        "pads": conv.pads,
        "dilations": conv.dilations,
        "group": conv.group,
    }
    y = exporter.node("QLinearConv", inputs, **attributes)
    exporter.define(op, _clamped(exporter, y, op.result.type, conv.act, conv.act_args))


def _export_matmul(op: Op, exporter: Exporter) -> None:
    matmul = op.operator
    assert isinstance(matmul, MatMul)
    x, w, b = (*op.operands, None)[:3]
    assert x is not None and w is not None
    y_type = op.result.type
    if b is not None:
        if x.type.rank != 2 or w.type.rank != 2:
            raise UnsupportedError("ONNX has no batched product of integers with bias", stage="export", node=op.node)
        inputs = [*_operand(exporter, x), *_operand(exporter, w), b, *parameters(exporter, y_type)]
        y = exporter.node(
            "QGemm", inputs, MICROSOFT, alpha=1.0, transA=int(matmul.transpose_a), transB=int(matmul.transpose_b)
        )
    else:
        left = _matrix(exporter, x, matmul.transpose_a)
        right = _matrix(exporter, w, matmul.transpose_b)
        y = exporter.node("QLinearMatMul", [*left, *right, *parameters(exporter, y_type)])
    exporter.define(op, _clamped(exporter, y, y_type, matmul.act, matmul.act_args))


def _matrix(exporter: Exporter, value: Value, is_transposed: bool) -> list[Value | str]:
    if not is_transposed:
        return _operand(exporter, value)
    order = list(range(value.type.rank))
    order[-2:] = order[:-3:-1]
    return [exporter.node("Transpose", [value], perm=order), *parameters(exporter, value.type)]


def _export_binary(op_type: str) -> Callable[[Op, Exporter], None]:
    def write(op: Op, exporter: Exporter) -> None:
        inputs = [each for value in op.inputs for each in _operand(exporter, value)]
        exporter.define(op, exporter.node(op_type, [*inputs, *parameters(exporter, op.result.type)], MICROSOFT))

    return write


def _export_average_pool(op: Op, exporter: Exporter) -> None:
    pool = op.operator
    assert isinstance(pool, AveragePool)
    if any(pool.overhang) or max(pool.dilations) > 1:
        raise UnsupportedError("ONNX has no such average of integers", stage="export", node=op.node)
    y = exporter.node(
        "QLinearAveragePool",
        [*_operand(exporter, op.inputs[0]), *parameters(exporter, op.result.type)],
        MICROSOFT,
        kernel_shape=pool.kernel,
        strides=pool.strides,
        pads=pool.pads,
        count_include_pad=int(pool.count_include_pad),
    )
    exporter.define(op, y)


def _export_global_average_pool(op: Op, exporter: Exporter) -> None:
    inputs = [*_operand(exporter, op.inputs[0]), *parameters(exporter, op.result.type)]
    exporter.define(op, exporter.node("QLinearGlobalAveragePool", inputs, MICROSOFT, channels_last=0))


def _export_between(op: Op, exporter: Exporter, write: Callable[[Op, Exporter], None]) -> None:
    """The float form of ``op``, with operands dequantised before it and results quantised after it."""
    floats: list[Value | None] = []
    for value in op.operands:
        if value is None or value.type.quant is None:
            floats.append(value)
            continue
        inner = Value(value.name, TensorType(value.type.shape, DType.F32))
        axis = value.type.quant.axis
        exporter.bind(inner, exporter.node("DequantizeLinear", _operand(exporter, value), axis=axis))
        floats.append(inner)
    types = [TensorType(value.type.shape, DType.F32) for value in op.results]
    detached = Op(op.operator, floats, types, loc=op.loc)
    write(detached, exporter)
    names = [
        exporter.node("QuantizeLinear", [inner, *parameters(exporter, outer.type)])
        for inner, outer in zip(detached.results, op.results, strict=True)
    ]
    exporter.define(op, *names)


_WRITERS: dict[type[Operator], Callable[[Op, Exporter], None]] = {
    Conv: _export_conv,
    MatMul: _export_matmul,
    Add: _export_binary("QLinearAdd"),
    Mul: _export_binary("QLinearMul"),
    AveragePool: _export_average_pool,
    GlobalAveragePool: _export_global_average_pool,
}
