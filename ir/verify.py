"""Well-formedness of a module: what every pass may rely on and must leave behind."""

from collections import Counter
from collections.abc import Collection
from operator import is_

from tilewright.errors import IRError, TilewrightError, VerifyError

from .annotations import EXTENTS, annotation_error
from .calls import callees as callees_of
from .core import Constant, Function, Module, Op, Value, is_op, types_of
from .layout import physical_shape
from .op import QuantizationRule
from .ops.call import Call, joined
from .ops.control_flow import COUNT, ControlFlow
from .text.printer import print_op
from .types import TensorType

_MOVING = (QuantizationRule.NONE, QuantizationRule.PRESERVE, QuantizationRule.UNIFY)
"""Rules under which results are of the element type that is inferred, quantised or not."""


def verify(module: Module, *, stage: str | None = None, elsewhere: Collection[str] = ()) -> None:
    """Check the whole module.

    Invariants: a value is defined before it is used, in the same function or as a constant of the module; uses and
    operands agree; each result has the type that the operator infers (quantisation and layout are the pass's
    choice, shape and element type are not, but for quantised results); a call passes and gets what its function
    takes and returns, so do branches and loops, each with bodies of its own, and no function calls itself through
    others; layouts exist; annotations are those declared, of the declared types; names of inputs, outputs, functions
    and constants are unique.
    ``stage``: the pass to name in the message.
    ``elsewhere``: names of functions that may be called although they are not in this module.
    Raises VerifyError: names function, op and source node, and shows the op."""
    for name, constant in module.constants.items():
        if constant.name != name:
            raise VerifyError("a constant is filed under another name", stage=stage, expected=name, found=constant.name)
        _check_layout(constant.type, f"constant @{name}", stage)
    for function in module.functions.values():
        _verify_function(module, function, stage, elsewhere)
    _check_no_circle(module, stage)
    bodies = Counter(body for op in module.ops if is_op(op, ControlFlow) for body in op.operator.bodies)
    shared = next((body for body, count in bodies.items() if count > 1), None)
    if shared is not None:
        raise VerifyError("a function is a body twice", stage=stage, op=f"@{shared}")


def _verify_function(module: Module, function: Function, stage: str | None, elsewhere: Collection[str]) -> None:
    where = f"@{function.name}"
    for kind, names in (("parameter", [p.name for p in function.parameters]), ("result", function.result_names)):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise VerifyError(f"two {kind}s have the same name", stage=stage, op=where, found=f"%{twice[0]}")
    error = annotation_error(function)
    if error is not None:
        raise VerifyError(error.message, stage=stage, op=where, expected=error.expected, found=error.found)
    _check_extents(function, where, stage)
    defined: set[Value] = set(function.parameters)
    for value in function.parameters:
        _check_layout(value.type, f"%{value.name}", stage)
        _check_uses(value, where, stage)
    for op in function.ops:
        for index, value in enumerate(op.operands):
            if value is None:
                continue
            _check_defined(module, value, defined, op, stage)
            if (op, index) not in value._uses:
                raise _op_error("an operand does not know of its use", op, stage)
        error = annotation_error(op)
        if error is not None:
            raise _op_error(error.message, op, stage, error.expected, error.found)
        if not (isinstance(op.operator, Call) and op.operator.callee in elsewhere):
            _verify_op(module, op, stage)
        for value in op.results:
            if value.producer is not op:
                raise _op_error("a result names another producer", op, stage)
            _check_uses(value, where, stage)
            defined.add(value)
    for value in function.results:
        if value not in defined and not isinstance(value, Constant):
            raise VerifyError("a returned value is not defined", stage=stage, op=where, found=f"%{value.name}")


def _check_uses(value: Value, where: str, stage: str | None) -> None:
    for user, index in value.uses:
        operands = user._results if isinstance(user, Function) else user._operands
        if index >= len(operands) or operands[index] is not value:
            raise VerifyError("a value lists a use that is none", stage=stage, op=where, found=f"%{value.name}")


def _check_defined(module: Module, value: Value, defined: set[Value], op: Op, stage: str | None) -> None:
    if isinstance(value, Constant):
        if module.constants.get(value.name) is not value:
            raise _op_error(f"constant @{value.name} is not in the module", op, stage)
    elif value not in defined:
        raise _op_error(f"operand %{value.name} is not defined before its use", op, stage)


def _op_error(message: str, op: Op, stage: str | None, expected: object = None, found: object = None) -> VerifyError:
    return VerifyError(
        f"{message}\n  {print_op(op)}", stage=stage, op=op.name, node=op.node, expected=expected, found=found
    )


def _check_extents(function: Function, where: str, stage: str | None) -> None:
    """Raise VerifyError unless what says extents of results stands behind all others, and these have the dimensions."""
    extents, types = EXTENTS.get(function) or (), types_of(function.results)
    visible = len(types) - len({each.said_by for each in extents})
    for each in extents:
        is_there = 0 <= each.result < visible and 0 <= each.axis < types[each.result].rank
        if not (is_there and visible <= each.said_by < len(types) and types[each.said_by] == COUNT):
            expected = "a dimension of a result, and an i64[] behind all results that have such dimensions"
            raise VerifyError("an extent is not that of a result", stage=stage, op=where, expected=expected, found=each)


