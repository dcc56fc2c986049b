"""Convolution and matrix product of plain integers, with scales and zero points as operands, as ONNX has them.

Passes turn these into ``conv`` and ``matmul`` on quantised types; what they compute is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.errors import IRError

from .. import arithmetic
from ..op import Operator, operand, operator, optional
from ..quantized import EIGHT_BIT
from ..types import DType, TensorType
from .convolution import Conv, accumulate
from .matmul import MatMul


def check_eight_bit(*types: TensorType) -> None:
    """Raise IRError unless all are plain 8-bit integers."""
    for type in types:
        if type.dtype not in EIGHT_BIT or type.quant is not None:
            raise IRError("the operands must be plain i8 or u8", found=type)


def check_count(what: str, type: TensorType | None, *counts: int) -> None:
    """Raise IRError unless ``type`` has one of these numbers of elements."""
    if type is not None and type.elements not in counts:
        raise IRError(f"wrong number of elements in {what}", expected=" or ".join(map(str, counts)), found=type)


def as_reals(x: TensorType, w: TensorType) -> tuple[TensorType, TensorType]:
    """The same shapes as f32, to infer the shape of a product by the rules of the float operator."""
    return x.with_dtype(DType.F32), w.with_dtype(DType.F32)


def wrapped(total: np.ndarray) -> np.ndarray:
    """Exact integers in float64 as int32, which wraps."""
    return total.astype(np.int64).astype(np.int32)


def requantized(
    accumulator: np.ndarray,
    scales: tuple[np.ndarray, np.ndarray, np.ndarray],
    zero_point: np.ndarray,
    channel_axis: int,
) -> np.ndarray:
    """Accumulators at the scale of the result, in the dtype of its zero point.

    Args:
        scales: of activations, weights and result; those of weights run along ``channel_axis``.
    """
    scale_x, scale_w, scale_y = (s.reshape(-1) for s in scales)
    factor = arithmetic.multiplier(scale_x[0], scale_w, scale_y[0])
    factor = factor.reshape([-1 if d == channel_axis else 1 for d in range(accumulator.ndim)])
    limits = np.iinfo(zero_point.dtype)
    zero = int(zero_point.reshape(-1)[0])
    return arithmetic.requantize(accumulator, factor, zero, limits.min, limits.max).astype(zero_point.dtype)


@dataclass(frozen=True)
class IntegerConvolution(Operator):
    """Base of the integer convolutions: the attributes of ``conv`` and its sums of products."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int = 1

    def result_shape(self, x: TensorType, w: TensorType) -> tuple[int, ...]:
        check_eight_bit(x, w)
        return Conv(self.strides, self.pads, self.dilations, self.group).infer(*as_reals(x, w), None, None).shape

    def accumulate(
        self, x: np.ndarray, x_zero: np.ndarray | None, w: np.ndarray, w_zero: np.ndarray | None
    ) -> np.ndarray:
        """Exact sums as float64: differences to the zero points are at most 9 bits wide."""
        real_x, real_w = x.astype(np.float64), w.astype(np.float64)
        if x_zero is not None:
            real_x -= x_zero.reshape(()).astype(np.float64)
        if w_zero is not None:
            real_w -= w_zero.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
        return accumulate(real_x, real_w, self.strides, self.pads, self.dilations, self.group)

    def macs(self, operand_types: Sequence[TensorType | None], result_types: Sequence[TensorType]) -> int:
        w = operand_types[[place.name for place in self.OPERANDS].index("w")]
        return result_types[0].elements * math.prod(w.shape[1:]) if w is not None else 0


@operator("conv_integer")
@dataclass(frozen=True)
class ConvInteger(IntegerConvolution):
    """Convolution of 8-bit integers, exact, wrapping at 32 bits.

    Operands: x [N, C, *spatial]; w [O, C/group, *kernel]; x_zero_point, one; w_zero_point, one or O; 0 where absent.
    Result: i32 [N, O, *output], the sums of (x - x_zero_point) * (w - w_zero_point). Padding stands for the zero point.
    """

    OPERANDS = (operand("x"), operand("w"), optional("x_zero_point"), optional("w_zero_point"))

    def infer(
        self, x: TensorType, w: TensorType, x_zero_point: TensorType | None, w_zero_point: TensorType | None
    ) -> TensorType:
        check_count("x_zero_point", x_zero_point, 1)
        check_count("w_zero_point", w_zero_point, 1, w.shape[0])
        return TensorType(self.result_shape(x, w), DType.I32)

    def reference(
        self, x: np.ndarray, w: np.ndarray, x_zero_point: np.ndarray | None, w_zero_point: np.ndarray | None
    ) -> np.ndarray:
        return wrapped(self.accumulate(x, x_zero_point, w, w_zero_point))


