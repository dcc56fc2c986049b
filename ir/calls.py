"""What ops run of other functions: callees and bodies, and the functions of the device that run together."""

from collections.abc import Iterable, Iterator

from tilewright import limits
from tilewright.errors import IRError

from .annotations import CARD, ON
from .core import Constant, Function, Module, Op, is_op
from .ops.call import Call
from .ops.control_flow import ControlFlow, Loop


def callees(op: Op) -> tuple[str, ...]:
    """Names of the functions that an op runs."""
    if is_op(op, Call):
        return (op.operator.callee,)
    return op.operator.bodies if is_op(op, ControlFlow) else ()


def host_functions(module: Module, names: Iterable[str] = ("main",)) -> list[Function]:
    """Functions and the bodies that they run, directly or not: each once, after those that it runs itself.
    Raises IRError: bodies are nested too deeply."""
    found: dict[str, Function] = {}

    def visit(name: str, depth: int) -> None:
        if depth > limits.BODIES:
            expected = f"at most {limits.BODIES} {limits.BODIES.what}"
            raise IRError("branches and loops are nested too deeply", op=f"@{name}", expected=expected)
        function = module.main if name == "main" else module.functions[name]
        for op in function.ops:
            for body in op.operator.bodies if is_op(op, ControlFlow) else ():
                if body not in found:
                    visit(body, depth + 1)
        found[name] = function

    for name in names:
        if name not in found:
            visit(name, 0)
    return [*found.values()]


def is_endless(module: Module, op: Op) -> bool:
    """Whether nothing but data bounds how often the op, or an op of its bodies, takes the steps of a loop."""
    bodies = host_functions(module, op.operator.bodies) if is_op(op, ControlFlow) else ()
    loops = [each for each in (op, *(each for body in bodies for each in body.ops)) if is_op(each, Loop)]
    most = [loop.inputs[0] for loop in loops]
    return not all(isinstance(each, Constant) and each.array <= limits.LOOP_STEPS for each in most)


def macs_of(module: Module, op: Op) -> int:
    """Multiply-accumulates of an op: of bodies those of the larger branch, and of all steps whose number is known."""
    if not is_op(op, ControlFlow):
        return op.macs
    bodies = (module.functions[body].ops for body in op.operator.bodies)
    macs = max(sum(macs_of(module, each) for each in body) for body in bodies)
    return macs * steps_of(op)


def steps_of(op: Op[ControlFlow]) -> int:
    """How often an op runs its body: 1 where data decide, or for a branch."""
    most = op.inputs[0] if is_op(op, Loop) else None
    steps = int(most.array) if isinstance(most, Constant) else 1
    return steps if 0 <= steps <= limits.LOOP_STEPS else 1


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
    # Who replaces weights has modules of device functions alone.
    host = host_functions(module, module.functions.keys() & {"main"})
    for function in module.functions.values():
        if function in host:
            continue
        if ON.get(function) != "device":
            callees = [module.functions[op.operator.callee] for op in function.ops if is_op(op, Call)]
            found[function.name] = sorted(callees, key=lambda each: CARD.get(each) or 0)
        elif not CARD.is_at(function):
            found[function.name] = [function]
    return found
