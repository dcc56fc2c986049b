"""Convolution and matrix product of plain integers with zero points as operands, for models that compute them."""

import math

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..op import Operator, operator
from ..quantized import EIGHT_BIT
from ..types import DType, ResultTypes, TensorType, Types
from .convolution import Conv, accumulate
from .matmul import MatMul


def _as_real(type: TensorType) -> TensorType:
    """An 8-bit operand as f32, to infer the shape of a product by the rules of the float operator."""
    if type.dtype not in EIGHT_BIT or type.quant is not None:
        raise IRError("the operands must be plain i8 or u8", found=type)
    return type.with_dtype(DType.F32)


def _check_count(what: str, type: TensorType | None, *counts: int) -> None:
    """Raise IRError unless ``type`` has one of these numbers of elements."""
    if type is not None and type.elements not in counts:
        raise IRError(f"wrong number of elements in {what}", expected=" or ".join(map(str, counts)), found=type)


def _wrapped(total: np.ndarray) -> np.ndarray:
    """Exact integers in float64 as int32, which wraps."""
    return total.astype(np.int64).astype(np.int32)


@operator("conv_integer")
class ConvInteger(Operator[tuple[Value, Value, Value | None, Value | None]]):
    """Convolution of 8-bit integers, exact, wrapping at 32 bits. The attributes are those of ``conv``.

    Operands: x [N, C, *spatial]; w [O, C/group, *kernel]; x_zero_point, one; w_zero_point, one or O; 0 where absent.
    Result: i32 [N, O, *output], the sums of (x - x_zero_point) * (w - w_zero_point). Padding stands for the zero point.
    """

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int = 1

    @property
    def conv(self) -> Conv:
        """The convolution of numbers that has the same windows."""
        return Conv(self.strides, self.pads, self.dilations, self.group)

    def infer(
        self, x: TensorType, w: TensorType, x_zero_point: TensorType | None, w_zero_point: TensorType | None
    ) -> TensorType:
        sums = self.conv.infer(_as_real(x), _as_real(w), None, None)
        _check_count("x_zero_point", x_zero_point, 1)
        _check_count("w_zero_point", w_zero_point, 1, w.shape[0])
        return sums.with_dtype(DType.I32)

    def reference(
        self, x: np.ndarray, w: np.ndarray, x_zero_point: np.ndarray | None, w_zero_point: np.ndarray | None
    ) -> np.ndarray:
        real_x, real_w = x.astype(np.float64), w.astype(np.float64)
        if x_zero_point is not None:
            real_x -= x_zero_point.reshape(()).astype(np.float64)
        if w_zero_point is not None:
            real_w -= w_zero_point.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
        # Exact: differences to the zero points are at most 9 bits wide.
        return _wrapped(accumulate(real_x, real_w, self.conv))

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        w = operand_types[1]
        return result_types[0].elements * math.prod(w.shape[1:]) if w is not None else 0


@operator("matmul_integer")
class MatMulInteger(Operator[tuple[Value, Value, Value | None, Value | None]]):
    """Matrix product of 8-bit integers, exact, wrapping at 32 bits.

    Operands: a [*batch, M, K]; b [*batch, K, N]; a_zero_point, one or M; b_zero_point, one or N; 0 where absent.
    Result: i32 [*batch, M, N], the sums of (a - a_zero_point) * (b - b_zero_point)."""

    def infer(
        self, a: TensorType, b: TensorType, a_zero_point: TensorType | None, b_zero_point: TensorType | None
    ) -> TensorType:
        sums = MatMul().infer(_as_real(a), _as_real(b), None, None)
        _check_count("a_zero_point", a_zero_point, 1, a.shape[-2])
        _check_count("b_zero_point", b_zero_point, 1, b.shape[-1])
        return sums.with_dtype(DType.I32)

    def reference(
        self, a: np.ndarray, b: np.ndarray, a_zero_point: np.ndarray | None, b_zero_point: np.ndarray | None
    ) -> np.ndarray:
        left = a.astype(np.float64) - (
            a_zero_point.astype(np.float64).reshape(-1, 1) if a_zero_point is not None else 0
        )
        right = b.astype(np.float64) - (b_zero_point.astype(np.float64).reshape(-1) if b_zero_point is not None else 0)
        return _wrapped(left @ right)

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        a = operand_types[0]
        return result_types[0].elements * a.shape[-1] if a is not None else 0
