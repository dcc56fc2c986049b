"""Copies of modules: one network compiled several ways starts from one import."""

from collections.abc import Collection, Sequence

from .core import Function, Module, Op, Value, types_of


def clone_module(module: Module, functions: Collection[str] | None = None) -> Module:
    """A module that says the same and shares nothing that can change; the arrays of constants are shared.
    ``functions``: names of the functions to copy, with the constants that they read; all of both by default."""
    copy = Module(module.name)
    copy.folding = module.folding
    copy.metadata = dict(module.metadata)
    constants: dict[Value, Value] = {}
    for constant in module.constants.values():
        twin = copy.add_constant(constant.name, constant.array, constant.type)
        twin.base, constants[constant] = constant.base, twin
    for function in module.functions.values():
        if functions is None or function.name in functions:
            copy.add_function(_clone_function(function, constants))
    if functions is not None:
        copy.drop_unused_constants()
    return copy


def clone_op(op: Op, operands: Sequence[Value | None]) -> Op:
    """A detached op that says the same of other operands, of the same types."""
    types = types_of(op.results)
    names = [value.name for value in op.results]
    twin = Op(op.operator, operands, types, names=names, loc=op.loc, annotations=op.annotations)
    _copy_origins(op.results, twin.results)
    return twin


def put_back(module: Module, function: Function) -> None:
    """Put a copy of a function, one of a copy of this module, into the place of the one that it was copied from."""
    before = module.functions[function.name]
    before.set_results(())
    for op in reversed([*before.ops]):
        op.erase()
    read = {value for op in function.ops for value in op.inputs if value.producer is None}
    constants: dict[Value, Value] = {v: module.constants[v.name] for v in read.difference(function.parameters)}
    module.functions[function.name] = _clone_function(function, constants)


def _copy_origins(values: Sequence[Value], twins: Sequence[Value]) -> None:
    for value, twin in zip(values, twins, strict=True):
        twin.origin = value.origin


def _clone_function(function: Function, constants: dict[Value, Value]) -> Function:
    copy = Function(function.name, [(p.name, p.type) for p in function.parameters])
    copy.annotations = dict(function.annotations)
    _copy_origins(function.parameters, copy.parameters)
    values: dict[Value, Value] = {**constants, **dict(zip(function.parameters, copy.parameters, strict=True))}
    for op in function.ops:
        twin = copy.insert(clone_op(op, [values[v] if v is not None else None for v in op.operands]))
        values.update(zip(op.results, twin.results, strict=True))
    copy.set_results([values[v] for v in function.results], function.result_names)
    return copy
