"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear of ONNX, and the typed forms written with them."""

from dataclasses import replace

import numpy as np
import onnx

from .....ir.core import Constant, Op, Value
from .....ir.ops import quantization
from .....ir.ops.activation import Clip
from .....ir.ops.elementwise import Add, Div, Max, Min, Mul, Sub
from .....ir.ops.indexing import Gather
from .....ir.ops.unary import Round
from .....ir.types import DType
from ...shape import cast, reshape
from ..exporter import MICROSOFT, Exporter, exports
from ..importer import Importer, Node, imports
from ..narrow_types import STORED, bounds_of, is_integer, narrowed
from ..one_to_one import exports_as, one_to_one
from ..tensors import element_type, stored_type

exports_as("DequantizeLinear", quantization.DequantizeLinear)
one_to_one("DynamicQuantizeLinear", quantization.DynamicQuantizeLinear)


def scale_and_zero_point(node: Node, index: int, dtype: DType | None = None) -> tuple[Value, Value | None]:
    """Inputs ``index`` and ``index + 1``; what of them is known is such that it means something.
    ``dtype``: of the integers, ``None`` where it is the zero point that says so.
    Raises ModelError: a scale is no number, not positive or not finite; UnsupportedError: the zero point is none of the
    integers."""
    scale, zero = node.input(index), node.optional(index + 1)
    if isinstance(scale, Constant) and scale.type.dtype.is_float:
        # Engines compute in float32, where a tiny scale is 0 and a huge one infinite.
        scales = scale.array.reshape(-1).astype(np.float32)
        bad = np.flatnonzero(~(np.isfinite(scales) & (scales > 0)))
        if bad.size:
            found = scale.array.reshape(-1)[bad[0]].item()
            where = f" for channel {bad[0]}" if scales.size > 1 else ""
            raise node.model_error(f"scale {scale.name!r} is not positive and finite", found=f"{found}{where}")
    if zero is not None and dtype is not None and zero.type.dtype is not dtype:
        message = f"zero point {zero.name!r} is of another type than the integers"
        raise node.unsupported(message, expected=dtype.value, found=zero.type.dtype.value)
    return scale, zero


def quantized_axis(node: Node, x: Value, scale: Value) -> int | None:
    """The dimension that the scales run along, ``None`` where there is one for the whole tensor."""
    # The axis means nothing for a single scale, and files hold any number there.
    if scale.type.elements == 1 or not x.type.rank:
        return None
    return node.axis(x.type.rank, 1)


@imports("QuantizeLinear")
@imports("QuantizeLinear", domain=MICROSOFT)
def import_quantize_linear(node: Node, importer: Importer) -> Value:
    zero = node.optional(2)
    to = importer.code_of(zero) if zero is not None else node.int("output_dtype", 0) or onnx.TensorProto.UINT8
    x, y_scale = importer.numbers(node.input(0)), importer.numbers(node.input(1))
    dtype = stored_type(to, node.name)
    if node.int("block_size", 0) or (to in STORED and not is_integer(to)):
        quotient = importer.emit_one(Div(), x, _spread(node, importer, cast(importer, y_scale, x.type.dtype), x))
        if to in STORED and not is_integer(to):
            quotient = narrowed(importer, quotient, to, node.bool("saturate", 1))
            return importer.stored_as(to, quotient)
        whole = cast(importer, importer.emit_one(Round(), quotient), DType.F32)
        if zero is not None:
            whole = importer.emit_one(Add(), whole, cast(importer, _spread(node, importer, zero, x), DType.F32))
        low, high = bounds_of(to) if to in STORED else (np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max)
        result = cast(importer, importer.emit_one(Clip(float(low), float(high)), whole), dtype)
        return importer.stored_as(to, result) if to in STORED else result
    axis = quantized_axis(node, x, y_scale)
    scale, zero = scale_and_zero_point(replace(node, inputs=(x, y_scale, *node.inputs[2:])), 1)
    result = importer.emit_one(quantization.QuantizeLinear(dtype, axis), x, scale, zero)
    if to not in STORED:
        return result
    for bound, operator in zip(bounds_of(to), (Max(), Min()), strict=True):
        result = importer.emit_one(operator, result, importer.constant(np.asarray(bound, dtype.numpy), "bound"))
    return importer.stored_as(to, result)


