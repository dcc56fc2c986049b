"""Frozen dataclasses of which nothing but the constructor is compiled when the program starts.

Of ``dataclass(frozen=True)`` Python compiles six methods for each class, some 0.8 ms: of all classes of the compiler a
quarter of the time of its import.
"""

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, dataclass, field, fields
from functools import cache
from operator import attrgetter
from typing import Any

from .blocks import dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Immutable:
    """Base of dataclasses, which subclasses are without further ado, that never change, and are equal where they are of
    one class and their fields are.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(eq=False, repr=False, match_args=False)(cls)

    def __eq__(self, other: object) -> bool:
        values = _values(type(self))
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(_values(type(self))(self))

    def __repr__(self) -> str:
        parts = (f"{name}={getattr(self, name)!r}" for name in _names(type(self)))
        return f"{type(self).__qualname__}({', '.join(parts)})"

    def __setattr__(self, name: str, value: object) -> None:
        # The constructor sets each field once.
        values = self.__dict__
        if name in values or name not in _names(type(self)):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        values[name] = value

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


@cache
def _values(cls: type) -> Callable[[Any], tuple[object, ...]]:
    return reader(_names(cls))


def reader(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes of an object as a tuple, however few they are."""
    return attrgetter(*names) if len(names) > 1 else lambda each: tuple(getattr(each, name) for name in names)
