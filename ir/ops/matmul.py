"""Matrix multiplication, batched and broadcasting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.errors import IRError

from ..activation import activate, check_activation
from ..op import Operator, QuantizationRule, Sample, operand, operator, optional
from ..types import DType, TensorType
from .elementwise import FLOATS, broadcast_shape, check_dtype, random_array


@operator("matmul")
@dataclass(frozen=True)
class MatMul(Operator):
    """Matrix product over the last two dimensions, then bias, residual and activation.

    Operands: x [*batch, M, K] and w [*batch, K, N] of one element type, whose batch dimensions broadcast; b [N], added
    to each row; residual, of the result's type, added before the activation. Result [*batch, M, N]. Integers wrap
    around.

    Attributes:
        transpose_a, transpose_b: x (the left factor), w (the right one) has its last two dimensions exchanged.
        act, act_args: fused activation, see :mod:`tilewright.ir.activation`.
    """

    OPERANDS = (operand("x"), operand("w"), optional("b"), optional("residual"))
    QUANTIZATION = QuantizationRule.ACCUMULATE

    transpose_a: bool = False
    transpose_b: bool = False
    act: str = "none"
    act_args: tuple[float, ...] = ()

    def extents(self, x: TensorType, w: TensorType) -> tuple[int, int, int]:
        """M, N and K of one product of matrices."""
        rows, inner = x.shape[:-3:-1] if self.transpose_a else x.shape[-2:]
        _, columns = w.shape[:-3:-1] if self.transpose_b else w.shape[-2:]
        return rows, columns, inner

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None, residual: TensorType | None) -> TensorType:
        check_activation(self.act, self.act_args)
        for type in (x, w):
            check_dtype(type, (*FLOATS, DType.I32, DType.I64, DType.U32, DType.U64))
        if x.dtype is not w.dtype and x.quant is None:
            raise IRError("the element types of x and w differ", expected=x.dtype.value, found=w.dtype.value)
        if x.rank < 2 or w.rank < 2:
            raise IRError("x and w need ranks of at least 2", found=f"{list(x.shape)} and {list(w.shape)}")
        rows, columns, inner = self.extents(x, w)
        if w.shape[-1 if self.transpose_b else -2] != inner:
            raise IRError("the inner extents of x and w differ", found=f"{list(x.shape)} and {list(w.shape)}")
        shape = (*broadcast_shape(x.shape[:-2], w.shape[:-2]), rows, columns)
        if b is not None and b.shape != (columns,):
            raise IRError("b needs one element for each column", expected=[columns], found=list(b.shape))
        if residual is not None and residual.shape != shape:
            raise IRError("residual needs the shape of the result", expected=list(shape), found=list(residual.shape))
        return TensorType(shape, x.dtype)

    def reference(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, residual: np.ndarray | None) -> np.ndarray:
        x = np.swapaxes(x, -1, -2) if self.transpose_a else x
        w = np.swapaxes(w, -1, -2) if self.transpose_b else w
        if x.dtype == np.float16:
            # Sums of half precision are kept in single precision, as everywhere else.
            y = np.matmul(x.astype(np.float32), w.astype(np.float32)).astype(np.float16)
        else:
            y = np.matmul(x, w)
        y = y if b is None else y + b
        y = y if residual is None else y + residual
        return activate(y, self.act, self.act_args)

    def macs(self, operand_types: Sequence[TensorType | None], result_types: Sequence[TensorType]) -> int:
        x = operand_types[0]
        return result_types[0].elements * x.shape[-2 if self.transpose_a else -1] if x is not None else 0

    @classmethod
    def samples(cls, rng: np.random.Generator) -> Iterator[Sample]:
        def array(*shape: int, dtype: DType = DType.F32) -> np.ndarray:
            return random_array(rng, dtype, shape)

        weights = frozenset({1, 2})
        yield Sample(cls(), (array(3, 5), array(5, 4), None), weights)
        yield Sample(cls(), (array(1, 65), array(65, 33), array(33)), weights)
        yield Sample(cls(transpose_b=True), (array(7, 64), array(48, 64), array(48)), weights)
        yield Sample(cls(transpose_a=True), (array(9, 17), array(9, 19), None))
        yield Sample(cls(transpose_a=True, transpose_b=True), (array(2, 6, 5), array(2, 3, 6), None))
        yield Sample(cls(), (array(2, 3, 17, 8), array(2, 3, 8, 17), None))
        yield Sample(cls(transpose_b=True), (array(2, 3, 5, 8), array(2, 3, 7, 8), None))
        yield Sample(cls(), (array(2, 5, 16), array(16, 10), array(10)), weights)
        yield Sample(cls(), (array(3, 1, 4, 6), array(2, 6, 5), None))
        yield Sample(cls(), (array(4, 6), array(3, 6, 1), None))
        yield Sample(cls(act="relu"), (array(4, 32), array(32, 16), array(16)), weights)
        yield Sample(cls(act="gelu"), (array(2, 3, 8), array(8, 16), array(16), array(2, 3, 16)), weights)
        clipped = cls(transpose_b=True, act="clip", act_args=(-1.0, 2.0))
        yield Sample(clipped, (array(5, 24), array(31, 24), None, array(5, 31)), weights)
        yield Sample(cls(), (array(5, 7, dtype=DType.F64), array(7, 3, dtype=DType.F64), array(3, dtype=DType.F64)))
        yield Sample(cls(), (array(2, 5, 7, dtype=DType.I32), array(7, 3, dtype=DType.I32), None))
        yield Sample(cls(), (array(2, 9, dtype=DType.I64), array(9, 2, dtype=DType.I64), array(2, dtype=DType.I64)))
