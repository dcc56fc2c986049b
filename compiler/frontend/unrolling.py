"""Loops as steps one after the other, for formats that have none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright import limits

from ...ir.clone import clone_module, clone_op
from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.op import Operator
from ...ir.ops.control_flow import ControlFlow, Loop
from ...ir.ops.movement import Concat
from ...ir.ops.shape import Reshape


def unrolled(module: Module) -> Module:
    """A copy in which loops of ``main`` are what their steps do, where it is known how many they take, and as long as
    that is :data:`limits.WRITTEN_STEPS` together at most; the module itself if it has no loop.
    """
    if not any(is_op(op, Loop) for op in module.main.ops):
        return module
    module = clone_module(module)
    left = int(limits.WRITTEN_STEPS)
    for op in module.main.ops:
        if not is_op(op, Loop):
            continue
        steps = _known_steps(module, op)
        # A step is a reshape for each piece, too.
        written = steps * (len([*module.functions[op.operator.body].ops]) + len(op.results))
        if 0 < written <= left:
            left -= written
            op.replace_with(*_take(module, op, steps))
    return module


def _known_steps(module: Module, op: Op[Loop]) -> int:
    """How many steps a loop takes whatever the data; 0 where that is not known, or its body has bodies itself."""
    most, going = op.inputs[:2]
    body = module.functions[op.operator.body]
    goes_on = (going, body.results[0])
    is_flat = not any(is_op(each, ControlFlow) for each in body.ops)
    if not is_flat or not isinstance(most, Constant) or not all(isinstance(x, Constant) and x.array for x in goes_on):
        return 0
    steps = int(most.array)
    return steps if all(each.type.shape[0] == steps for each in op.results[op.operator.states : -1]) else 0


def _take(module: Module, op: Op[Loop], steps: int) -> Sequence[Value]:
    """What the loop gives, of ops in front of it."""
    body, count = module.functions[op.operator.body], op.operator.states
    states, others = op.inputs[2 : op.operator.given_from], op.inputs[op.operator.given_from :]

    def emit(operator: Operator, *operands: Value) -> Value:
        return module.main.insert(Op(operator, operands, loc=op.loc), op).result

    stacked: list[list[Value]] = [[] for _ in op.results[count:-1]]
    for index in range(steps):
        number = module.add_constant("step", np.asarray(index))
        values: dict[Value | None, Value | None] = dict(zip(body.parameters, (number, *states, *others), strict=True))
        for each in body.ops:
            twin = clone_op(each, [values.get(value, value) for value in each.operands])
            values.update(zip(each.results, module.main.insert(twin, op).results, strict=True))
        after = [values.get(value) or value for value in body.results[1:]]
        states = after[:count]
        for pieces, piece in zip(stacked, after[count:], strict=True):
            pieces.append(emit(Reshape((1, *piece.type.shape)), piece))
    taken = module.add_constant("steps", np.asarray(steps))
    return (*states, *(emit(Concat(0), *pieces) for pieces in stacked), taken)
