"""What a call runs: ops of other functions, and the functions of the device that run together."""

from __future__ import annotations

from collections.abc import Iterator

from .annotations import CARD, ON
from .core import Function, Module, Op, is_op
from .ops.call import Call


def called_ops(module: Module, op: Op) -> Iterator[Op]:
    """The op itself, or in its place those of the function that it calls, in order of execution."""
    if is_op(op, Call):
        for each in module.functions[op.operator.callee].ops:
            yield from called_ops(module, each)
    else:
        yield op


def device_programs(module: Module) -> dict[str, list[Function]]:
    """What the device runs at one call, by the name that is called: a function, or one for each card."""
    found: dict[str, list[Function]] = {}
    for function in module.functions.values():
        if function.name == "main":
            continue
        if ON.get(function) != "device":
            callees = [module.functions[op.operator.callee] for op in function.ops if is_op(op, Call)]
            found[function.name] = sorted(callees, key=lambda each: CARD.get(each) or 0)
        elif not CARD.is_at(function):
            found[function.name] = [function]
    return found
