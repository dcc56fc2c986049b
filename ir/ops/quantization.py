"""Between real numbers and quantised integers.

Two forms stand side by side. The operators of ONNX (``quantize_linear`` and its like) take scales and zero points as
operands and know plain integers only. The operators of the typed form (``quantize`` and its like) have no operands but
the tensor: scale and zero point are part of the types. Passes turn the first form into the second.

``fake_quantize`` stands apart: it stays in real numbers, and is what simulations of quantised networks are made of.
"""

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..op import Operator, QuantizationRule, UnaryOperands, operator
from ..quantized import is_wide, mixed, only_operand
from ..types import Arrays, DType, Quantization, ResultTypes, TensorType, Types
from .elementwise import Elementwise, broadcast_shape, check_dtype
from .movement import check_axis

STORED = (DType.I8, DType.U8, DType.I16, DType.U16)
"""Element types that real numbers are quantised to."""


def to_integers(x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, dtype: DType) -> np.ndarray:
    """Divide by the scale, round half to even, add the zero point, saturate; a quotient of NaN is the least integer.
    ``scale``, ``zero_point``: broadcast against ``x``."""
    limits = np.iinfo(dtype.numpy)
    with np.errstate(all="ignore"):
        rounded = np.rint(x.astype(np.float32) / scale.astype(np.float32)).astype(np.float64)
    found = np.clip(rounded + zero_point.astype(np.float64), limits.min, limits.max)
    return np.where(np.isnan(rounded), limits.min, found).astype(dtype.numpy)


def along(parameter: np.ndarray, axis: int | None, rank: int) -> np.ndarray:
    """A scale or zero point, shaped to broadcast along ``axis`` of a tensor of ``rank`` dimensions."""
    return parameter.reshape(()) if axis is None else parameter.reshape(-1, *[1] * (rank - 1 - axis))


def check_parameters(x: TensorType, scale: TensorType, zero_point: TensorType | None, axis: int | None) -> None:
    """Raise IRError unless there is one scale, or one for each index along ``axis``, and as many zero points."""
    if axis is not None:
        check_axis(axis, x)
    count = 1 if axis is None else x.shape[axis]
    for what, type in (("scale", scale), ("zero point", zero_point)):
        if type is not None and (type.elements != count or (axis is not None and type.rank != 1)):
            raise IRError(f"wrong shape of the {what}", expected=f"{count} elements", found=list(type.shape))


class ScaledOperands(NamedTuple):
    x: Value
    scale: Value
    zero_point: Value | None = None


@operator("quantize_linear")
class QuantizeLinear(Operator[ScaledOperands]):
    """Real numbers to integers with computed parameters: round(x / scale) + zero_point, half to even, saturated.

    Operands: x [...] and scale of one float dtype; zero_point, 0 where absent. Result: the shape of x, dtype ``to``,
    which is that of the zero point. The division is in float32.
    ``to``: i8, u8, i16 or u16.
    ``axis``: the dimension that scale and zero point run along; ``none``: one for the whole tensor."""

    to: DType
    axis: int | None = None

    def infer(self, x: TensorType, scale: TensorType, zero_point: TensorType | None) -> TensorType:
        if not x.dtype.is_float or scale.dtype is not x.dtype:
            raise IRError("x and scale must be of one float dtype", found=f"{x}, {scale}")
        if self.to not in STORED or (zero_point is not None and zero_point.dtype is not self.to):
            raise IRError("wrong dtype of the result", expected="that of the zero point", found=self.to.value)
        check_parameters(x, scale, zero_point, self.axis)
        return x.with_dtype(self.to)

    def reference(self, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None) -> np.ndarray:
        zero = zero_point if zero_point is not None else np.zeros(scale.shape, np.int64)
        return to_integers(x, along(scale, self.axis, x.ndim), along(zero, self.axis, x.ndim), self.to)


@operator("dequantize_linear")
class DequantizeLinear(Operator[ScaledOperands]):
    """Integers to real numbers with computed parameters: (x - zero_point) * scale.

    Operands: x, of an integer dtype up to 32 bits; scale, whose float dtype is that of the result; zero_point, of the
    dtype of x. The difference is exact for up to 16 bits and wraps at 32; the product is rounded once.
    ``axis``: the dimension that scale and zero point run along; ``none``: one for the whole tensor."""

    axis: int | None = None

    def infer(self, x: TensorType, scale: TensorType, zero_point: TensorType | None) -> TensorType:
        if x.dtype not in (*STORED, DType.I32) or not scale.dtype.is_float:
            raise IRError("x must be of an integer, scale of a float dtype", found=f"{x}, {scale}")
        if zero_point is not None and zero_point.dtype is not x.dtype:
            raise IRError("wrong dtype of the zero point", expected=x.dtype.value, found=zero_point)
        check_parameters(x, scale, zero_point, self.axis)
        return x.with_dtype(scale.dtype)

    def reference(self, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None) -> np.ndarray:
        difference = x.astype(np.int32)
        if zero_point is not None:
            difference = difference - along(zero_point, self.axis, x.ndim).astype(np.int32)
        return (difference.astype(np.float32) * along(scale, self.axis, x.ndim).astype(np.float32)).astype(scale.dtype)


