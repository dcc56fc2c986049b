"""What all values of the API are, which programs derive classes of their own from: they show themselves as JSON."""

import inspect
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from tilewright.blocks import dataclass_transform

from .enums import NamedIntEnum
from .exceptions import MemberTypeError, MemberValueError, wrong

LARGEST = 2**32 - 1
"""Of the integers that the API's structures hold."""


class ValueRepresentBase(ABC):
    """A value whose text is JSON, indented by four spaces."""

    @abstractmethod
    def get_member_variable_dict(self) -> dict:
        """The attributes by name, in what JSON knows."""

    def __str__(self) -> str:
        return json.dumps(self.get_member_variable_dict(), indent=4, default=_plain)

    def __repr__(self) -> str:
        return str(self)


def _plain(found: object) -> object:
    """What stands for an object that JSON does not know; programs put such into their own values."""
    if isinstance(found, ValueRepresentBase):
        return found.get_member_variable_dict()
    if isinstance(found, np.ndarray):
        return lines(found)
    if isinstance(found, np.generic):
        return found.item()
    return str(found)


T = TypeVar("T")
E = TypeVar("E", bound=NamedIntEnum)
V = TypeVar("V", bound=ValueRepresentBase)


class Unfit(Exception):
    """An attribute or argument cannot be what it is given; the text says what it takes.
    ``is_type``: whether it is of the wrong type, rather than out of range."""

    def __init__(self, expected: str, *, is_type: bool = True) -> None:
        super().__init__(expected)
        self.is_type = is_type


class Member(Generic[T]):
    """An attribute, declared with its type, its default and how JSON shows it, and checked whenever it is set.

    It is the field of a dataclass.

    Args:
        default: what the constructor takes for it; without one it must be given.
        show: makes of its value what JSON knows.

    Attributes:
        read: makes of what is given the value of the attribute, or raises `Unfit`.

    Raises:
        MemberTypeError, MemberValueError: when it is set to what it cannot be.
    """

    def __init__(self, read: Callable[[Any], T], show: Callable[[T], object], *default: object) -> None:
        self.read = read
        self._show = show
        self._default = default
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> T:
        if instance is not None:
            return vars(instance)[self._name]
        if not self._default:
            raise AttributeError(self._name)
        default: Any = self._default[0]
        return default

    def __set__(self, instance: object, value: T) -> None:
        try:
            vars(instance)[self._name] = self.read(value)
        except Unfit as unfit:
            kind = MemberTypeError if unfit.is_type else MemberValueError
            what = "has the wrong type" if unfit.is_type else "is out of range"
            found = f"{type(value).__name__} {value!r:.60}" if unfit.is_type else f"{value!r:.60}"
            name = f"{type(instance).__name__}.{self._name}"
            raise kind(f"{name} {what}", expected=str(unfit), found=found) from None

    def shown(self, instance: object) -> object:
        """The attribute of an instance as JSON knows it."""
        return self._show(vars(instance)[self._name])


def argument(name: str, value: object, member: Member[T]) -> T:
    """The argument of a function, which takes what an attribute takes. Raises Refusal: `KP_ERROR_INVALID_PARAM_12`."""
    try:
        return member.read(value)
    except Unfit as unfit:
        raise wrong(name, str(unfit), value) from None


