"""Leave out the rounding of values that the accelerator never has: those inside what it computes as one operator."""

from collections.abc import Iterator

import numpy as np

from ...ir.clone import clone_module
from ...ir.core import Constant, Module, Value, is_op
from ...ir.ops.activation import Tanh
from ...ir.ops.elementwise import Add, Mul, Pow
from ...ir.ops.quantization import DequantizeLinear
from ...ir.ops.reduction import Reduce, ReduceMean
from ...ir.ops.softmax import Softmax
from ...ir.ops.unary import Erf, Sqrt
from ...runtime.machines.machine import DEFAULT
from ..base import UNPLANNED, Pass, Record, erase_dead
from ..pattern import Driver
from ..quantization.sink_dequantize_rules import MOVING
from ..simplify import activation_rules, normalization_rules
from ..simplify.canonicalize import Canonicalize
from ..simplify.eliminate_common_subexpressions import EliminateCommonSubexpressions
from ..simplify.fold_constants import FoldConstants
from ..simplify.linear_rules import scalar_of
from ..simplify.remove_fake_quantization import rounding
from .fuse_attention import FuseAttention

_SPELLED = Driver((*(rule for rule in activation_rules.RULES if "gelu" in rule.name), *normalization_rules.RULES))
"""Of operators of which the accelerator lacks some. What is spelled of those that it has rounds as the network says."""


class InnerRounding(Pass):
    """Removes ``dequantize_linear(quantize_linear(x))`` where, if there were none, ``x`` would be part of attention, a
    GELU or a normalisation: quantisers of graphs round behind most operators that spell one together, and leave some in
    floating point. What is computed is nearer to the network before it was quantised.

    Integers that start or end at zero may do the work of a ReLU: they stay unless ``x`` is never negative anyhow.
    ``machine``: name of a sample machine or path of a machine file.

    Comes before the quantisation is imported."""

    requires = (UNPLANNED,)

    machine: str = DEFAULT

    def apply(self, module: Module, record: Record) -> bool:
        pairs = {op: found for op in module.main.ops if (found := rounding(op)) is not None}
        if not any(is_op(op, Softmax, Erf, Tanh, Reduce) for op in module.main.ops):
            return False
        trial = clone_module(module)
        twins = dict(zip(module.main.ops, trial.main.ops, strict=True))
        for place, twin in enumerate(twins.values()):
            for index, result in enumerate(twin.results):
                result.name = f"{place}.{index}"
        FoldConstants(keep_factors=True).run(trial)
        for dequantize, (quantize, quant) in pairs.items():
            after, before = twins[dequantize], twins[quantize]
            limits, zeros = np.iinfo(quantize.operator.to.numpy), quant.zero_point
            # Of constants that are made of others.
            if before.function is None or after.function is None or limits.max in zeros:
                continue
            if limits.min not in zeros or _is_positive(before.inputs[0]):
                after.replace_with(before.inputs[0])
                erase_dead(before)
        inside, stored, inner = {*_inside(trial, self.machine)}, set[Value](), set[Value]()
        for place, op in enumerate(twins):
            if op in pairs and not inner.isdisjoint(pairs[op][0].inputs):
                op.replace_with(pairs[op][0].inputs[0])
                erase_dead(pairs[op][0])
                record.counts["pair"] += 1
            elif is_op(op, DequantizeLinear):
                stored.update(op.results)
            elif any(value in stored or value in inner for value in op.inputs):
                # What is not rounded before is rounded here.
                parts = {value for index, value in enumerate(op.results) if f"{place}.{index}" in inside}
                inner |= parts
                stored.update(op.results if isinstance(op.operator, MOVING) and not parts else ())
        return record.counts.total() > 0


def _is_positive(value: Value, levels: int = 4) -> bool:
    """Whether a value is never negative."""
    op = value.producer
    if op is None or not levels:
        return isinstance(value, Constant) and bool((value.array >= 0).all())
    first, last = op.inputs[0], op.inputs[-1]
    is_square = scalar_of(last) == 2 if is_op(op, Pow) else is_op(op, Mul) and first is last
    is_above = is_op(op, Add) and is_op(first.producer or last.producer, Erf, Tanh) and 1 in map(scalar_of, op.inputs)
    is_made = is_op(op, Add, Mul, ReduceMean) and all(_is_positive(each, levels - 1) for each in op.inputs)
    return is_op(op, Softmax, Sqrt) or is_square or is_above or is_made


def _inside(trial: Module, machine: str) -> Iterator[str]:
    """The names of values that become part of something larger, of a network in real numbers that is used up."""
    simplify = Canonicalize(), EliminateCommonSubexpressions()
    for passes, fuse in (((), _SPELLED), (simplify, FuseAttention(1, True, machine))):
        for each in passes:
            each.run(trial)
        before = {value.name for op in trial.main.ops for value in op.results}
        fuse.run(trial, Record("")) if isinstance(fuse, Driver) else fuse.run(trial)
        yield from before.difference(value.name for op in trial.main.ops for value in op.results)