@operator("qlinear_conv")
@dataclass(frozen=True)
class QLinearConv(IntegerConvolution):
    """Convolution of 8-bit quantised tensors, requantised.

    Operands: x with x_scale and x_zero_point, one each; w with w_scale and w_zero_point, one or O each; y_scale and
    y_zero_point, one each, of which the latter gives the dtype of the result; b: i32[O] at the scale
    x_scale * w_scale. Result [N, O, *output]: see :func:`tilewright.ir.arithmetic.requantize`.
    """

    OPERANDS = (
        operand("x"),
        operand("x_scale"),
        operand("x_zero_point"),
        operand("w"),
        operand("w_scale"),
        operand("w_zero_point"),
        operand("y_scale"),
        operand("y_zero_point"),
        optional("b"),
    )

    def infer(
        self,
        x: TensorType,
        x_scale: TensorType,
        x_zero_point: TensorType,
        w: TensorType,
        w_scale: TensorType,
        w_zero_point: TensorType,
        y_scale: TensorType,
        y_zero_point: TensorType,
        b: TensorType | None,
    ) -> TensorType:
        shape = self.result_shape(x, w)
        check_count("x_scale", x_scale, 1)
        check_count("x_zero_point", x_zero_point, 1)
        check_count("w_scale", w_scale, 1, w.shape[0])
        check_count("w_zero_point", w_zero_point, 1, w.shape[0])
        check_count("y_scale", y_scale, 1)
        check_count("y_zero_point", y_zero_point, 1)
        check_eight_bit(x_zero_point, w_zero_point, y_zero_point)
        if b is not None and (b.dtype is not DType.I32 or b.shape != (w.shape[0],)):
            raise IRError("b needs an i32 for each output channel", expected=[w.shape[0]], found=b)
        return TensorType(shape, y_zero_point.dtype)

    def reference(
        self,
        x: np.ndarray,
        x_scale: np.ndarray,
        x_zero_point: np.ndarray,
        w: np.ndarray,
        w_scale: np.ndarray,
        w_zero_point: np.ndarray,
        y_scale: np.ndarray,
        y_zero_point: np.ndarray,
        b: np.ndarray | None,
    ) -> np.ndarray:
        total = self.accumulate(x, x_zero_point, w, w_zero_point)
        if b is not None:
            total += b.reshape(-1, *[1] * (x.ndim - 2))
        return requantized(wrapped(total), (x_scale, w_scale, y_scale), y_zero_point, 1)


@dataclass(frozen=True)
class IntegerProduct(Operator):
    """Base of the integer matrix products."""

    def result_shape(self, a: TensorType, b: TensorType) -> tuple[int, ...]:
        check_eight_bit(a, b)
        return MatMul().infer(*as_reals(a, b), None, None).shape

    def accumulate(
        self, a: np.ndarray, a_zero: np.ndarray | None, b: np.ndarray, b_zero: np.ndarray | None
    ) -> np.ndarray:
        """Exact sums as float64."""
        left = a.astype(np.float64) - (a_zero.astype(np.float64).reshape(-1, 1) if a_zero is not None else 0)
        right = b.astype(np.float64) - (b_zero.astype(np.float64).reshape(-1) if b_zero is not None else 0)
        return left @ right

    def macs(self, operand_types: Sequence[TensorType | None], result_types: Sequence[TensorType]) -> int:
        a = operand_types[0]
        return result_types[0].elements * a.shape[-1] if a is not None else 0


@operator("matmul_integer")
@dataclass(frozen=True)
class MatMulInteger(IntegerProduct):
    """Matrix product of 8-bit integers, exact, wrapping at 32 bits.

    Operands: a [*batch, M, K]; b [*batch, K, N]; a_zero_point, one or M; b_zero_point, one or N; 0 where absent.
    Result: i32 [*batch, M, N], the sums of (a - a_zero_point) * (b - b_zero_point).
    """

    OPERANDS = (operand("a"), operand("b"), optional("a_zero_point"), optional("b_zero_point"))

    def infer(
        self, a: TensorType, b: TensorType, a_zero_point: TensorType | None, b_zero_point: TensorType | None
    ) -> TensorType:
        shape = self.result_shape(a, b)
        check_count("a_zero_point", a_zero_point, 1, a.shape[-2])
        check_count("b_zero_point", b_zero_point, 1, b.shape[-1])
        return TensorType(shape, DType.I32)

    def reference(
        self, a: np.ndarray, b: np.ndarray, a_zero_point: np.ndarray | None, b_zero_point: np.ndarray | None
    ) -> np.ndarray:
        return wrapped(self.accumulate(a, a_zero_point, b, b_zero_point))


@operator("qlinear_matmul")
@dataclass(frozen=True)
class QLinearMatMul(IntegerProduct):
    """Matrix product of 8-bit quantised tensors, requantised.

    Operands: a with a_scale and a_zero_point, one each; b with b_scale and b_zero_point, one or N each; y_scale and
    y_zero_point, one each, of which the latter gives the dtype of the result. Result [*batch, M, N]: see
    :func:`tilewright.ir.arithmetic.requantize`.
    """

    OPERANDS = (
        operand("a"),
        operand("a_scale"),
        operand("a_zero_point"),
        operand("b"),
        operand("b_scale"),
        operand("b_zero_point"),
        operand("y_scale"),
        operand("y_zero_point"),
    )

    def infer(
        self,
        a: TensorType,
        a_scale: TensorType,
        a_zero_point: TensorType,
        b: TensorType,
        b_scale: TensorType,
        b_zero_point: TensorType,
        y_scale: TensorType,
        y_zero_point: TensorType,
    ) -> TensorType:
        shape = self.result_shape(a, b)
        check_count("a_scale", a_scale, 1)
        check_count("a_zero_point", a_zero_point, 1)
        check_count("b_scale", b_scale, 1, b.shape[-1])
        check_count("b_zero_point", b_zero_point, 1, b.shape[-1])
        check_count("y_scale", y_scale, 1)
        check_count("y_zero_point", y_zero_point, 1)
        check_eight_bit(a_zero_point, b_zero_point, y_zero_point)
        return TensorType(shape, y_zero_point.dtype)

    def reference(
        self,
        a: np.ndarray,
        a_scale: np.ndarray,
        a_zero_point: np.ndarray,
        b: np.ndarray,
        b_scale: np.ndarray,
        b_zero_point: np.ndarray,
        y_scale: np.ndarray,
        y_zero_point: np.ndarray,
    ) -> np.ndarray:
        total = wrapped(self.accumulate(a, a_zero_point, b, b_zero_point))
        return requantized(total, (a_scale, b_scale, y_scale), y_zero_point, total.ndim - 1)
