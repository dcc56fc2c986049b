"""An op without kernel as a module of its own, which the reference runs."""

from __future__ import annotations

from ..ir.calls import host_functions
from ..ir.clone import clone_module
from ..ir.core import Constant, Function, Module, Op, Value, is_op, types_of
from ..ir.ops.control_flow import ControlFlow


def constants_inside(module: Module, op: Op) -> list[Constant]:
    """The constants that the bodies of an op read, each once."""
    read = (value for body in _bodies(module, op) for each in body.ops for value in each.inputs)
    return [value for value in dict.fromkeys(read) if isinstance(value, Constant)]


def alone(module: Module, op: Op) -> Module:
    """A module whose ``main`` applies one op.

    Constants become parameters, since they are stored already: those that are operands, and behind all operands those
    that :func:`constants_inside` gives, which each body is handed on.
    """
    inside = constants_inside(module, op)
    single = clone_module(module, [body.name for body in _bodies(module, op)])
    for body in single.functions.values():
        lifted = {single.constants[each.name]: _parameter(body, f"constant{i}", each) for i, each in enumerate(inside)}
        for each in body.ops:
            for index, value in enumerate(each.operands):
                if isinstance(value, Constant):
                    each.set_operand(index, lifted[value])
            if is_op(each, ControlFlow):
                wider = Op(each.operator, [*each.operands, *lifted.values()], types_of(each.results), loc=each.loc)
                each.replace_with(*body.insert(wider, each).results)
    single.drop_unused_constants()
    main = single.add_function(Function("main"))
    operands = [_parameter(main, f"operand{i}", v) if v is not None else None for i, v in enumerate(op.operands)]
    operands += [_parameter(main, f"constant{i}", each) for i, each in enumerate(inside)]
    copy = main.append(op.operator, operands, [value.type.plain for value in op.results], loc=op.loc)
    main.set_results(copy.results, [f"result{i}" for i in range(len(copy.results))])
    return single


def _parameter(function: Function, name: str, value: Value) -> Value:
    taken = {each.name for each in function.parameters}
    while name in taken:
        name += "_"
    return function.add_parameter(name, value.type.plain)


def _bodies(module: Module, op: Op) -> list[Function]:
    """The functions that an op runs, directly or not."""
    return host_functions(module, op.operator.bodies) if is_op(op, ControlFlow) else []
