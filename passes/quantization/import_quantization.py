"""Turn the quantisation that a model brings with it into ops on quantised types."""

from ...ir.core import Constant, Function, Module, Value, is_op
from ...ir.ops.activation import Clip
from ...ir.ops.quantization import Dequantize, DequantizeLinear, Quantize, QuantizeLinear, StorageCast
from ...ir.quantized import parameters, quantization_of
from ...ir.types import DType, Quantization, TensorType
from ..base import UNPLANNED, Pass, Record, erase_dead
from ..pattern import Driver, Match, Rule, node, on_quantized, operand_of_the_same_type
from . import integer_rules, sink_dequantize_rules, transposed_rules
from .check_accumulator_overflow import SETTLED


class ImportQuantization(Pass):
    """Recognises QDQ patterns, and what importers made of QLinear operators.

    Scales and zero points that are constants become part of the types. ``quantize(f(dequantize(x)))``, a ReLU or Clip
    after ``f`` included, becomes ``f`` on quantised types where ``f`` declares a rule for them; movement of elements
    comes to stand on the side of the integers, and padding before a convolution goes into it. What has no rule stays
    in floating point between ``dequantize`` and ``quantize``. Inputs and outputs of the network keep their element
    types.

    Comes before passes that compute constants: the integers of ``dequantize`` of a constant must still be there."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        Driver((*_TYPED, *sink_dequantize_rules.RULES)).run(module, record)
        record.counts["typed border"] = _type_borders(module.main)
        Driver((*sink_dequantize_rules.RULES, *transposed_rules.RULES, *integer_rules.RULES, *SETTLED)).run(
            module, record
        )
        return record.counts.total() > 0


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


def _typed_clip(found: Match[StorageCast]) -> Value | None:
    """Bounds of stored integers, as of 4 bits in bytes, as bounds of the numbers that these stand for."""
    x, clip, type = found["x"], found.op("clip", Clip).operator, found.root.result.type
    if x.type != type or type.quant is None or len(type.quant.scale) != 1:
        return None
    scale, zero = parameters(type)
    low, high = ((bound - zero) * float(scale) for bound in (clip.min, clip.max))
    return found.emit(Clip(low, high), x, result_types=[type])


_TYPED = on_quantized(
    Rule("typed_dequantize", node(DequantizeLinear), _typed_dequantize),
    Rule("typed_quantize", node(QuantizeLinear), _typed_quantize),
    Rule(
        "storage_cast_and_back", node(StorageCast, node(StorageCast, "x", single_use=False)), operand_of_the_same_type
    ),
    Rule("typed_clip", node(StorageCast, node(Clip, node(StorageCast, "x"), name="clip")), _typed_clip),
)
"""Scales and zero points that are constants leave the operands for the types."""


def _type_borders(function: Function) -> int:
    """Quantised types for plain integers that are inputs, or outputs, and nothing but cast; how many."""
    changed = 0
    for parameter in function.parameters:
        users = parameter.users
        types = {user.result.type for user in users if isinstance(user.operator, StorageCast)}
        casts = parameter.type.quant is None and all(isinstance(user.operator, StorageCast) for user in users)
        if len(types) == 1 and casts and not parameter.is_returned:
            parameter.type = types.pop()
            for user in users:
                user.replace_with(parameter)
            changed += 1
    for index, value in enumerate(function.results):
        producer = value.producer
        if is_op(producer, StorageCast) and value.type.quant is None:
            function.set_operand(index, producer.operands.x)
            erase_dead(producer)
            changed += 1
    return changed
