"""Bodies of branches and loops as functions: what they read from around them, and what decides between them; and loops
as steps one after the other, for formats that have none.
"""

from collections.abc import Iterable, Sequence
from shlex import quote

import numpy as np

from tilewright import limits

from ...ir.clone import clone_module, clone_op
from ...ir.core import Constant, Function, Module, Op, Value, is_op
from ...ir.op import Operator
from ...ir.ops.control_flow import COUNT, ControlFlow, If, Loop, Refuse
from ...ir.ops.movement import Concat
from ...ir.ops.shape import Reshape
from ...ir.text.names import Names
from ...ir.types import TensorType
from .builder import ModuleBuilder


def outside_of(body: Function, results: Sequence[Value]) -> list[Value]:
    """The values of other functions that ops of ``body`` read, or that it is to return, each once."""
    own = {*body.parameters, *(value for op in body.ops for value in op.results)}
    read = dict.fromkeys((*(value for op in body.ops for value in op.inputs), *results))
    return [value for value in read if value not in own and not isinstance(value, Constant)]


def close_over(body: Function, results: Sequence[Value], outside: Sequence[Value]) -> None:
    """Let ``body`` return ``results``, with further parameters in the place of values of other functions."""
    names = Names(parameter.name for parameter in body.parameters)
    inner = {value: body.add_parameter(names.take(value.name), value.type) for value in outside}
    for op in body.ops:
        for index, value in enumerate(op.operands):
            if value in inner:
                op.set_operand(index, inner[value])
    names = Names()
    body.set_results([inner.get(value, value) for value in results], [names.take(value.name) for value in results])


def emit_loop(
    importer: ModuleBuilder, body: Function, given: Sequence[Value], results: Sequence[Value], rows: int
) -> tuple[Value, ...]:
    """The results of a loop whose body is to return these.
    ``given``: how many steps it takes at most, whether it takes the first, and the states at the beginning.
    ``results``: whether to go on, the states, and pieces.
    ``rows``: for how many steps there is room in what is stacked."""
    outside = outside_of(body, results)
    close_over(body, results, outside)
    types = [state.type for state in given[2:]]
    types += [TensorType((rows, *piece.type.shape), piece.type.dtype) for piece in results[len(given) - 1 :]]
    return importer.emit(Loop(body.name, len(given) - 2), *given, *outside, types=[*types, COUNT])


