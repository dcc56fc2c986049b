"""Weights of 16 bits: the sum of two layers with weights of 8, of which the second has what the first rounds off."""

from collections.abc import Collection

from ...ir.accumulators import channel_axis
from ...ir.annotations import MACS
from ...ir.core import Constant, Module, Op, Value
from ...ir.ops.elementwise import Add
from ...ir.ops.quantization import real
from ...ir.text.names import Names
from .parameters import on_own_grid, per_channel
from .plan import Plan


def split_weights(module: Module, plan: Plan, wide: Collection[str]) -> set[Value]:
    """Make two layers and their sum of each convolution and product whose result has 16 bits, or stays a real number,
    and whose weights lie on no grid of 8.

    The first has the nearest of 254 steps for each channel, and the bias; the second what is left, at most half of a
    step, of which its own integers make 254 again.
    ``wide``: names of the values of the plan that have 16 bits.
    Returns what the layers and the sums make."""
    made: set[Value] = set()
    parameters, results = module.main.parameters, (value for op in module.main.ops for value in op.results)
    names = Names(value.name for value in (*parameters, *results))
    known = {*plan.values.values(), *(op.result for op in plan.real)}
    ends = {value for name, value in plan.values.items() if name in wide} | {op.result for op in plan.real}
    for op in plan.anchors:
        w, function = op.inputs[1], op.function
        if _rounded_as(op.result, known) not in ends or not isinstance(w, Constant) or on_own_grid(w.array) is not None:
            continue
        integers, type = per_channel(w.array, channel_axis(op), None, 1.0)
        assert function is not None
        coarse = real(integers, type)
        y = op.result
        rest = module.add_constant(f"{w.name}.rest", w.array - coarse)
        second = Op(op.operator, [op.inputs[0], rest], [y.type], names=[names.take(f"{y.name}.rest")], loc=op.loc)
        function.insert_after(second, op)
        total = Op(Add(), [y, second.result], names=[y.name], loc=op.loc)
        function.insert_after(total, second)
        y.replace_all_uses(total.result, but=[total])
        op.set_operand(1, module.add_constant(w.name, coarse))
        total.result.origin, y.origin, y.name = y.origin, None, names.take(f"{y.name}.coarse")
        macs = MACS.get(op)
        if macs is not None:
            MACS.set(second, macs)
        made |= {y, second.result, total.result}
    module.drop_unused_constants()
    return made


def _rounded_as(value: Value, known: Collection[Value]) -> Value:
    """The value that becomes integers in place of this one, such as a clamp or a sum."""
    while value not in known and len(value.uses) == 1:
        reader = next(iter(value.uses))[0]
        if not isinstance(reader, Op):
            break
        value = reader.result
    return value
