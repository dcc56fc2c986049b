"""Rules that make quantisation part of the types: constants of scale and zero point leave the operands.

``quantize_linear`` and ``dequantize_linear`` become ``quantize`` and ``dequantize``. Between two of them plain integers
are never seen again.
"""

from __future__ import annotations

from ...ir.core import Constant, Value
from ...ir.ops.quantization import Dequantize, DequantizeLinear, Quantize, QuantizeLinear, StorageCast
from ...ir.quantized import quantization_of
from ...ir.types import DType, Quantization, TensorType
from ..pattern import Match, Rule, node, operand_of_the_same_type


def _as_stored(found: Match, x: Value, quant: Quantization) -> Value:
    """``x``, plain integers, as the stored ones of a quantised type; a constant becomes another constant."""
    type = x.type.with_quant(quant)
    if isinstance(x, Constant):
        return found.add_constant(x.name, x.array, type)
    return found.emit(StorageCast(), x, result_types=[type])


def _typed_dequantize(found: Match[DequantizeLinear]) -> Value | None:
    x, scale, zero_point = found.root.operands
    quant = quantization_of(scale, zero_point, found.root.operator.axis)
    if quant is None or found.root.result.type.dtype is not DType.F32:
        return None
    return found.emit(Dequantize(), _as_stored(found, x, quant))


def _typed_quantize(found: Match[QuantizeLinear]) -> Value | None:
    quantize, (x, scale, zero_point) = found.root.operator, found.root.operands
    quant = quantization_of(scale, zero_point, quantize.axis)
    if quant is None or x.type.dtype is not DType.F32:
        return None
    type = TensorType(x.type.shape, quantize.to, quant)
    return found.emit(StorageCast(), found.emit(Quantize(), x, result_types=[type]))


RULES: tuple[Rule, ...] = (
    Rule("typed_dequantize", node(DequantizeLinear), _typed_dequantize),
    Rule("typed_quantize", node(QuantizeLinear), _typed_quantize),
    Rule(
        "storage_cast_and_back",
        node(StorageCast, node(StorageCast, "x", single_use=False)),
        operand_of_the_same_type,
    ),
)
"""From parameters as operands to parameters in types."""
