"""Operators on quantised tensors in ONNX: as QLinear operators, or between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.errors import UnsupportedError

from ...ir.core import Op, Value
from ...ir.op import Operator
from ...ir.ops.activation import LeakyRelu, Sigmoid
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Pad
from ...ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool
from ...ir.ops.quantization import AssumeQuantized, Dequantize, Quantize, Requantize, StoredIntegers
from ...ir.ops.shape import Reshape
from ...ir.ops.softmax import Softmax
from ...ir.quantized import clamp_bounds, limits, stored
from ...ir.types import DType, Quantization, TensorType
from .onnx.exporter import MICROSOFT, Exporter, exports
from .onnx.importer import Importer, Node, imports
from .pooling import average_pool
from .shape import normalize_axis


def _clamped(exporter: Exporter, name: str, type: TensorType, act: str, act_args: tuple[float, ...]) -> str:
    """The result of a clamping activation, on stored integers."""
    bounds = clamp_bounds(type, act, act_args)
    if bounds == limits(type):
        return name
    return exporter.node("Clip", [name, *(exporter.constant(np.asarray(b, type.dtype.numpy), "bound") for b in bounds)])


@exports(Conv, quantized=True)
def export_conv(op: Op, exporter: Exporter) -> None:
    conv = op.operator
    assert isinstance(conv, Conv)
    x, w, b = (*op.operands, None)[:3]
    assert x is not None and w is not None
    inputs = [*exporter.with_parameters(x), *exporter.with_parameters(w), *exporter.parameters(op.result.type), b]
    attributes: dict[str, Any] = {
        "strides": conv.strides,
        "pads": conv.pads,
        "dilations": conv.dilations,
        "group": conv.group,
    }
    y = exporter.node("QLinearConv", inputs, **attributes)
    exporter.define(op, _clamped(exporter, y, op.result.type, conv.act, conv.act_args))


@exports(MatMul, quantized=True)
def export_matmul(op: Op, exporter: Exporter) -> None:
    matmul = op.operator
    assert isinstance(matmul, MatMul)
    x, w, b = (*op.operands, None)[:3]
    assert x is not None and w is not None
    y_type = op.result.type
    if b is not None:
        if x.type.rank != 2 or w.type.rank != 2:
            raise UnsupportedError("ONNX has no batched product of integers with bias", stage="export", node=op.node)
        inputs = [*exporter.with_parameters(x), *exporter.with_parameters(w), b, *exporter.parameters(y_type)]
        y = exporter.node(
            "QGemm", inputs, MICROSOFT, alpha=1.0, transA=int(matmul.transpose_a), transB=int(matmul.transpose_b)
        )
    else:
        left = _matrix(exporter, x, matmul.transpose_a)
        right = _matrix(exporter, w, matmul.transpose_b)
        y = exporter.node("QLinearMatMul", [*left, *right, *exporter.parameters(y_type)])
    exporter.define(op, _clamped(exporter, y, y_type, matmul.act, matmul.act_args))


def _matrix(exporter: Exporter, value: Value, is_transposed: bool) -> list[Value | str]:
    if not is_transposed:
        return exporter.with_parameters(value)
    order = list(range(value.type.rank))
    order[-2:] = order[:-3:-1]
    return [exporter.node("Transpose", [value], perm=order), *exporter.parameters(value.type)]


@exports(Add, Mul, quantized=True)
def export_binary(op: Op, exporter: Exporter) -> None:
    op_type = "QLinearAdd" if isinstance(op.operator, Add) else "QLinearMul"
    inputs = [each for value in op.inputs for each in exporter.with_parameters(value)]
    exporter.define(op, exporter.node(op_type, [*inputs, *exporter.parameters(op.result.type)], MICROSOFT))


@exports(AveragePool, quantized=True)
def export_average_pool(op: Op, exporter: Exporter) -> None:
    pool = op.operator
    assert isinstance(pool, AveragePool)
    if any(pool.overhang) or max(pool.dilations) > 1:
        raise UnsupportedError("ONNX has no such average of integers", stage="export", node=op.node)
    y = exporter.node(
        "QLinearAveragePool",
        [*exporter.with_parameters(op.inputs[0]), *exporter.parameters(op.result.type)],
        MICROSOFT,
        kernel_shape=pool.kernel,
        strides=pool.strides,
        pads=pool.pads,
        count_include_pad=int(pool.count_include_pad),
    )
    exporter.define(op, y)


@exports(GlobalAveragePool, quantized=True)
def export_global_average_pool(op: Op, exporter: Exporter) -> None:
    inputs = [*exporter.with_parameters(op.inputs[0]), *exporter.parameters(op.result.type)]
    exporter.define(op, exporter.node("QLinearGlobalAveragePool", inputs, MICROSOFT, channels_last=0))


@exports(GlobalMaxPool, quantized=True)
def export_global_max_pool(op: Op, exporter: Exporter) -> None:
    """As a reduction: onnxruntime has no GlobalMaxPool of integers."""
    axes = exporter.integers(range(2, op.inputs[0].type.rank), "axes")
    exporter.define(op, exporter.node("ReduceMax", [op.inputs[0], axes], keepdims=1))


@exports(Pad, quantized=True)
def export_pad(op: Op, exporter: Exporter) -> None:
    """Padding of stored integers: with the integer that stands for the number."""
    pad, type = op.operator, op.result.type
    assert isinstance(pad, Pad)
    value = float(stored(pad.value, type)) if pad.mode == "constant" else 0.0
    detached = Op(Pad(pad.pads, pad.mode, value), [Value("x", op.inputs[0].type.with_quant(None))], loc=op.loc)
    exporter.bind(detached.inputs[0], exporter.name(op.inputs[0]))
    exporter.write(detached)
    exporter.define(op, exporter.name(detached.result))


def _typed(node: Node, importer: Importer, index: int) -> Value:
    """Input ``index`` with scale and zero point behind it, as one value of a quantised type."""
    x = node.input(index)
    return importer.emit_one(AssumeQuantized(), x, types=[_type_of(node, x.type.shape, x.type.dtype, index + 1)])


def _type_of(node: Node, shape: tuple[int, ...], dtype: DType, index: int, axis: int | None = None) -> TensorType:
    """A type of which inputs ``index`` and ``index + 1`` are scale and zero point."""
    scale = node.constant(index, "the scale").reshape(-1)
    zero = node.optional_constant(index + 1, "the zero point")
    zeros = np.zeros(scale.size, np.int64) if zero is None else np.broadcast_to(zero.reshape(-1), scale.shape)
    if scale.size == 1:
        return TensorType(shape, dtype, Quantization.per_tensor(scale[0], zeros[0]))
    if axis is None:
        raise node.unsupported("the scale must be one for the whole tensor", found=list(scale.shape))
    return TensorType(shape, dtype, Quantization.per_channel(scale, axis, [int(z) for z in zeros]))


def _emit(node: Node, importer: Importer, operator: Operator, operands: list[Value | None], index: int) -> Value:
    """``operator`` on quantised operands, its result as plain integers; inputs from ``index`` are its parameters."""
    first = operands[0]
    assert first is not None
    (inferred,) = operator.result_types([value.type if value is not None else None for value in operands])
    type = _type_of(node, inferred.shape, first.type.dtype, index)
    return importer.emit_one(StoredIntegers(), importer.emit_one(operator, *operands, types=[type]))


@imports("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def import_binary(node: Node, importer: Importer) -> Value:
    operator = Add() if node.op_type == "QLinearAdd" else Mul()
    return _emit(node, importer, operator, [_typed(node, importer, 0), _typed(node, importer, 3)], 6)


@imports("QLinearSigmoid", "QLinearLeakyRelu", domain=MICROSOFT)
def import_table(node: Node, importer: Importer) -> Value:
    operator = Sigmoid() if node.op_type == "QLinearSigmoid" else LeakyRelu(node.float("alpha", 0.01))
    return _emit(node, importer, operator, [_typed(node, importer, 0)], 3)


@imports("QLinearConcat", domain=MICROSOFT)
def import_concat(node: Node, importer: Importer) -> Value:
    """Inputs are scale and zero point of the result, then each operand with its own."""
    parts = [_typed(node, importer, index) for index in range(2, len(node.inputs), 3)]
    first = parts[0].type
    type = _type_of(node, first.shape, first.dtype, 0)
    unified = [importer.emit_one(Requantize(), part, types=[part.type.with_quant(type.quant)]) for part in parts]
    joined = importer.emit_one(Concat(normalize_axis(node, node.int("axis", 1), first.rank)), *unified)
    return importer.emit_one(StoredIntegers(), joined)


@imports("QLinearSoftmax", domain=MICROSOFT)
def import_softmax(node: Node, importer: Importer) -> Value:
    """In floating point between its quantised operand and result."""
    if node.int("opset", 13) < 13:
        raise node.unsupported("only the softmax of operator sets from 13 on is supported", found=node.int("opset"))
    real = importer.emit_one(Dequantize(), _typed(node, importer, 0))
    x = node.input(0).type
    y = importer.emit_one(Softmax(normalize_axis(node, node.int("axis", -1), x.rank)), real)
    return importer.emit_one(
        StoredIntegers(), importer.emit_one(Quantize(), y, types=[_type_of(node, x.shape, x.dtype, 3)])
    )


@imports("QGemm", domain=MICROSOFT)
def import_gemm(node: Node, importer: Importer) -> Value:
    if node.float("alpha", 1.0) != 1.0 or node.optional(7) is None:
        raise node.unsupported("only a QGemm with alpha 1 and a quantised result is supported")
    w = node.input(3)
    is_transposed = bool(node.int("transB", 0))
    w_type = _type_of(node, w.type.shape, w.type.dtype, 4, 0 if is_transposed else 1)
    b = node.optional(6)
    if b is not None and b.type.rank != 1:
        b = importer.emit_one(Reshape((b.type.elements,)), b)
    operator = MatMul(bool(node.int("transA", 0)), is_transposed)
    return _emit(
        node,
        importer,
        operator,
        [_typed(node, importer, 0), importer.emit_one(AssumeQuantized(), w, types=[w_type]), b],
        7,
    )


@imports("QLinearAveragePool", domain=MICROSOFT)
def import_average_pool(node: Node, importer: Importer) -> Value:
    if node.int("channels_last", 0) or node.int("ceil_mode", 0):
        raise node.unsupported("channels_last and ceil_mode are not supported on integers")
    return _emit(node, importer, average_pool(node, node.input(0)), [_typed(node, importer, 0)], 3)


@imports("QLinearGlobalAveragePool", domain=MICROSOFT)
def import_global_average_pool(node: Node, importer: Importer) -> Value:
    if node.int("channels_last", 0):
        raise node.unsupported("channels_last is not supported")
    return _emit(node, importer, GlobalAveragePool(), [_typed(node, importer, 0)], 3)
