"""Rules that make quantisation part of the types: constants of scale and zero point leave the operands.

``quantize_linear`` and ``dequantize_linear`` become ``quantize`` and ``dequantize``. Between two of them plain integers
are never seen again.
"""

from __future__ import annotations

from ...ir.core import Constant, Value
from ...ir.ops.quantization import (
    AssumeQuantized,
    Dequantize,
    DequantizeLinear,
    Quantize,
    QuantizeLinear,
    StoredIntegers,
)
from ...ir.quantized import quantization_of
from ...ir.types import DType, Quantization, TensorType
from ..pattern import Match, Rule, node, operand_of_the_same_type


def _assume(found: Match, x: Value, quant: Quantization) -> Value:
    """``x``, plain integers, as a value of a quantised type; a constant becomes another constant."""
    type = x.type.with_quant(quant)
    if isinstance(x, Constant):
        return found.add_constant(x.name, x.array, type)
    return found.emit(AssumeQuantized(), x, result_types=[type])


def _typed_dequantize(found: Match) -> Value | None:
    dequantize, (x, scale, zero_point) = found.root.operator, (*found.root.operands, None)[:3]
    assert isinstance(dequantize, DequantizeLinear)
    assert x is not None
    quant = quantization_of(scale, zero_point, dequantize.axis)
    if quant is None or found.root.result.type.dtype is not DType.F32:
        return None
    return found.emit(Dequantize(), _assume(found, x, quant))


def _typed_quantize(found: Match) -> Value | None:
    quantize, (x, scale, zero_point) = found.root.operator, (*found.root.operands, None)[:3]
    assert isinstance(quantize, QuantizeLinear)
    assert x is not None
    quant = quantization_of(scale, zero_point, quantize.axis)
    if quant is None or x.type.dtype is not DType.F32:
        return None
    type = TensorType(x.type.shape, quantize.to, quant)
    return found.emit(StoredIntegers(), found.emit(Quantize(), x, result_types=[type]))


RULES: tuple[Rule, ...] = (
    Rule("typed_dequantize", node(DequantizeLinear), _typed_dequantize),
    Rule("typed_quantize", node(QuantizeLinear), _typed_quantize),
    Rule(
        "stored_and_assumed",
        node(AssumeQuantized, node(StoredIntegers, "x", single_use=False)),
        operand_of_the_same_type,
    ),
    Rule(
        "assumed_and_stored",
        node(StoredIntegers, node(AssumeQuantized, "x", single_use=False)),
        operand_of_the_same_type,
    ),
)
"""From parameters as operands to parameters in types."""