@operator("dynamic_quantize_linear")
class DynamicQuantizeLinear(Operator[UnaryOperands]):
    """Quantise to u8 over the range of x itself, widened to hold 0; NaN is not part of it.

    Where the range is infinite or its scale underflows, the zero point is 0 / 0 or infinity / infinity: that is 255,
    as in onnxruntime.

    Operands: x of f32. Results: stored integers, the shape of x, u8; scale, f32 scalar; zero point, u8 scalar."""

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        if x.dtype is not DType.F32:
            raise IRError("x must be f32", found=x)
        return x.with_dtype(DType.U8), TensorType((), DType.F32), TensorType((), DType.U8)

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, high = np.fmin.reduce(x, None, initial=np.float32(0)), np.fmax.reduce(x, None, initial=np.float32(0))
        scale = (high - low) / np.float32(255) if high > low else np.float32(1)
        zero = np.rint(np.fmin(-low / scale, np.float32(255))).astype(np.uint8)
        return to_integers(x, np.asarray(scale), np.asarray(zero), DType.U8), np.asarray(scale), np.asarray(zero)


@operator("fake_quantize")
class FakeQuantize(Elementwise[tuple[Value, Value, Value, Value]]):
    """The nearest number that an integer would stand for: round(x / scale) * scale, half to even, from low to high.

    The grid of integers from n to m has low = scale * n and high = scale * m. What a product of more bits than the
    element type has is rounded to does not depend on where it is bounded. NaN stays.

    Operands: x; scale, positive; low; high, not below low; all of one dtype, f32 or f64, the others broadcast to the
    shape of x."""

    def infer(self, x: TensorType, scale: TensorType, low: TensorType, high: TensorType) -> TensorType:
        check_dtype(x, (DType.F32, DType.F64))
        for name, type in (("scale", scale), ("low", low), ("high", high)):
            if type.dtype is not x.dtype or broadcast_shape(x.shape, type.shape) != x.shape:
                raise IRError(f"{name} does not fit x", expected=f"{x}, or what broadcasts to it", found=type)
        return TensorType(x.shape, x.dtype)

    def reference(self, x: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(np.rint(x / scale) * scale, low), high)


ANY = Quantization.per_tensor(1.0)
"""Stands in inferred types where the result must be quantised and its own type says how."""


@operator("quantize")
class Quantize(Operator[UnaryOperands]):
    """Real numbers to a quantised type, as ``quantize_linear``.

    Operands: x of f32. Result: the shape of x, quantised in any way; its type says how."""

    QUANTIZATION = QuantizationRule.CONVERT

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype is not DType.F32:
            raise IRError("x must be f32", found=x)
        return TensorType(x.shape, DType.I8, ANY)

    def check_quantized(self, operand_types: Types, result_types: Types) -> str | None:
        return None if result_types[0] is not None and result_types[0].quant else "the result must be quantised"

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        return quantized(only_operand(arrays, operand_types)[0], result_types[0])


@operator("dequantize")
class Dequantize(Operator[UnaryOperands]):
    """A quantised tensor to real numbers, as ``dequantize_linear``. Result: f32, the shape of x."""

    QUANTIZATION = QuantizationRule.CONVERT

    def infer(self, x: TensorType) -> TensorType:
        if x.quant is None:
            raise IRError("x must be quantised", found=x)
        return TensorType(x.shape, DType.F32)

    def check_quantized(self, operand_types: Types, result_types: Types) -> str | None:
        return "the result must not be quantised" if result_types[0] is not None and result_types[0].quant else None

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        return real(*only_operand(arrays, operand_types))


@operator("requantize")
class Requantize(Operator[UnaryOperands]):
    """A quantised tensor with other parameters: ``dequantize``, then ``quantize``, both in float32. From or to 16 bits,
    with one scale on both sides, see :func:`tilewright.ir.quantized.mixed`.

    Operands: x, quantised. Result: the shape of x, quantised in any way; its type says how."""

    QUANTIZATION = QuantizationRule.CONVERT

    def infer(self, x: TensorType) -> TensorType:
        if x.quant is None:
            raise IRError("x must be quantised", found=x)
        return x

    def check_quantized(self, operand_types: Types, result_types: Types) -> str | None:
        return None if result_types[0] is not None and result_types[0].quant else "the result must be quantised"

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        (x, type), y = only_operand(arrays, operand_types), result_types[0]
        one_scale = type.has_one_scale and y.has_one_scale
        if one_scale and is_wide(type, y) and DType.I32 not in (type.dtype, y.dtype):
            return mixed(x, type, y)
        return quantized(real(x, type), y)


@operator("storage_cast")
class StorageCast(Operator[UnaryOperands]):
    """Plain integers as the stored integers of a quantised tensor, or the reverse; the bits stay as they are.

    Operands: x. Result: shape and dtype of x; where x is quantised it is not, and where x is not its type says how."""

    QUANTIZATION = QuantizationRule.CONVERT

    def infer(self, x: TensorType) -> TensorType:
        if not x.dtype.is_integer:
            raise IRError("x must hold integers", found=x)
        return x.with_quant(ANY if x.quant is None else None)

    def check_quantized(self, operand_types: Types, result_types: Types) -> str | None:
        x, y = operand_types[0], result_types[0]
        if x is None or y is None or (x.quant is None) == (y.quant is None):
            return "either x or the result must be quantised"
        return None if x.dtype is y.dtype else "x and the result must be of one dtype"

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        return only_operand(arrays, operand_types)[0]


def quantized(x: np.ndarray, type: TensorType) -> np.ndarray:
    """Stored integers of real numbers in a quantised type."""
    assert type.quant is not None
    scale, zero = type.quant.broadcast(x.ndim)
    return to_integers(x, scale, zero, type.dtype)


def real(x: np.ndarray, type: TensorType) -> np.ndarray:
    """Real numbers, float32, of the stored integers of a quantised type."""
    assert type.quant is not None
    scale, zero = type.quant.broadcast(x.ndim)
    return (x.astype(np.int64) - zero).astype(np.float32) * scale