def _check_layout(type: TensorType, what: str, stage: str | None) -> None:
    try:
        physical_shape(type)
    except IRError as error:
        raise VerifyError(error.message, stage=stage, op=what, expected=error.expected, found=error.found) from None


def _verify_op(module: Module, op: Op, stage: str | None) -> None:
    if is_op(op, Call):
        _verify_call(module, op, stage)
        return
    if isinstance(op.operator, ControlFlow):
        _verify_control_flow(module, op, op.operator, stage)
        return
    operands, results = types_of(op.operands), types_of(op.results)
    # None of them can change, and most passes leave most ops alone.
    state = op.operator, *operands, None, *results
    if len(state) == len(op.verified) and all(map(is_, state, op.verified)):
        return
    try:
        inferred = results if op.operator.GIVEN_RESULTS else op.operator.result_types(operands, op.loc)
    except TilewrightError as error:
        raise _op_error(error.message, op, stage, error.expected, error.found) from None
    if len(inferred) != len(results):
        raise _op_error("wrong number of results", op, stage, len(inferred), len(results))
    for expected, found in zip(inferred, results, strict=True):
        free_dtype = op.operator.QUANTIZATION not in _MOVING and (found.quant or expected.quant)
        is_same = expected.shape == found.shape and expected.place == found.place
        if not is_same or (expected.dtype is not found.dtype and not free_dtype):
            raise _op_error("a result has the wrong type", op, stage, expected, found)
    for value in op.results:
        _check_layout(value.type, f"%{value.name}", stage)
    if any(type is not None and type.quant is not None for type in (*operands, *results, *inferred)):
        problem = op.operator.check_quantized(operands, results)
        if problem is not None:
            raise _op_error(problem, op, stage)
    op.verified = state


def _verify_call(module: Module, op: Op[Call], stage: str | None) -> None:
    callee = op.operator.callee
    function = module.functions.get(callee)
    if function is None or callee == "main":
        known = ", ".join(f"@{name}" for name in module.functions if name != "main") or "none"
        raise _op_error("the call names no function that can be called", op, stage, known, f"@{callee}")
    if op.operator.shares < 1:
        raise _op_error("a call applies a function once at least", op, stage, "1 or more shares", op.operator.shares)
    for what, expected, found in (
        ("operands", types_of(function.parameters), types_of(op.operands)),
        ("results", types_of(function.results), types_of(op.results)),
    ):
        if len(expected) != len(found):
            raise _op_error(f"wrong number of {what} of a call", op, stage, len(expected), len(found))
        for part, given in zip(expected, found, strict=True):
            wanted = part
            if what == "results" or (part != given and part.rank):
                wanted = _joined(part, op, stage)
            if wanted != given:
                raise _op_error(f"the {what} of a call do not have the types of @{callee}", op, stage, wanted, given)


def _verify_control_flow(module: Module, op: Op, operator: ControlFlow, stage: str | None) -> None:
    if len(op.inputs) < len(op.operands):
        raise _op_error("an operand is missing", op, stage)
    given, results = types_of(op.inputs), types_of(op.results)
    if any(type.quant is not None or type.layout for type in (*given, *results)):
        raise _op_error(f"{op.name} takes plain tensors in row-major order", op, stage)
    try:
        signatures = operator.signatures(given, results)
    except IRError as error:
        raise _op_error(error.message, op, stage, error.expected, error.found) from None
    for body, *expected in signatures:
        function = module.functions.get(body)
        if function is None or body == "main":
            raise _op_error("the op names no function that can be its body", op, stage, found=f"@{body}")
        for what, wanted, values in zip(
            ("parameters", "results"), expected, (function.parameters, function.results), strict=True
        ):
            if types_of(values) != wanted:
                raise _op_error(f"the {what} of @{body} are not what the op needs", op, stage, wanted, types_of(values))


def _joined(part: TensorType, op: Op[Call], stage: str | None) -> TensorType:
    try:
        return joined(part, op.operator.shares)
    except IRError as error:
        raise _op_error(error.message, op, stage, error.expected, error.found) from None


def _check_no_circle(module: Module, stage: str | None) -> None:
    callees = {
        name: [*dict.fromkeys(callee for op in function.ops for callee in callees_of(op))]
        for name, function in module.functions.items()
    }
    finished: set[str] = set()
    for start in callees:
        # The functions that are being followed, each with those of its callees that were not looked at yet.
        path = {start: iter(callees[start])} if start not in finished else {}
        while path:
            name, pending = next(reversed(path.items()))
            callee = next(pending, None)
            if callee is None:
                finished.add(name)
                del path[name]
            elif callee in path:
                raise VerifyError("a function calls itself, directly or through others", stage=stage, op=f"@{callee}")
            elif callee in callees and callee not in finished:
                path[callee] = iter(callees[callee])
