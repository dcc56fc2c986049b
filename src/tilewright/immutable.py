"""Frozen dataclasses of which nothing is compiled when the program starts.

Of ``dataclass(frozen=True)`` Python compiles six methods for each class, some 0.8 ms: of all classes of the compiler a
quarter of the time of its import. Here the constructor alone is compiled, when there is a first object.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from functools import cache
from operator import attrgetter
from sys import modules
from typing import Any

from .blocks import dataclass_transform


class _Signature:
    """What `inspect` asks first how a class is called, which is told by the constructor alone, once it is compiled."""

    def __get__(self, instance: object, cls: type) -> None:
        if cls in _late:
            _constructor(cls)


_late: set[type] = set()
"""Classes that write no constructor of their own."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Immutable:
    """Base of dataclasses, which subclasses are without further ado, that never change, and are equal where they are of
    one class and their fields are, but for those with ``compare=False``."""

    __signature__ = _Signature()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" not in vars(cls):
            cls.__init__ = _late_constructor(cls)
            _late.add(cls)
        dataclass(init=False, eq=False, repr=False, match_args=False)(cls)

    def __eq__(self, other: object) -> bool:
        values = _values(type(self))
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(_values(type(self))(self))

    def __repr__(self) -> str:
        cls: Any = type(self)
        parts = (f"{part.name}={getattr(self, part.name)!r}" for part in fields(cls) if part.repr)
        return f"{cls.__qualname__}({', '.join(parts)})"

    def __setattr__(self, name: str, value: object) -> None:
        # The constructor sets each field once.
        values = self.__dict__
        if name in values or name not in _names(type(self)):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        values[name] = value

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


def _late_constructor(cls: type) -> Callable[..., None]:
    return lambda self, *values, **named: _constructor(cls)(self, *values, **named)


@cache
def _constructor(cls: Any) -> Callable[..., None]:
    """Compile the constructor of a class, which has it from then on. Two threads that do so make the same."""
    given = sorted((part for part in fields(cls) if part.init), key=lambda part: bool(part.kw_only))
    scope, made, parameters, values = dict[str, Any](), dict[str, Any](), "self", ""
    for part in given:
        name, is_made = part.name, part.default_factory is not MISSING
        parameters += ", *" if part.kw_only and "*" not in parameters else ""
        scope[f"of_{name}"] = part.default_factory if is_made else part.default
        default = "=..." if is_made else f"=of_{name}" if part.default is not MISSING else ""
        parameters += f", {name}{default}"
        values += f"{name}=of_{name}() if {name} is ... else {name}, " if is_made else f"{name}={name}, "
    after = "; self.__post_init__()" if hasattr(cls, "__post_init__") else ""
    text = f" def __init__({parameters}): self.__dict__.update({values}){after}\n return __init__"
    # Among the names of its module, by which annotations that are text are understood.
    names = getattr(modules.get(cls.__module__), "__dict__", {})
    exec(f"def make({', '.join(scope)}):\n{text}", names, made)
    found = cls.__init__ = made["make"](**scope)
    found.__qualname__, found.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    found.__annotations__ = {part.name: part.type for part in given} | {"return": None}
    return found


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


@cache
def _values(cls: type) -> Callable[[Any], tuple[object, ...]]:
    return reader([part.name for part in fields(cls) if part.compare])


def reader(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes of an object as a tuple, however few they are."""
    return attrgetter(*names) if len(names) > 1 else lambda each: tuple(getattr(each, name) for name in names)