def _spread(node: Node, importer: Importer, scale: Value, x: Value) -> Value:
    """Scales or zero points as they broadcast against ``x``: one, one for each index along the axis, or one for each
    block of that."""
    block = node.int("block_size", 0)
    axis = quantized_axis(node, x, scale)
    if axis is None:
        return reshape(importer, scale, ())
    if not block:
        return reshape(importer, scale, (*scale.type.shape, *(1 for _ in x.type.shape[axis + 1 :])))
    extent = x.type.shape[axis]
    expected = (*x.type.shape[:axis], -(-extent // block), *x.type.shape[axis + 1 :])
    if block < 0 or scale.type.shape != expected:
        found = f"{list(scale.type.shape)} with block_size {block}"
        raise node.model_error("the scales are not one for each block", expected=list(expected), found=found)
    blocks = importer.described(node, (extent,), DType.I32, lambda: (np.arange(extent) // block).astype(np.int32))
    return importer.emit_one(Gather(axis), scale, blocks)


@exports(quantization.QuantizeLinear)
def export_quantize_linear(op: Op[quantization.QuantizeLinear], exporter: Exporter) -> None:
    quantize = op.operator
    has_zero = len(op.inputs) == 3
    code = onnx.helper.np_dtype_to_tensor_dtype(quantize.to.numpy)
    exporter.write_as(op, "QuantizeLinear", op.operands, axis=quantize.axis, output_dtype=None if has_zero else code)


@imports("DequantizeLinear")
@imports("DequantizeLinear", domain=MICROSOFT)
def import_dequantize_linear(node: Node, importer: Importer) -> Value:
    x, scale = node.input(0), importer.numbers(node.input(1))
    to = node.int("output_dtype", 0) or importer.code_of(node.input(1))
    code = importer.narrow.get(x)
    is_float = code is not None and not is_integer(code)
    # Quantisers of weights alone keep the sign of what is largest in its scale.
    factors = scale.array if isinstance(x, Constant) and isinstance(scale, Constant) else np.ones(1)
    is_signed = (factors < 0).any() and np.isfinite(factors).all() and factors.all()
    if is_float or is_signed or node.int("block_size", 0):
        real = cast(importer, importer.numbers(x), DType.F32)
        zero = node.optional(2)
        # Floats have no other zero point than 0.
        if zero is not None and not is_float:
            real = importer.emit_one(Sub(), real, cast(importer, _spread(node, importer, zero, x), DType.F32))
        spread = _spread(node, importer, cast(importer, scale, DType.F32), x)
        real = importer.emit_one(Mul(), real, spread)
    else:
        axis = quantized_axis(node, x, scale)
        scale, zero = scale_and_zero_point(replace(node, inputs=(x, scale, *node.inputs[2:])), 1, x.type.dtype)
        real = importer.emit_one(quantization.DequantizeLinear(axis), x, scale, zero)
    if to in STORED:
        return importer.stored_as(to, narrowed(importer, real, to))
    return cast(importer, real, element_type(to, node.name))


@exports(quantization.FakeQuantize)
def export_fake_quantize(op: Op[quantization.FakeQuantize], exporter: Exporter) -> None:
    x, scale, low, high = op.operands
    whole = exporter.node("Round", [exporter.node("Div", [x, scale])])
    above = exporter.node("Max", [exporter.node("Mul", [whole, scale]), low])
    exporter.write_as(op, "Min", [above, high])


exports(quantization.Quantize)(lambda op, exporter: exporter.quantize(op.operands.x, op.result))
exports(quantization.Dequantize)(lambda op, exporter: exporter.define(op, exporter.dequantize(op.operands.x)))
exports(quantization.Requantize)(lambda op, exporter: exporter.quantize(exporter.dequantize(op.operands.x), op.result))
exports(quantization.StorageCast)(lambda op, exporter: exporter.define(op, exporter.name(op.operands.x)))
