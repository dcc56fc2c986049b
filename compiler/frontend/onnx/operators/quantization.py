"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear of ONNX, the typed forms written with them, and what
QONNX has instead: operators that quantise to any number of bits, whose results are real numbers again.
"""

from dataclasses import replace

import numpy as np
import onnx

from tilewright.limits import RANK

from .....ir.core import Constant, Op, Value
from .....ir.ops import quantization
from .....ir.ops.activation import Clip
from .....ir.ops.elementwise import Add, Div, Mul, Sub
from .....ir.ops.indexing import Gather
from .....ir.ops.unary import Ceil, Floor, Round, Sign
from .....ir.types import DType
from ...expression import Expression
from ...shape import cast, reshape
from ..exporter import MICROSOFT, Exporter, exports
from ..importer import Importer, Node, imports
from ..narrow_types import STORED, bounds_of, is_integer, narrowed
from ..one_to_one import exports_as, one_to_one
from ..tensors import element_type, stored_type

_QONNX = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
"""The domain of QONNX, and those in which exporters wrote the same operators before."""

_ROUNDINGS = {"round": Round, "half_even": Round, "ceil": Ceil, "floor": Floor}
_ROUNDINGS_OF_SIZE = {"up": (Ceil, 0.0), "down": (Floor, 0.0), "half_up": (Floor, 0.5), "half_down": (Ceil, -0.5)}
"""Those of the magnitude alone: how it is rounded, and what is added to it before."""

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
        scale, shape = _spread(node, importer, cast(importer, y_scale, x.type.dtype), x), x.type.shape
        quotient = importer.emit_one(Div(), _in_blocks(node, importer, x, y_scale), scale)
        if to in STORED and not is_integer(to):
            quotient = narrowed(importer, quotient, to, node.bool("saturate", 1))
            return importer.stored_as(to, reshape(importer, quotient, shape))
        whole = cast(importer, importer.emit_one(Round(), quotient), DType.F32)
        if zero is not None:
            whole = importer.emit_one(Add(), whole, cast(importer, _spread(node, importer, zero, x), DType.F32))
        low, high = bounds_of(to) if to in STORED else (np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max)
        result = cast(importer, importer.emit_one(Clip(float(low), float(high)), whole), dtype)
        result = reshape(importer, result, shape)
        return importer.stored_as(to, result) if to in STORED else result
    axis = quantized_axis(node, x, y_scale)
    scale, zero = scale_and_zero_point(replace(node, inputs=(x, y_scale, *node.inputs[2:])), 1)
    result = importer.emit_one(quantization.QuantizeLinear(dtype, axis), x, scale, zero)
    return importer.stored_as(to, _between(importer, result, *bounds_of(to))) if to in STORED else result


def _between(importer: Importer, whole: Value, low: int, high: int) -> Value:
    """Integers brought between two bounds; as they are where these are those of their type."""
    limits = np.iinfo(whole.type.dtype.numpy)
    is_all = (low, high) == (limits.min, limits.max)
    return whole if is_all else importer.emit_one(Clip(float(low), float(high)), whole)


def _spread(node: Node, importer: Importer, scale: Value, x: Value) -> Value:
    """Scales or zero points as they broadcast against ``x``: one, one for each index along the axis, or one for each
    block of that, for ``x`` :func:`_in_blocks`."""
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
    if _axis_of_blocks(node, importer, x, scale) is not None:
        return reshape(importer, scale, (*expected[: axis + 1], 1, *expected[axis + 1 :]))
    blocks = importer.described(node, (extent,), DType.I32, lambda: (np.arange(extent) // block).astype(np.int32))
    return importer.emit_one(Gather(axis), scale, blocks)


def _axis_of_blocks(node: Node, importer: Importer, x: Value, scale: Value) -> int | None:
    """The dimension of equally large blocks, if there is one that can be cut."""
    axis, block = quantized_axis(node, x, scale), node.int("block_size", 0)
    if axis is None or block < 1 or x.type.shape[axis] % block or x.type.rank == RANK or importer.open.axes(x):
        return None
    return axis


def _in_blocks(node: Node, importer: Importer, x: Value, scale: Value) -> Value:
    """``x`` as scales broadcast against it that were spread for it."""
    axis, block, shape = _axis_of_blocks(node, importer, x, scale), node.int("block_size", 0), x.type.shape
    if axis is None:
        return x
    return reshape(importer, x, (*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :]))


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
        spread = _spread(node, importer, cast(importer, scale, DType.F32), x)
        real = cast(importer, _in_blocks(node, importer, importer.numbers(x), scale), DType.F32)
        zero = node.optional(2)
        # Floats have no other zero point than 0.
        if zero is not None and not is_float:
            real = importer.emit_one(Sub(), real, cast(importer, _spread(node, importer, zero, x), DType.F32))
        real = reshape(importer, importer.emit_one(Mul(), real, spread), x.type.shape)
    else:
        axis = quantized_axis(node, x, scale)
        scale, zero = scale_and_zero_point(replace(node, inputs=(x, scale, *node.inputs[2:])), 1, x.type.dtype)
        real = importer.emit_one(quantization.DequantizeLinear(axis), x, scale, zero)
    if to in STORED:
        return importer.stored_as(to, narrowed(importer, real, to))
    return cast(importer, real, element_type(to, node.name))


def import_quant(node: Node, importer: Importer) -> Value:
    """Quant, or IntQuant, of QONNX: numbers rounded to integers of some bits, and back.

    Where it rounds to nearest, with a known scale and zero point, it is the conversions of ONNX, as QONNX's own tools
    have it. These add the zero point after they round: with an odd one, ties go to the other side. All else is
    computed in real numbers."""
    x, scale, zero = (importer.numbers(node.input(index)) for index in range(3))
    scale_and_zero_point(replace(node, inputs=(x, scale, zero)), 1)
    bits, mode = node.number(3, "the number of bits"), node.word("rounding_mode", "round")
    is_signed, is_narrow = node.bool("signed"), node.bool("narrow")
    if bits not in range(1, 33):
        raise node.unsupported("there are no integers of so many bits", expected="1 to 32", found=f"{bits:g}")
    if mode not in _ROUNDINGS and mode not in _ROUNDINGS_OF_SIZE:
        known = ", ".join((*_ROUNDINGS, *_ROUNDINGS_OF_SIZE)).upper()
        raise node.unsupported("unknown rounding mode", expected=known, found=mode.upper())
    count = 1 << int(bits)
    low, high = (is_narrow - count // 2, count // 2 - 1) if is_signed else (0, count - 1 - is_narrow)
    is_bipolar, found = bits == 1 and is_signed, _by_channel(x, scale, zero)
    if found is not None and is_bipolar and not found[1][1].any():
        return import_bipolar_quant(node, importer)
    is_nearest = bits <= 16 and _ROUNDINGS.get(mode) is Round
    if found is not None and is_nearest and not is_bipolar and np.isin(found[1][1], np.arange(low, high + 1)).all():
        axis, (scales, zeros) = found
        dtype = quantization.STORED[2 * (bits > 8) + (not is_signed)]
        parameters = importer.constant(scales, "scale"), importer.constant(zeros.astype(dtype.numpy), "zero_point")
        whole = importer.emit_one(quantization.QuantizeLinear(dtype, axis), x, *parameters)
        whole = _between(importer, whole, low, high)
        return importer.emit_one(quantization.DequantizeLinear(axis), whole, *parameters)
    whole = Expression(importer, x) / scale + zero
    if is_bipolar:
        whole = Expression(importer, _signs(importer, whole.value)).cast(x.type.dtype)
    else:
        whole = _rounded(whole, mode).apply(Clip(float(low), float(high)))
    return ((whole - zero) * scale).value


def import_bipolar_quant(node: Node, importer: Importer) -> Value:
    """BipolarQuant of QONNX: the scale, or less than nothing by as much where a number is negative."""
    x, scale = importer.numbers(node.input(0)), importer.numbers(node.input(1))
    signs, found = _signs(importer, x), _by_channel(x, scale)
    if found is None:
        return importer.emit_one(Mul(), cast(importer, signs, x.type.dtype), scale)
    return importer.emit_one(quantization.DequantizeLinear(found[0]), signs, importer.constant(found[1][0], "scale"))


def _signs(importer: Importer, x: Value) -> Value:
    """1 where a number is not negative, else -1, i8."""
    numbers = Expression(importer, x)
    # Runtimes choose between real numbers: onnxruntime has no Where of bytes.
    return numbers.where(numbers >= 0, 1, -1).cast(DType.I8).value


def _rounded(x: Expression, mode: str) -> Expression:
    if mode in _ROUNDINGS:
        return x.apply(_ROUNDINGS[mode]())
    rounding, offset = _ROUNDINGS_OF_SIZE[mode]
    return x.apply(Sign()) * (abs(x) + offset).apply(rounding())


def _by_channel(x: Value, *parameters: Value) -> tuple[int | None, list[np.ndarray]] | None:
    """Scales and zero points that broadcast against ``x`` as the conversions of ONNX take them: the dimension that they
    run along, and one for each index there; ``None`` where one is computed, or they run along several."""
    known = [each.array for each in parameters if isinstance(each, Constant)]
    along = {(x.type.rank - a.ndim + d, extent) for a in known for d, extent in enumerate(a.shape) if extent != 1}
    if len(known) < len(parameters) or len(along) > 1 or any(each.ndim > x.type.rank for each in known):
        return None
    axis, extent = next(iter(along), (None, 1))
    if axis is not None and x.type.shape[axis] != extent:
        return None
    shape = () if axis is None else (extent,)
    arrays = (each.astype(x.type.dtype.numpy).reshape(shape if each.size > 1 else ()) for each in known)
    return axis, [np.broadcast_to(each, shape) for each in arrays]


for _domain in _QONNX:
    imports("Quant", "IntQuant", domain=_domain)(import_quant)
    imports("BipolarQuant", domain=_domain)(import_bipolar_quant)


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
