"""What lowerings ask about the tensors of an op."""

from ...ir.core import Op
from ...ir.op import QuantizationRule
from ...ir.quantized import EIGHT_BIT, is_wide
from ...ir.types import DType


def is_float(op: Op) -> bool:
    """Whether all tensors of an op hold single precision numbers."""
    return all(value.type.dtype is DType.F32 for value in (*op.inputs, *op.results))


def layouts(op: Op) -> tuple[str, ...]:
    """Layouts of the operands that are present, then of the results."""
    return tuple(value.type.layout for value in (*op.inputs, *op.results))


def is_plain(op: Op) -> bool:
    """Whether every operand and result lies in row-major order."""
    return all(not value.type.layout for value in (*op.inputs, *op.results))


def has_elements(op: Op) -> bool:
    """Whether the first operand has any."""
    return op.inputs[0].type.elements > 0


def has_real_meaning(op: Op) -> bool:
    """Whether no operand or result is quantised."""
    return all(value.type.quant is None for value in (*op.inputs, *op.results))


def is_movement(op: Op) -> bool:
    """Whether stored elements are moved or compared as they are, quantised or not."""
    return has_real_meaning(op) or op.operator.QUANTIZATION in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY)


def is_quantized_product(op: Op) -> bool:
    """Whether the factors and the result of a convolution or matrix product are quantised to 8 bits."""
    values = (*op.inputs[:2], *op.results)
    return all(value.type.quant is not None and value.type.dtype in EIGHT_BIT for value in values)


def is_integer_product(op: Op) -> bool:
    """The same, but that activations may have 16 bits."""
    return is_quantized_product(op) or (is_wide(op.inputs[0].type, op.result.type) and op.result.type.quant is not None)


_BITS = {1: DType.U8, 2: DType.U16, 4: DType.U32, 8: DType.U64}


def bits(dtype: DType) -> DType:
    """The unsigned integers that hold elements of ``dtype`` bit by bit, for kernels that only move them."""
    return _BITS[dtype.bytes]


def dtypes_of(op: Op) -> tuple[DType, ...]:
    """Element types of the pointers that a kernel for ``op`` takes."""
    return tuple(value.type.dtype for value in (*op.inputs, *op.results))


def pointers(op: Op) -> list[str]:
    """Names of the pointers that a kernel takes: of the operands that are present, as in the schema, then ``y``."""
    pairs = zip(op.operator.OPERANDS or (), op.operands, strict=True)
    return [*(name for name, value in pairs if value is not None), "y"]
