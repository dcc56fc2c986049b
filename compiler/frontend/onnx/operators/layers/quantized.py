"""QLinear operators of ONNX and onnxruntime: operators on quantised types, here and back."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from tilewright.errors import UnsupportedError

from ......ir.core import Constant, Op, Value, types_of
from ......ir.op import Operator
from ......ir.ops.activation import LeakyRelu, Sigmoid
from ......ir.ops.comparison import Where
from ......ir.ops.convolution import Conv
from ......ir.ops.elementwise import Add, Div, Mul
from ......ir.ops.integer_products import ConvInteger, MatMulInteger
from ......ir.ops.matmul import MatMul
from ......ir.ops.movement import Concat
from ......ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool
from ......ir.ops.quantization import Dequantize, Quantize, QuantizeLinear, Requantize, StorageCast
from ......ir.quantized import CLAMPING, clamp_bounds, limits, quantization_of
from ......ir.types import DType, Quantization, TensorType
from ....elementwise import scaled
from ....matmul import product_by
from ....movement import transpose
from ....shape import cast, reshape
from ...exporter import MICROSOFT, Exporter, exports
from ...importer import Importer, Node, imports
from ..activation import import_along_axis
from ..matmul import export_matmul as export_real_matmul
from ..matmul import matrix
from ..quantization import scale_and_zero_point
from ..reduction import import_reduce
from .convolution import convolution, convolution_attributes
from .convolution import export_conv as export_real_conv
from .pooling import average_pool, channels_last, window_attributes


def _clamped(exporter: Exporter, name: str, type: TensorType, act: str, act_args: tuple[float, ...]) -> str:
    """The result of a clamping activation, on stored integers."""
    bounds = clamp_bounds(type, act, act_args)
    if bounds == limits(type):
        return name
    return exporter.node("Clip", [name, *(exporter.constant(np.asarray(b, type.dtype.numpy), "bound") for b in bounds)])


def _no_integer_form(op: Op, what: str) -> UnsupportedError:
    hint = "The form qdq has one."
    return UnsupportedError(f"ONNX has no {what} of integers", stage="export", op=op.name, node=op.node, hint=hint)


@exports(Conv, quantized=True)
def export_conv(op: Op[Conv], exporter: Exporter) -> None:
    conv = op.operator
    x, w, b, residual = op.operands
    if residual is not None or conv.act not in CLAMPING:
        # No integer operator adds, or computes an activation, before it rounds.
        exporter.write_between_conversions(op, export_real_conv)
        return
    inputs = [*exporter.with_parameters(x), *exporter.with_parameters(w), *exporter.parameters(op.result), b]
    y = exporter.node("QLinearConv", inputs, **convolution_attributes(conv))
    exporter.define(op, _clamped(exporter, y, op.result.type, conv.act, conv.act_args))


@exports(MatMul, quantized=True)
def export_matmul(op: Op[MatMul], exporter: Exporter) -> None:
    matmul = op.operator
    if matmul.act not in CLAMPING:
        exporter.write_between_conversions(op, export_real_matmul)
        return
    x, w, b, _ = op.operands
    y_type = op.result.type
    if b is not None:
        if x.type.rank != 2 or w.type.rank != 2:
            raise _no_integer_form(op, "batched product with bias")
        inputs = [*exporter.with_parameters(x), *exporter.with_parameters(w), b, *exporter.parameters(op.result)]
        y = exporter.node(
            "QGemm", inputs, MICROSOFT, alpha=1.0, transA=int(matmul.transpose_a), transB=int(matmul.transpose_b)
        )
    else:
        left = matrix(exporter, x, matmul.transpose_a), *exporter.parameters(x)
        right = matrix(exporter, w, matmul.transpose_b), *exporter.parameters(w)
        y = exporter.node("QLinearMatMul", [*left, *right, *exporter.parameters(op.result)])
    exporter.define(op, _clamped(exporter, y, y_type, matmul.act, matmul.act_args))


@exports(Add, Mul, quantized=True)
def export_binary(op: Op[Add | Mul], exporter: Exporter) -> None:
    op_type = "QLinearAdd" if isinstance(op.operator, Add) else "QLinearMul"
    inputs = [each for value in op.inputs for each in exporter.with_parameters(value)]
    exporter.write_as(op, op_type, [*inputs, *exporter.parameters(op.result)], MICROSOFT)


@exports(AveragePool, quantized=True)
def export_average_pool(op: Op[AveragePool], exporter: Exporter) -> None:
    pool = op.operator
    if any(pool.overhang) or max(pool.dilations) > 1:
        raise _no_integer_form(op, "average with dilations, or with windows beyond the padding")
    inputs = [*exporter.with_parameters(op.operands.x), *exporter.parameters(op.result)]
    attributes = {**window_attributes(pool), "count_include_pad": int(pool.count_include_pad)}
    exporter.write_as(op, "QLinearAveragePool", inputs, MICROSOFT, **attributes)


@exports(GlobalAveragePool, quantized=True)
def export_global_average_pool(op: Op[GlobalAveragePool], exporter: Exporter) -> None:
    inputs = [*exporter.with_parameters(op.operands.x), *exporter.parameters(op.result)]
    exporter.write_as(op, "QLinearGlobalAveragePool", inputs, MICROSOFT, channels_last=0)


@exports(GlobalMaxPool, quantized=True)
def export_global_max_pool(op: Op[GlobalMaxPool], exporter: Exporter) -> None:
    """As a reduction: onnxruntime has no GlobalMaxPool of integers."""
    axes = exporter.integers(range(2, op.operands.x.type.rank), "axes")
    exporter.write_as(op, "ReduceMax", [op.operands.x, axes], keepdims=1)


def _quantization(node: Node, index: int, dtype: DType, axis: int | None = None) -> Quantization:
    """Of which inputs ``index`` and ``index + 1``, which must be known, are scale and zero point.
    ``axis``: the dimension that several scales run along, ``None`` where there must be one."""
    quant = quantization_of(*scale_and_zero_point(node, index, dtype), axis)
    if quant is None:
        scale, zero = node.constant(index, "the scale"), node.optional_constant(index + 1, "the zero point")
        raise node.unsupported(
            "these parameters of quantisation are not supported",
            expected=f"a positive scale and a zero point{'' if axis is None else ', or one of each a channel'}",
            found=f"{scale.tolist()} and {zero.tolist() if zero is not None else 'none'}",
        )
    return quant


def _assumed(importer: Importer, x: Value, quant: Quantization) -> Value:
    """Plain integers as stored integers of a quantised type."""
    type = x.type.with_quant(quant)
    if isinstance(x, Constant):
        return importer.module.add_constant(x.name, x.array, type)
    return importer.emit_one(StorageCast(), x, types=[type], name=x.name)


def _typed(node: Node, importer: Importer, index: int) -> Value:
    """Input ``index`` with scale and zero point behind it, as one value of a quantised type."""
    x = node.input(index)
    return _assumed(importer, x, _quantization(node, index + 1, x.type.dtype))


def _emit(importer: Importer, operator: Operator, quant: Quantization, x: Value, *others: Value | None) -> Value:
    """``operator`` on quantised operands, its result as plain integers of the dtype of ``x``."""
    (inferred,) = operator.result_types(types_of((x, *others)))
    y = importer.emit_one(operator, x, *others, types=[TensorType(inferred.shape, x.type.dtype, quant)])
    return importer.emit_one(StorageCast(), y)


@imports("QLinearConv", domain=MICROSOFT)
@imports("QLinearConv")
def import_conv(node: Node, importer: Importer) -> Value:
    if node.int("channels_last", 0):  # onnxruntime's own; the weights are laid out as ever
        return channels_last(node, importer, import_conv)
    x, w, b = node.input(0), node.input(3), node.optional(8)
    operator = convolution(node, Conv, x, w)
    y = _product(node, importer, operator, 0, b)
    if y is not None:
        return y
    channels = (w.type.shape[0], *[1] * (x.type.rank - 2))
    plain = ConvInteger(operator.strides, operator.pads, operator.dilations, operator.group)
    total = importer.emit_one(plain, x, w, node.input(2), node.input(5))
    if b is not None:
        total = importer.emit_one(Add(), total, reshape(importer, b, channels))
    return _requantized(node, importer, total, channels)


@imports("QLinearMatMul")
def import_matmul(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(3)
    are_matrices = x.type.rank > 1 and w.type.rank > 1
    y = _product(node, importer, MatMul(), w.type.rank - 1, None) if are_matrices else None
    if y is not None:
        return y
    total = product_by(node, importer, MatMulInteger(), x, w, node.input(2), node.input(5))
    return _requantized(node, importer, total, w.type.shape[-1:] if w.type.rank > 1 else ())


def _product(node: Node, importer: Importer, operator: Conv | MatMul, axis: int, b: Value | None) -> Value | None:
    """A product on quantised types; ``None`` where parameters are computed, or are others than the operator takes.
    ``axis``: of the weights, along which their scales may run."""
    x, w, zero_y = node.input(0), node.input(3), node.input(7)
    places = ((1, x.type.dtype, None), (4, w.type.dtype, axis), (6, None, None))
    quants = [quantization_of(*scale_and_zero_point(node, i, dtype), along) for i, dtype, along in places]
    if quants[0] is None or quants[1] is None or quants[2] is None:
        return None
    types = [x.type.with_quant(quants[0]), w.type.with_quant(quants[1]), b.type if b is not None else None]
    (inferred,) = operator.result_types(types)
    y_type = TensorType(inferred.shape, zero_y.type.dtype, quants[2])
    if operator.check_quantized(types, [y_type]) is not None:
        return None
    operands = _assumed(importer, x, quants[0]), _assumed(importer, w, quants[1]), b
    return importer.emit_one(StorageCast(), importer.emit_one(operator, *operands, types=[y_type]))


def _requantized(node: Node, importer: Importer, total: Value, channels: tuple[int, ...]) -> Value:
    """Accumulators at the scale of the result, rounded as in :func:`tilewright.ir.arithmetic.requantize`.
    ``channels``: a shape in which scales of the weights, one for each output channel, broadcast against ``total``."""
    x, w, y = (cast(importer, node.input(index), DType.F32) for index in (1, 4, 6))
    w = reshape(importer, w, channels if w.type.elements != 1 else ())
    scales = importer.emit_one(Mul(), reshape(importer, x, ()), w)
    factor = importer.emit_one(Div(), scales, reshape(importer, y, ()))
    scaled = importer.emit_one(Mul(), cast(importer, total, DType.F32), factor)
    one, zero = importer.constant(np.ones((), np.float32), "one"), reshape(importer, node.input(7), ())
    return importer.emit_one(QuantizeLinear(zero.type.dtype), scaled, one, zero)


@imports("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def import_binary(node: Node, importer: Importer) -> Value:
    operator = Add() if node.op_type == "QLinearAdd" else Mul()
    x, y = _typed(node, importer, 0), _typed(node, importer, 3)
    return _emit(importer, operator, _quantization(node, 6, x.type.dtype), x, y)


@imports("QLinearConcat", domain=MICROSOFT)
def import_concat(node: Node, importer: Importer) -> Value:
    """Inputs are scale and zero point of the result, then each operand with its own."""
    parts = _unified(node, importer, range(2, len(node.inputs), 3), 0)
    joined = importer.emit_one(Concat(node.axis(parts[0].type.rank, 1)), *parts)
    return importer.emit_one(StorageCast(), joined)


@imports("QLinearWhere", domain=MICROSOFT)
def import_where(node: Node, importer: Importer) -> Value:
    parts = [importer.emit_one(StorageCast(), part) for part in _unified(node, importer, (1, 4), 7)]
    return importer.emit_one(Where(), node.input(0), *parts)


def _unified(node: Node, importer: Importer, indices: Iterable[int], index: int) -> list[Value]:
    """Inputs ``indices``, scale and zero point behind each, quantised as inputs ``index`` and ``index + 1`` say."""
    parts = [_typed(node, importer, each) for each in indices]
    quant = _quantization(node, index, parts[0].type.dtype)
    return [importer.emit_one(Requantize(), part, types=[part.type.with_quant(quant)]) for part in parts]


@imports("QLinearSoftmax", domain=MICROSOFT)
def import_softmax(node: Node, importer: Importer) -> Value:
    softmax = replace(node, op_type="Softmax", opset=node.int("opset", 13), attributes={"axis": node.int("axis", -1)})
    return _in_real(node, importer, lambda real: import_along_axis(replace(softmax, inputs=(real,)), importer))


@imports("QLinearReduceMean", domain=MICROSOFT)
def import_mean(node: Node, importer: Importer) -> Value:
    return _in_real(node, importer, lambda x: import_reduce(replace(node, op_type="ReduceMean", inputs=(x,)), importer))


def _in_real(node: Node, importer: Importer, compute: Callable[[Value], Value]) -> Value:
    """What is computed of input 0 in floating point, quantised as inputs 3 and 4 say."""
    return _quantized(node, importer, compute(importer.emit_one(Dequantize(), _typed(node, importer, 0))), 3)


def _quantized(node: Node, importer: Importer, y: Value, index: int) -> Value:
    """Real numbers as integers like those of input 0, whose scale and zero point are inputs from ``index`` on."""
    dtype = node.input(0).type.dtype
    type = TensorType(y.type.shape, dtype, _quantization(node, index, dtype))
    return importer.emit_one(StorageCast(), importer.emit_one(Quantize(), y, types=[type]))


@imports("QGemm", domain=MICROSOFT)
def import_gemm(node: Node, importer: Importer) -> Value:
    operator, w, b = MatMul(node.bool("transA", 0), node.bool("transB", 0)), node.input(3), node.optional(6)
    alpha, columns = node.float("alpha", 1.0), w.type.shape[0 if node.bool("transB", 0) else 1]
    is_of_columns = b is None or b.type.shape in ((columns,), (1, columns))
    if node.optional(7) is not None and not is_of_columns:
        return _quantized(node, importer, import_gemm(replace(node, inputs=node.inputs[:7]), importer), 7)
    if node.optional(7) is None:
        turned = ((node.input(0), operator.transpose_a), (w, operator.transpose_b))
        parts = (transpose(importer, part, (1, 0) if turn else (0, 1)) for part, turn in turned)
        total = importer.emit_one(MatMulInteger(), *parts, node.optional(2), node.optional(5))
        total = total if b is None else importer.emit_one(Add(), total, b)
        scale = importer.emit_one(Mul(), reshape(importer, node.input(1), ()), node.input(4))
        return importer.emit_one(Mul(), cast(importer, total, DType.F32), scaled(importer, scale, alpha))
    if not alpha > 0:
        raise node.unsupported("only a QGemm of positive alpha has a quantised result", found=alpha)
    quant = _quantization(node, 4, w.type.dtype, 0 if operator.transpose_b else 1)
    w = _assumed(importer, w, replace(quant, scale=tuple(alpha * scale for scale in quant.scale)))
    b = reshape(importer, b, (b.type.elements,)) if b is not None else None
    return _emit(importer, operator, _quantization(node, 7, node.input(0).type.dtype), _typed(node, importer, 0), w, b)


@imports("QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool", domain=MICROSOFT)
def import_unary(node: Node, importer: Importer) -> Value:
    if node.int("channels_last", 0):
        return channels_last(node, importer, import_unary)
    x = _typed(node, importer, 0)
    operators: dict[str, Callable[[], Operator]] = {
        "QLinearSigmoid": Sigmoid,
        "QLinearLeakyRelu": lambda: LeakyRelu(node.float("alpha", 0.01)),
        "QLinearAveragePool": lambda: average_pool(node, importer, x),
        "QLinearGlobalAveragePool": GlobalAveragePool,
    }
    return _emit(importer, operators[node.op_type](), _quantization(node, 3, x.type.dtype), x)
