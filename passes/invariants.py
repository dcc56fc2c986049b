"""Facts about a whole module that passes require and ensure; the base class of passes checks them by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from tilewright.errors import PassError

from ..ir.annotations import ALIAS, AT, ON
from ..ir.calls import host_functions
from ..ir.core import Module, Op, Value


@dataclass(frozen=True)
class Invariant:
    """A named, checkable fact.

    Attributes:
        name: as it stands in messages, such as ``placed``.
        violation: the first op, value or text that breaks it, ``None`` where it holds.
    """

    name: str
    violation: Callable[[Module], Op | Value | str | None]


def _first_with_layout(module: Module) -> Value | None:
    parameters = (parameter for function in module.functions.values() for parameter in function.parameters)
    results = (value for op in module.ops for value in op.results)
    return next((v for v in chain(parameters, module.constants.values(), results) if v.type.layout), None)


def proved(name: str, check: Callable[[Module], object]) -> Invariant:
    """The invariant that holds where ``check`` raises no PassError."""

    def violation(module: Module) -> str | None:
        try:
            check(module)
        except PassError as error:
            return str(error)
        return None

    return Invariant(name, violation)


def is_written_plainly(value: Value) -> bool:
    """Whether an op makes the value, in row-major order, so that the op can write into the caller's buffer."""
    return value.producer is not None and not value.type.layout


def _first_bad_output(module: Module) -> Value | None:
    for function in host_functions(module):
        seen: set[Value] = set()
        for value in function.results:
            if value in seen or not is_written_plainly(value):
                return value
            seen.add(value)
    return None


def _first(is_wrong: Callable[[Op], bool]) -> Callable[[Module], Op | None]:
    return lambda module: next(filter(is_wrong, module.ops), None)


PLACED = Invariant("placed: every op says where it runs", _first(lambda op: not ON.is_at(op)))
PLAIN = Invariant("plain: every value is in row-major order", _first_with_layout)
UNPLANNED = Invariant("unplanned: no op has an address yet", _first(lambda op: AT.is_at(op) or ALIAS.is_at(op)))
OUTPUTS_APART = Invariant("outputs apart: each output is a row-major op result of its own", _first_bad_output)
NO_DEAD_OPS = Invariant("no dead ops: every op is used", _first(lambda op: not any(v.uses for v in op.results)))
