"""Reference interpreter: runs a module with the NumPy reference of each operator, one op at a time."""

from collections.abc import Callable, Mapping

import numpy as np

from tilewright.errors import InputError

from .annotations import EXTENTS
from .core import Constant, Function, Module, Op, Value, is_op, types_of
from .ops.call import Call
from .ops.control_flow import ControlFlow

Observer = Callable[[Op, tuple[np.ndarray, ...]], None]


def run(module: Module, inputs: Mapping[str, np.ndarray], *, observe: Observer | None = None) -> dict[str, np.ndarray]:
    """Outputs of the function ``main`` by name.
    ``inputs``: an array for each parameter, of its logical shape and dtype.
    ``observe``: called with each op and its results, in order, for debugging and calibration.
    Raises InputError: an input is missing, unknown, or of the wrong shape or dtype."""
    function = module.main
    names = {p.name for p in function.parameters}
    unknown = next((name for name in inputs if name not in names), None)
    if unknown is not None:
        raise InputError("unknown input", expected=", ".join(sorted(names)), found=unknown)
    for parameter in function.parameters:
        if parameter.name not in inputs:
            raise InputError(f"input {parameter.name!r} is missing", expected=parameter.type.plain)
        array = inputs[parameter.name]
        if array.shape != parameter.type.shape or array.dtype != parameter.type.dtype.numpy:
            raise InputError(
                f"input {parameter.name!r} does not fit",
                expected=f"{parameter.type.dtype.numpy}{list(parameter.type.shape)}",
                found=f"{array.dtype}{list(array.shape)}",
            )
    results = run_function(module, function, [inputs[p.name] for p in function.parameters], observe=observe)
    return _cut(function, dict(zip(function.result_names, results, strict=True)))


def _cut(function: Function, results: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What users see: results of open extents as far as they are there, without those that say how far that is."""
    arrays, extents = [*results.values()], EXTENTS.get(function) or ()
    for result, axis, said_by in extents:
        arrays[result] = arrays[result][(slice(None),) * axis + (slice(int(arrays[said_by])),)]
    hidden = {each.said_by for each in extents}
    return {name: array for index, (name, array) in enumerate(zip(results, arrays, strict=True)) if index not in hidden}


def run_function(
    module: Module, function: Function, arguments: list[np.ndarray], *, observe: Observer | None = None
) -> list[np.ndarray]:
    """Results of one function of ``module`` on logical arrays, in the order of its results."""
    values: dict[Value, np.ndarray] = dict(zip(function.parameters, arguments, strict=True))
    remaining = {value: len(value.uses) for op in function.ops for value in op.results}

    def read(value: Value) -> np.ndarray:
        return value.array if isinstance(value, Constant) else values[value]

    for op in function.ops:
        arrays = [read(value) if value is not None else None for value in op.operands]
        try:
            results = run_op(module, op, arrays)
        except InputError as error:
            if error.node is None:
                error.op, error.node = error.op or op.name, op.node
                error.message += f", in the function {function.name!r}" if function.name != "main" else ""
            raise
        if observe is not None:
            observe(op, results)
        values.update(zip(op.results, results, strict=True))
        for value in op.inputs:
            if value in remaining:
                remaining[value] -= 1
                if remaining[value] == 0:
                    del values[value]
    return [read(value) for value in function.results]


def run_op(module: Module, op: Op, arrays: list[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """Results of one op on logical arrays."""
    if is_op(op, Call):
        present = [array for array in arrays if array is not None]
        return _call(module, module.functions[op.operator.callee], present, op.operator.shares)
    if isinstance(op.operator, ControlFlow):
        present = [array for array in arrays if array is not None]
        return tuple(
            op.operator.run(
                lambda body, given: run_function(module, module.functions[body], given), present, types_of(op.results)
            )
        )
    return op.evaluate(arrays)


def _call(module: Module, function: Function, arrays: list[np.ndarray], shares: int) -> tuple[np.ndarray, ...]:
    """A function applied to each share of the operands."""
    if shares == 1:
        return tuple(run_function(module, function, arrays))
    cut = [
        [array] * shares if array.shape == value.type.shape else np.split(array, shares)
        for array, value in zip(arrays, function.parameters, strict=True)
    ]
    results = [run_function(module, function, [parts[share] for parts in cut]) for share in range(shares)]
    return tuple(np.concatenate(parts) for parts in zip(*results, strict=True))