@dataclass_transform(eq_default=False)
class Value(ValueRepresentBase):
    """A value whose attributes are the members that its class declares, which is a dataclass."""

    _SHOWN: ClassVar[tuple[str, ...]] = ()
    """What JSON has of it, in order, members and properties; by default all members."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(repr=False, eq=False)(cls)

    def get_member_variable_dict(self) -> dict:
        """The attributes as JSON knows them: enumerations by name, lists of values by index, arrays as text."""
        names = self._SHOWN or tuple(each.name for each in fields(type(self)))  # pyright: ignore[reportArgumentType]
        return {name: self._shown(name) for name in names}

    def _shown(self, name: str) -> object:
        declared = inspect.getattr_static(type(self), name)
        if isinstance(declared, Member):
            return declared.shown(self)
        found = getattr(self, name)
        return lines(found) if isinstance(found, np.ndarray) else found


def _same(value: Any) -> Any:
    return value


def integer(*default: int, low: int = 0, high: int = LARGEST, is_hexadecimal: bool = False) -> Member[int]:
    """An integer from ``low`` to ``high``, which JSON may have as text in hexadecimal digits."""

    def read(value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            raise Unfit("int") from None
        if not low <= number <= high:
            raise Unfit(f"{low} to {high}", is_type=False)
        return number

    return Member(read, "0x{:X}".format if is_hexadecimal else _same, *default)


def signed(*default: int) -> Member[int]:
    """An integer of 32 bits that may be negative."""
    return integer(*default, low=-(2**31), high=2**31 - 1)


def number(*default: float) -> Member[float]:
    """A number in floating point."""

    def read(value: Any) -> float:
        if not isinstance(value, (Real, np.number)) or isinstance(value, (bool, np.complexfloating)):
            raise Unfit("float")
        return float(value)

    return Member(read, _same, *default)


def flag(*default: bool) -> Member[bool]:
    """True or False, or 1 or 0."""

    def read(value: Any) -> bool:
        if not isinstance(value, (bool, np.bool_, int, np.integer)) or value not in (0, 1):
            raise Unfit("bool")
        return bool(value)

    return Member(read, _same, *default)


def _of(kinds: type | tuple[type, ...], expected: str, made: Callable[[Any], T] = _same) -> Callable[[Any], T]:
    """What takes values of some types alone; ``made``: what becomes of them."""

    def read(value: Any) -> T:
        if not isinstance(value, kinds):
            raise Unfit(expected)
        return made(value)

    return read


def text(*default: str) -> Member[str]:
    """Text."""
    return Member(_of(str, "str"), _same, *default)


def enumeration(default: E | type[E]) -> Member[E]:
    """A member of the enumeration that ``default`` is of, or that it is, or the number of one."""
    kind, given = (default, ()) if isinstance(default, type) else (type(default), (default,))

    def read(value: Any) -> E:
        try:
            return value if isinstance(value, kind) else kind(operator.index(value))
        except TypeError:
            raise Unfit(kind.__name__) from None
        except ValueError:
            raise Unfit(f"a number of {kind.__name__}", is_type=False) from None

    return Member(read, str, *given)


def content(*default: bytes) -> Member[bytes]:
    """Bytes, which JSON has the number of; also an array of them, as `numpy.fromfile` makes it."""
    of = _of((bytes, bytearray, memoryview, np.ndarray), "bytes", bytes)

    def read(value: Any) -> bytes:
        if getattr(value, "dtype", np.uint8) != np.uint8:
            raise Unfit("bytes")
        return of(value)

    return Member(read, len, *default)


def lines(array: np.ndarray) -> list[str]:
    """NumPy's text of an array."""
    return str(array).split("\n")


def array() -> Member[np.ndarray]:
    """An array, by default an empty one, which JSON has NumPy's text of, line by line."""
    read = _of(np.ndarray, "numpy.ndarray")
    return Member(lambda value: np.array([]) if value is None else read(value), lines, None)


def item(kind: type[V]) -> Member[V]:
    """A value of a class, by default a new one for each instance."""
    default = kind()
    read = _of(kind, kind.__name__, lambda value: kind() if value is default else value)
    return Member(read, lambda value: value.get_member_variable_dict(), default)


def items(kind: type[V]) -> Member[list[V]]:
    """A list of values of a class, by default a new one for each instance; JSON has them by index."""

    def read(value: Any) -> list[V]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, kind) for each in value):
            raise Unfit(f"list of {kind.__name__}")
        return list(value)

    return Member(read, by_index, ())


def by_index(values: list[V]) -> dict[str, object]:
    """A list of values as JSON has it."""
    return {str(index): each.get_member_variable_dict() for index, each in enumerate(values)}


def integers() -> Member[list[int]]:
    """A list of integers, by default a new one for each instance."""

    def read(value: Any) -> list[int]:
        try:
            if not isinstance(value, (bytes, bytearray, memoryview)):
                return [operator.index(each) for each in value]
        except TypeError:
            pass
        raise Unfit("list of int")

    return Member(read, _same, ())


__all__ = ["ValueRepresentBase"]
