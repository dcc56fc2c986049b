"""Turn each region of the device into a function of its own."""

from collections.abc import Hashable

import networkx

from ...ir.annotations import ON, PLAN, REGION
from ...ir.clone import clone_module, clone_op
from ...ir.core import Function, Module, Op, Value
from ...ir.ops.call import Call
from ...ir.text.names import Names
from ...runtime.machines.machine import Machine
from ..base import PLACED, UNPLANNED, Pass, Record
from ..placement.choice import producers_of
from ..placement.device_support import is_weight, map_operands
from ..placement.partition import CONVEX, regions_of
from ..placement.regions import quotient


def device_functions(module: Module) -> list[Function]:
    """The functions that the device runs."""
    return [f for f in module.functions.values() if ON.get(f) == "device"]


def device_ops(module: Module) -> list[Op]:
    """The ops of the functions that the device runs."""
    return [op for function in device_functions(module) for op in function.ops]


def device_part(module: Module) -> Module:
    """A copy of the functions that the device runs."""
    return clone_module(module, {function.name for function in device_functions(module)})


def copy_op(function: Function, op: Op, copies: dict[Value, Value]) -> None:
    """Append a copy of an op to a function, which reads the copies of what the op reads; weights stay as they are.
    ``copies``: of maps, those of the results of the op are added."""
    operands = [
        value if value is None or is_weight(op, index) else copies[value] for index, value in enumerate(op.operands)
    ]
    copies.update(zip(op.results, function.insert(clone_op(op, operands)).results, strict=True))


class OutlineDevice(Pass):
    """Moves the ops of region k into a function ``device_k``, annotated ``on=device``, and calls it instead.

    Parameters of the function are the tensors that the region reads from outside, constants that are feature maps
    among them; weights stay constants of the module. Results are the tensors that are read or returned outside, each
    once. No parameter is a result. ``main`` is put in an order in which each call comes after what it reads."""

    requires = (PLACED, UNPLANNED, CONVEX)
    ensures = (PLACED,)

    def apply(self, module: Module, record: Record) -> bool:
        regions = regions_of(module)
        if not regions:
            return False
        _sort(module.main, regions)
        for number in sorted(set(regions.values())):
            ops = [op for op in module.main.ops if regions.get(op) == number]
            _outline(module, ops, number)
            record.counts["region"] += 1
            record.counts["op"] += len(ops)
        return True


def _sort(function: Function, regions: dict[Op, int]) -> None:
    """Bring the ops of each region together, after what it reads; otherwise the order stays as it is."""
    order = [*function.ops]
    graph = quotient(producers_of(function), regions)
    members: dict[Hashable, list[Op]] = {}
    for op in order:
        members.setdefault(("region", regions[op]) if op in regions else op, []).append(op)
    # A region stands where its last op stood, which leaves more room for what it waits for.
    position = {op: index for index, op in enumerate(order)}
    last = {node: position[ops[-1]] for node, ops in members.items()}
    nodes = networkx.lexicographical_topological_sort(graph, key=last.__getitem__)
    found = [op for node in nodes for op in members[node]]
    for op, following in zip(reversed(found[:-1]), reversed(found[1:]), strict=True):
        function.move_before(op, following)


def _outline(module: Module, ops: list[Op], number: int) -> None:
    """Replace ``ops``, which follow each other, by a call."""
    inside = set(ops)
    name = Names(module.functions).take(f"device_{number}")
    function = module.add_function(Function(name))
    ON.set(function, "device")
    names = Names()
    copies: dict[Value, Value] = {}
    for op in ops:
        for value in map_operands(op):
            if value not in copies and value.producer not in inside:
                copies[value] = function.add_parameter(names.take(value.name), value.type)
    arguments = [*copies]
    for op in ops:
        copy_op(function, op, copies)
    made = (value for op in ops for value in op.results)
    results = [value for value in made if value.is_returned or not inside.issuperset(value.users)]
    function.set_results([copies[value] for value in results], [names.take(v.name) for v in results])
    call = Op(
        Call(name),
        arguments,
        [value.type for value in results],
        names=[value.name for value in results],
        loc=tuple(dict.fromkeys(node for op in ops for node in op.loc)),
    )
    ON.set(call, "device")
    REGION.set(call, number)
    module.main.insert(call, ops[0])
    for value, result in zip(results, call.results, strict=True):
        value.replace_all_uses(result)
    for op in reversed(ops):
        op.erase()


def planned_machine(function: Function, machine: Machine) -> Machine:
    """The machine, or one that has less of what the function's ``plan`` names.
    Raises MachineError: there is no such machine."""
    plan = PLAN.get(function)
    return machine.reduced(dict(plan.reduced)) if plan is not None else machine
