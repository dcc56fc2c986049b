"""Products with matrices of integers that stand for real numbers."""

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ..activation import activate, check_activation
from ..core import Value
from ..op import Operator, operator
from ..types import DType, ResultTypes, TensorType, Types
from .indexing import from_front
from .matmul import SINGLE_BITS, MatMul, check_bits


class WeightOnlyOperands(NamedTuple):
    x: Value
    w: Value
    scale: Value
    zero: Value | None = None
    b: Value | None = None
    residual: Value | None = None
    which: Value | None = None


@operator("weight_only_matmul")
class WeightOnlyMatMul(Operator[WeightOnlyOperands]):
    """x ((w - zero) * scale), then bias, residual and activation: what ``matmul`` is of the numbers that w stands for.

    Operands: x [*batch, M, K], f32; w [K, N], i8; scale and zero [K / block, N], f32, 0 where the latter is absent;
    b [N] and residual as for ``matmul``. Result [*batch, M, N]. With which [*batch], i64, w and what belongs to its
    rows are several such matrices, one below the other, of which each matrix of x meets the one of this number,
    counted from the end if negative.
    ``block``: rows of w that have scales and zero points in common; divides K.
    ``act``, ``act_args``: fused activation, see :mod:`tilewright.ir.activation`.
    ``x_bits``: as of ``matmul``."""

    block: int
    act: str = "none"
    act_args: tuple[float, ...] = ()
    x_bits: int = SINGLE_BITS

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        scale: TensorType,
        zero: TensorType | None,
        b: TensorType | None,
        residual: TensorType | None,
        which: TensorType | None,
    ) -> TensorType:
        check_activation(self.act, self.act_args, x)
        check_bits(self.x_bits)
        if x.dtype is not DType.F32 or w.dtype is not DType.I8 or w.rank != 2:
            raise IRError("x must be f32, w a matrix of i8", found=f"{x}, {w}")
        if self.block < 1 or w.shape[0] % self.block:
            raise IRError("the rows of w are no whole blocks", expected=f"a divisor of {w.shape[0]}", found=self.block)
        blocks = TensorType((w.shape[0] // self.block, w.shape[1]), DType.F32)
        for what, type in (("scale", scale), ("zero", zero)):
            if type is not None and type != blocks:
                raise IRError(f"{what} needs a number for each block of a column", expected=blocks, found=type)
        if which is None:
            return MatMul().infer(x, w.with_dtype(DType.F32), b, residual)
        inner = x.shape[-1]
        if which != TensorType(x.shape[:-2], DType.I64) or inner % self.block or w.shape[0] % max(1, inner):
            expected = f"an i64 for each matrix of {x}, and in w matrices of {inner} rows in whole blocks"
            raise IRError("which does not fit x and w", expected=expected, found=f"{which}, {w}")
        return MatMul().infer(x, TensorType((inner, w.shape[1]), DType.F32), b, residual)

    def weights(self, w: np.ndarray, scale: np.ndarray, zero: np.ndarray | None) -> np.ndarray:
        """The numbers that w stands for [K, N], f32: differences are rounded, then products."""
        real = w.astype(np.float32)
        if zero is not None:
            real -= np.repeat(zero, self.block, 0)
        return real * np.repeat(scale, self.block, 0)

    def reference(self, x: np.ndarray, w: np.ndarray, scale: np.ndarray, *others: np.ndarray | None) -> np.ndarray:
        zero, b, residual, which = others
        real = self.weights(w, scale, zero)
        if which is not None:
            real = real.reshape(-1, x.shape[-1], w.shape[1])
            real = real[from_front(which, len(real))]
        y = MatMul().reference(x, real, b, residual)
        return activate(y, self.act, self.act_args)

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        w = operand_types[1]
        x = operand_types[0]
        return result_types[0].elements * x.shape[-1] if w is not None and x is not None else 0
