"""Matrix multiplication, batched and broadcasting; determinants."""

import numpy as np

from tilewright.errors import IRError

from ..activation import activate, check_activation
from ..arithmetic import rounded_to_bfloat16
from ..op import LinearOperands, Operator, QuantizationRule, UnaryOperands, operator
from ..quantized import centred, check_accumulating, requantized
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from .elementwise import FLOATS, broadcast_shape, check_dtype

SINGLE_BITS = 24
"""Of a number in single precision, with its sign those of an integer."""


def check_bits(bits: int) -> None:
    """Raises IRError: no integers of so many bits stand for numbers in single precision."""
    if not 8 <= bits <= SINGLE_BITS:
        raise IRError("x_bits is out of range", expected=f"8 to {SINGLE_BITS}", found=bits)


class _MatrixProduct(Operator[LinearOperands]):
    """What products of matrices have in common: their attributes, which :class:`MatMul` explains."""

    transpose_a: bool = False
    transpose_b: bool = False
    act: str = "none"
    act_args: tuple[float, ...] = ()
    x_bits: int = SINGLE_BITS

    def extents(self, x: TensorType, w: TensorType) -> tuple[int, int, int]:
        """M, N and K of one product of matrices."""
        rows, inner = x.shape[:-3:-1] if self.transpose_a else x.shape[-2:]
        _, columns = w.shape[:-3:-1] if self.transpose_b else w.shape[-2:]
        return rows, columns, inner

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        x = operand_types[0]
        return result_types[0].elements * x.shape[-2 if self.transpose_a else -1] if x is not None else 0


@operator("matmul")
class MatMul(_MatrixProduct):
    """Matrix product over the last two dimensions, then bias, residual and activation.

    Operands: x [*batch, M, K] and w [*batch, K, N] of one element type, whose batch dimensions broadcast; b [N], added
    to each row; residual, of the result's type, added before the activation. Result [*batch, M, N]. Integers wrap
    around; engines differ in what becomes of sums of floats that leave the range on the way.

    Quantised: x is 8-bit, w 8-bit per tensor or along its N columns, b int32 at the scale of x times that of w;
    accumulators are exact. The result is 8-bit, requantised as :func:`tilewright.ir.arithmetic.requantize` states,
    where fused activations clamp; or f32, the accumulators times the scales of x and w, without an activation. There is
    no residual.

    Attributes:
        transpose_a, transpose_b: x (the left factor), w (the right one) has its last two dimensions exchanged.
        act, act_args: fused activation, see :mod:`tilewright.ir.activation`.
        x_bits: an engine may round floats of x to integers of so many bits, whose scale up to 128 neighbours along K
            have in common, where w is stored as integers.
    """

    QUANTIZATION = QuantizationRule.ACCUMULATE

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None, residual: TensorType | None) -> TensorType:
        check_activation(self.act, self.act_args, x)
        check_bits(self.x_bits)
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
        return TensorType(shape, x.dtype if x.quant is None else DType.F32)

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

    def column_axis(self, w: TensorType) -> int:
        """The dimension of w that the columns of the result run along."""
        return w.rank - (2 if self.transpose_b else 1)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        (x, w, b, _), (x_type, w_type, *_) = arrays, operand_types
        assert x is not None and w is not None and x_type is not None and w_type is not None
        product = MatMul(self.transpose_a, self.transpose_b)
        y = product.reference(centred(x, x_type), centred(w, w_type), b, None)
        last = y.ndim - 1
        return requantized(y, x_type, w_type, result_types[0], channel_axis=last, act=self.act, act_args=self.act_args)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        w = operand_types[1]
        axis = self.column_axis(w) if w is not None else 0
        act = {"act": self.act, "act_args": self.act_args}
        return check_accumulating(operand_types, result_types, channel_axis=axis, **act)


@operator("narrow_matmul")
class NarrowMatMul(_MatrixProduct):
    """Matrix product of numbers that are rounded to bfloat16 before (to nearest, ties to even), then bias, residual and
    activation in single precision. The attributes are those of ``matmul``.

    Operands and result are those of ``matmul`` in single precision. Engines differ as for ``narrow_conv``."""

    @property
    def matmul(self) -> MatMul:
        """The product of the numbers as they are."""
        return MatMul(**vars(self))

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None, residual: TensorType | None) -> TensorType:
        check_dtype(x, (DType.F32,))
        return self.matmul.infer(x, w, b, residual)

    def reference(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, residual: np.ndarray | None) -> np.ndarray:
        return self.matmul.reference(rounded_to_bfloat16(x), rounded_to_bfloat16(w), b, residual)


@operator("determinant")
class Determinant(Operator[UnaryOperands]):
    """Determinants of square matrices, by elimination in float64, whose rows are exchanged for the largest pivot.

    Operands: x [..., n, n]. Result [...]."""

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, FLOATS)
        if x.rank < 2 or x.shape[-1] != x.shape[-2]:
            raise IRError("x must be of square matrices", found=x)
        return TensorType(x.shape[:-2], x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        results = np.ones(x.shape[:-2])
        for place in np.ndindex(results.shape):
            rows = x[place].astype(np.float64)
            for k in range(len(rows)):
                largest = k
                for i in range(k + 1, len(rows)):
                    largest = i if abs(rows[i, k]) > abs(rows[largest, k]) else largest
                if largest != k:
                    rows[[k, largest]] = rows[[largest, k]]
                    results[place] = -results[place]
                results[place] *= rows[k, k]
                if rows[k, k] != 0:
                    rows[k + 1 :] -= rows[k + 1 :, k : k + 1] / rows[k, k] * rows[k]
        return results.astype(x.dtype)

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        x = operand_types[0]
        return x.elements * x.shape[-1] if x is not None else 0
