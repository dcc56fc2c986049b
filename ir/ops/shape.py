"""Operators that change the shape or the element type of a tensor and keep the order of its elements."""

import math

import numpy as np

from tilewright.errors import IRError

from ..op import Operator, QuantizationRule, UnaryOperands, operator
from ..types import DType, TensorType
from .elementwise import NUMBERS, Elementwise, check_dtype


def moved(x: TensorType, shape: tuple[int, ...]) -> TensorType:
    """Type of elements of ``x`` moved to another shape, in row-major layout.
    Raises IRError: ``x`` is quantised per channel; its channels may not be where they were."""
    if x.quant is not None and x.quant.axis is not None:
        raise IRError("tensors quantised per channel cannot be rearranged", found=x)
    return x.with_shape(shape)


@operator("reshape")
class Reshape(Operator[UnaryOperands]):
    """The same elements in the same row-major order under another shape.

    Operands: x, of any dtype. Result: of ``shape``, which has as many elements as x.
    ``shape``: every extent explicit; the 0 and -1 of ONNX are resolved when importing."""

    QUANTIZATION = QuantizationRule.PRESERVE

    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if min(self.shape, default=0) < 0 or math.prod(self.shape) != x.elements:
            raise IRError(
                "a reshape keeps the number of elements",
                expected=f"{x.elements} elements as in {list(x.shape)}",
                found=list(self.shape),
            )
        return moved(x, self.shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.shape)


@operator("expand")
class Expand(Operator[UnaryOperands]):
    """Repeat x along the dimensions where it has extent 1, as NumPy broadcasts.

    Operands: x, of any dtype. Result: of ``shape``.
    ``shape``: the shape of the result; its rank is at least that of x."""

    QUANTIZATION = QuantizationRule.PRESERVE

    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        inner = self.shape[len(self.shape) - x.rank :] if x.rank else ()
        if len(self.shape) < x.rank or any(e not in (1, s) for e, s in zip(x.shape, inner, strict=True)):
            raise IRError("x does not expand to the shape", expected=list(self.shape), found=list(x.shape))
        return moved(x, self.shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, self.shape).copy()


@operator("cast")
class Cast(Elementwise[UnaryOperands]):
    """Convert each element to another element type.

    Operands: x. Result: same shape, dtype ``to``.

    Floats become integers by dropping the fraction (towards zero), integers become narrower integers by dropping high
    bits, and anything but zero, NaN included, is true. Floats that the integer type cannot hold are left open by
    ONNX; here they take the path that compilers for x86-64 choose, see :func:`truncate`."""

    to: DType

    def infer(self, x: TensorType) -> TensorType:
        return x.with_dtype(self.to)

    def reference(self, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "f" and self.to.is_integer:
            return truncate(x, self.to)
        return x.astype(self.to.numpy)


@operator("bit_cast")
class BitCast(Elementwise[UnaryOperands]):
    """The bits of each element, read as another element type of as many bits.

    Operands: x, of any dtype but bool. Result: same shape, dtype ``to``, neither bool."""

    to: DType

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, NUMBERS)
        if x.dtype.bytes != self.to.bytes or self.to not in NUMBERS:
            expected = f"a number of {8 * x.dtype.bytes} bits, as {x.dtype.value} has"
            raise IRError("the bits cannot be read as this element type", expected=expected, found=self.to.value)
        return x.with_dtype(self.to)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.view(self.to.numpy)


def truncate(x: np.ndarray, to: DType) -> np.ndarray:
    """Floats as integers, the fraction dropped; a value out of range gives the low bits of what the processor makes.

    The conversion instructions of x86-64 know int32 and int64 and answer with the smallest integer where they cannot
    hold the value or it is not a number. Types of up to 16 bits go through int32, uint32 through int64."""
    through = DType.I32 if to.bytes < 4 or to is DType.I32 else DType.I64
    if to is DType.U64:
        # The upper half of the range is converted less 2**63, which is added again as the highest bit.
        upper = x.astype(np.float64) >= 2.0**63
        low = truncate(np.where(upper, x.astype(np.float64) - 2.0**63, x.astype(np.float64)), DType.I64)
        return low.astype(np.uint64) ^ np.where(upper, np.uint64(1 << 63), np.uint64(0))
    limit = 2.0 ** (8 * through.bytes - 1)
    whole = np.trunc(x.astype(np.float64))
    fits = (whole >= -limit) & (whole < limit)
    smallest = np.iinfo(through.numpy).min
    return np.where(fits, np.where(fits, whole, 0).astype(through.numpy), smallest).astype(to.numpy)