def counted(
    importer: ModuleBuilder, body: Function, given: Sequence[Value], results: Sequence[Value]
) -> tuple[Sequence[Value], Sequence[Value]]:
    """What `emit_loop` is given, with the number of steps and a condition that holds where pieces are stacked and no
    data decide when the loop ends: what a condition follows is often a counter, as exporters write it for frameworks
    without numbers of steps."""
    (most, going, *begin), (condition, *after) = given, results
    if len(after) == len(begin):
        return given, results
    if not (isinstance(most, Constant) and isinstance(going, Constant) and going.array):
        return given, results
    if isinstance(condition, Constant) and condition.array:
        return given, results
    states = dict(zip(body.parameters[1:], zip(begin, after, strict=False), strict=True))
    needed, pending = {condition}, [condition]
    while pending:
        value = pending.pop()
        op, (first, behind) = value.producer, states.get(value, (None, None))
        if op is not None and op.function is body and not op.operator.GIVEN_RESULTS:
            sources = op.inputs
        elif behind is not None and isinstance(first, Constant) and behind.type.plain == value.type.plain:
            sources = (first, behind)
        elif isinstance(value, Constant) or value is body.parameters[0]:
            sources = ()
        else:
            return given, results
        pending += [each for each in sources if each not in needed]
        needed.update(sources)
    ops = [op for op in body.ops if not needed.isdisjoint(op.results)]
    known: dict[Value, np.ndarray] = {value: value.array for value in needed if isinstance(value, Constant)}
    carried = [(value, *states[value]) for value in needed if value in states]
    known.update([(value, known[first]) for value, first, _ in carried])
    steps, work = max(0, most.array.item()), max(1, sum(op.work for op in ops))
    for index in range(min(steps, importer.countable // work)):
        importer.countable -= work
        known[body.parameters[0]] = np.asarray(index)
        for op in ops:
            arrays = op.evaluate([None if x is None else known[x] for x in op.operands])
            known.update(zip(op.results, arrays, strict=True))
        if index + 1 == steps or not known[condition]:
            always = importer.constant(np.asarray(True), "true")
            return [importer.constant(np.asarray(index + 1), "steps"), going, *begin], [always, *after]
        known.update([(value, known[behind]) for value, _, behind in carried])
    return given, results


def erase(ops: Iterable[Op]) -> None:
    """Take back ops, given in order, that nothing else reads."""
    for op in reversed([*ops]):
        op.erase()


def discard(module: Module, first: int) -> None:
    """Take back the functions of a module from the one of this number on, which no op outside of them runs."""
    for name in [*module.functions][: first - 1 : -1]:
        function = module.functions.pop(name)
        function.set_results([])
        erase(function.ops)


def scalar_inputs(module: Module, value: Value) -> list[Value]:
    """The inputs of the network that a value of ``main`` is computed from, if all are single numbers; else none."""
    found: dict[Value, None] = {}
    pending, seen = [value], {value}
    while pending:
        value = pending.pop()
        if value.producer is not None:
            sources = [each for each in value.producer.inputs if each not in seen]
            seen.update(sources)
            pending += sources
        elif not isinstance(value, Constant):
            if value not in module.main.parameters or value.type.elements != 1:
                return []
            found[value] = None
    return [*found]


def freeze_flags(names: Sequence[str]) -> str:
    """How a user makes inputs constants, on the command line and in Python."""
    flags = " ".join(f"--freeze {quote(name)}=VALUE" for name in names)
    return f"{flags} (freeze={{{', '.join(f'{name!r}: VALUE' for name in names)}}} in Python)"


def freeze_hint(importer: ModuleBuilder, *values: Value) -> str | None:
    """How a user makes values known at compile time; ``None`` where one follows from more than single numbers."""
    inputs = [scalar_inputs(importer.module, value) for value in values if not isinstance(value, Constant)]
    names = [*dict.fromkeys(each.name for found in inputs for each in found)] if all(inputs) else []
    told = f"It follows from {' and '.join(map(repr, names))} alone: fix it with {freeze_flags(names)}."
    return told if names else None


def warnings_of(module: Module) -> list[str]:
    """What users should know of the branches of an imported module: which of them single numbers alone decide on, and
    how to decide at compile time; and which of them cannot run."""
    found: list[str] = []
    for op in module.main.ops:
        names = [each.name for each in scalar_inputs(module, op.inputs[0])] if is_op(op, If) else []
        if names:
            said = f"{' and '.join(map(repr, names))} alone {'says' if len(names) == 1 else 'say'}"
            found.append(f"{said} which branch of If {op.node!r} runs: {freeze_flags(names)} compiles that one only")
    shapes = ", ".join(f"{each.name}: {each.type}" for each in module.main.parameters)
    return [
        *found,
        *(
            f"a branch of If {op.node!r} does not fit inputs of these shapes ({shapes}) and is left out, a run that "
            f"takes it ends there: {op.operator.why}"
            for op in module.ops
            if is_op(op, Refuse)
        ),
    ]


def hint_of_export(op: Op) -> str | None:
    """What a user can do where a format has no form of an op that runs bodies."""
    if is_op(op, Loop):
        most = f"and its steps are {limits.WRITTEN_STEPS} ops at most"
        return f"A loop is written step by step where constants alone say how many there are {most}: freeze inputs."
    return "Freeze the inputs that decide: one branch alone is written then." if is_op(op, If) else None


def unrolled(module: Module) -> Module:
    """A copy in which loops of ``main`` are what their steps do, where it is known how many they take, and as long as
    that is :data:`limits.WRITTEN_STEPS` together at most; the module itself if it has no loop."""
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
