"""Turn the quantisation that a model brings with it into ops on quantised types."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.core import Function, Module, is_op
from ...ir.ops.quantization import StorageCast
from ..base import Pass, Record, erase_dead
from ..invariants import UNPLANNED
from ..pattern import Driver
from . import accumulators, integer_rules, sink_dequantize_rules, typed_quantization_rules


@dataclass(frozen=True)
class ImportQuantization(Pass):
    """Recognises QDQ patterns, and what importers made of QLinear operators.

    Scales and zero points that are constants become part of the types. ``quantize(f(dequantize(x)))``, a ReLU or Clip
    after ``f`` included, becomes ``f`` on quantised types where ``f`` declares a rule for them; movement of elements
    comes to stand on the side of the integers, and padding before a convolution goes into it. What has no rule stays
    in floating point between ``dequantize`` and ``quantize``. Inputs and outputs of the network keep their element
    types.

    Comes before passes that compute constants: the integers of ``dequantize`` of a constant must still be there.
    """

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        Driver((*typed_quantization_rules.RULES, *sink_dequantize_rules.RULES)).run(module, record)
        record.counts["typed border"] = sum(map(_type_borders, module.functions.values()))
        Driver((*sink_dequantize_rules.RULES, *integer_rules.RULES, *accumulators.RULES)).run(module, record)
        return record.counts.total() > 0


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
        if value.producer is not None and is_op(value.producer, StorageCast) and value.type.quant is None:
            producer = value.producer
            function.set_operand(index, producer.operands.x)
            erase_dead(producer)
            changed += 1
    return changed
