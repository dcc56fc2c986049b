"""Arithmetic on two tensors, element by element with broadcasting; and the base of all elementwise operators."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tilewright.errors import IRError
from tilewright.limits import RANK

from ..core import OperandsT_co
from ..op import BinaryOperands, Operator, QuantizationRule, declared, operator
from ..quantized import added, check_sum, check_words, is_wide, multiplied
from ..types import Arrays, DType, ResultTypes, TensorType, Types

FLOATS = (DType.F16, DType.F32, DType.F64)
SIGNED = (DType.I8, DType.I16, DType.I32, DType.I64)
UNSIGNED = (DType.U8, DType.U16, DType.U32, DType.U64)
INTEGERS = (*SIGNED, *UNSIGNED)
NUMBERS = (*FLOATS, *INTEGERS)
BOOL = (DType.BOOL,)


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that tensors of these shapes broadcast to, by NumPy's rule. Raises IRError: they do not."""
    rank = max((len(shape) for shape in shapes), default=0)
    if rank > RANK:
        raise IRError("a tensor has too many dimensions", expected=f"at most {RANK} {RANK.what}", found=rank)
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise IRError(
            "the shapes do not broadcast",
            expected="extents that are equal or 1, from the last dimension backwards",
            found=" and ".join(str(list(shape)) for shape in shapes),
        ) from None


def check_dtype(type: TensorType, allowed: tuple[DType, ...]) -> None:
    """Raise IRError unless the element type is allowed; quantised integers stand for real numbers."""
    if type.dtype not in allowed and type.quant is None:
        raise IRError(
            "element type is not allowed", expected=", ".join(d.value for d in allowed), found=type.dtype.value
        )


class Elementwise(Operator[OperandsT_co]):
    """Base: an element of the only result depends on the elements at its position of the broadcast operands alone.

    A subclass may give, in its header, the function that is its reference and the element types of its operands."""

    DTYPES: ClassVar[tuple[DType, ...]] = NUMBERS

    def __init_subclass__(
        cls, function: Callable[..., np.ndarray] | None = None, dtypes: tuple[DType, ...] | None = None
    ) -> None:
        super().__init_subclass__(function)
        cls.DTYPES = dtypes or cls.DTYPES

    def reference(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return type(self).FUNCTION(*args, **kwargs)


class Binary(Elementwise[BinaryOperands]):
    """Base: two operands of one element type, broadcast against each other; the result has that type too.

    A subclass gives its function, or overrides ``reference`` where integers or attributes need more than one."""

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        check_dtype(x, self.DTYPES)
        check_dtype(y, self.DTYPES)
        if x.dtype is not y.dtype:
            raise IRError("the element types differ", expected=x.dtype.value, found=y.dtype.value)
        # Operators that move stored integers keep their parameters; the result of any other has its own.
        quant = x.quant if self.QUANTIZATION is QuantizationRule.UNIFY else None
        return TensorType(broadcast_shape(x.shape, y.shape), x.dtype, quant)


class Rescaling(Binary):
    """Base: works on 8-bit tensors that each have their own scale, by a rule of :mod:`tilewright.ir.arithmetic`."""

    QUANTIZATION = QuantizationRule.RESCALE

    def combine(self, x: np.ndarray, y: np.ndarray, types: Types, z: TensorType) -> np.ndarray:
        """Stored integers of the result."""
        raise NotImplementedError(type(self).__name__)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, y = arrays
        assert x is not None and y is not None
        return self.combine(x, y, operand_types, result_types[0])


@operator("add")
class Add(Rescaling, function=np.add):
    """x + y; integers wrap around."""

    def combine(self, x: np.ndarray, y: np.ndarray, types: Types, z: TensorType) -> np.ndarray:
        return added(x, y, types, z)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        return check_sum(operand_types, result_types)


@operator("sub")
class Sub(Rescaling, function=np.subtract):
    """x - y; integers wrap around."""

    def combine(self, x: np.ndarray, y: np.ndarray, types: Types, z: TensorType) -> np.ndarray:
        return added(x, y, types, z, subtract=True)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        if is_wide(*operand_types, *result_types):
            return "a difference has no form of 16 bits"
        return check_sum(operand_types, result_types)


@operator("mul")
class Mul(Rescaling, function=np.multiply):
    """x * y; integers wrap around."""

    def combine(self, x: np.ndarray, y: np.ndarray, types: Types, z: TensorType) -> np.ndarray:
        return multiplied(x, y, types, z)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        if is_wide(*operand_types, *result_types):
            return check_words(operand_types, result_types)
        return super().check_quantized(operand_types, result_types)


@operator("div")
class Div(Binary):
    """x / y; integers divide toward zero, by zero without meaning."""

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "f":
            return np.divide(x, y)
        quotient = np.floor_divide(x, y)
        is_rounded_down = (np.remainder(x, y) != 0) & ((x < 0) != (y < 0))
        return (quotient + is_rounded_down.astype(x.dtype)).astype(x.dtype)


@operator("mod")
class Mod(Binary):
    """Remainder of x / y. ``fmod``: the remainder has the sign of x, as C's; else that of y, as Python's."""

    fmod: bool = False

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.fmod(x, y) if self.fmod else np.remainder(x, y)


@operator("pow")
class Pow(Binary, dtypes=(DType.F16, DType.F32, DType.F64, DType.I32, DType.I64)):
    """x to the power of y, in the element type of x, which y need not have.

    Powers of integers are taken in double precision and cut to integers, as onnxruntime does."""

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        check_dtype(x, self.DTYPES)
        check_dtype(y, NUMBERS)
        return TensorType(broadcast_shape(x.shape, y.shape), x.dtype)

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "f" and y.ndim == 0 and y == 0.5:
            # NumPy takes the root for it, which keeps the sign of -0 and has none of -infinity.
            return np.where(np.isneginf(x), np.asarray(np.inf, x.dtype), np.sqrt(x + np.zeros((), x.dtype)))
        if x.dtype.kind == "f":
            return np.power(x, y.astype(x.dtype))
        return np.power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)


class Extreme(Binary):
    """Base: one of the two elements, which on tensors of equal parameters the stored integers tell."""

    QUANTIZATION = QuantizationRule.UNIFY


Min = declared(Extreme, "min", "The smaller of x and y; NaN if one is NaN.", np.minimum)
Max = declared(Extreme, "max", "The larger of x and y; NaN if one is NaN.", np.maximum)


class BitwiseBinary(Binary, dtypes=INTEGERS):
    """Base: works on the bits of integers."""


BitwiseAnd = declared(BitwiseBinary, "bitwise_and", "Bits that are set in both.", np.bitwise_and)
BitwiseOr = declared(BitwiseBinary, "bitwise_or", "Bits that are set in one or both.", np.bitwise_or)
BitwiseXor = declared(BitwiseBinary, "bitwise_xor", "Bits that are set in one only.", np.bitwise_xor)


@operator("bit_shift")
class BitShift(BitwiseBinary):
    """x shifted by y bits; to the right, the sign fills what becomes free.

    Where y is below 0 or not below the width of the type, every bit is shifted out: what is left is 0, or -1 of a
    negative number shifted to the right.
    ``left``: toward the higher bits; else toward the lower ones."""

    left: bool

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.left_shift(x, y) if self.left else np.right_shift(x, y)
