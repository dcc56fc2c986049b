"""Dataclasses as JSON and back, from their type hints: whatever a hint does not allow is an error that names the field.

Hints may be ``int``, ``bool``, ``str``, ``Literal`` of strings, enumerations with string values, dataclasses, unions of
dataclasses whose literal field ``kind`` tells them apart, ``X | None``, ``tuple[X, ...]``, ``Mapping[str, X]``, and
``object`` for what means nothing to the reader. ``Annotated`` adds `Bounds` to a number, `OneOf` to a text and
`AtMost` to a list or a text.
"""

import json
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from reprlib import repr as shortened
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from tilewright import limits
from tilewright.errors import TilewrightError

Item = TypeVar("Item")


class Source:
    """What errors call the JSON that they are about, their type, and their stage."""

    def __init__(
        self, name: str, error: type[TilewrightError], stage: str | None = None, hint: str | None = None
    ) -> None:
        self.name, self.error, self.stage, self.hint = name, error, stage, hint

    def refuse(
        self, path: str, what: str, expected: object = None, found: object = None, hint: str | None = None
    ) -> NoReturn:
        """Raise the error for the field at `path`, or for the whole where that is empty."""
        where = f"field {path!r}" if path else "the top level"
        given = {"expected": expected, "found": found, "hint": hint or self.hint}
        raise self.error(f"{self.name}: {where} {what}", stage=self.stage, **given)


@dataclass(eq=False, repr=False)
class Bounds:
    """What a number must be: whole unless said otherwise; `unit` and `doc` are for messages."""

    minimum: float = 0
    maximum: float = 2**63 - 1
    unit: str = ""
    doc: str = ""
    multiple: int = 1
    whole: bool = True

    def __call__(self, value: object, path: str, source: Source) -> object:
        about = f"({self.doc}) " if self.doc else ""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            kind = "a whole number" if self.whole else "a number"
            source.refuse(path, f"{about}is not {kind}", found=shortened(value))
        if not self.minimum <= value <= self.maximum:
            limits = f"{self.minimum} to {self.maximum} {self.unit}".rstrip()
            source.refuse(path, f"{about}is out of range", limits, shortened(value))
        if self.whole and value % self.multiple:
            source.refuse(path, f"{about}has the wrong size", f"a multiple of {self.multiple}", value)
        return value


class OneOf:
    """Which texts a field may hold."""

    def __init__(self, choices: Collection[str]) -> None:
        self.choices = choices

    def __call__(self, value: object, path: str, source: Source) -> str:
        if not isinstance(value, str) or value not in self.choices:
            source.refuse(path, "is unknown", f"one of {', '.join(self.choices)}", shortened(value))
        return value


class AtMost:
    """How many items a list may have, or characters a text."""

    def __init__(self, length: int) -> None:
        self.length = length


Reader = Callable[[object, str, Source], Any]
"""Makes a value of a plain one at a path, or refuses it."""


def parse(
    text: bytes | memoryview | str, source: Source, parse_constant: Callable[[str], object] | None = None
) -> object:
    """Parse JSON text, UTF-8 if it is bytes. Repeated names count as errors.
    ``parse_constant``: what to make of NaN and infinities, which are errors otherwise.
    Raises TilewrightError: of the source's type, when the text is not such JSON."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(pairs)
        if len(values) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    source.refuse(name, "is given twice")
                seen.add(name)
        return values

    try:
        return plain(text if isinstance(text, str) else str(text, "utf-8"), unique, parse_constant)
    except ValueError as error:
        raise source.error(f"{source.name}: not JSON: {error}", stage=source.stage, hint=source.hint) from None


def plain(
    text: str,
    pairs: Callable[[list[tuple[str, object]]], object] = dict,
    parse_constant: Callable[[str], object] | None = None,
) -> object:
    """What any JSON text says: all such texts of strangers are read here.
    ``pairs``: makes objects of their names and values.
    ``parse_constant``: as for `parse`.
    Raises ValueError: it is no such text, is nested too deeply, or holds too many values."""
    if text.count(",") > limits.JSON_VALUES:
        raise ValueError(f"it has more than {limits.JSON_VALUES} {limits.JSON_VALUES.what}")
    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=parse_constant or _no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def read(kind: type[Item], value: object, source: Source) -> Item:
    """Make a dataclass of a parsed JSON object, which must have every field of it and no other.
    Raises TilewrightError: of the source's type, when a field is missing, unknown or not what its hint says."""
    return _object_reader(kind)(value, "", source)


def check(item: object, source: Source) -> None:
    """Hold the fields of a dataclass that are numbers, texts and such dataclasses against their hints."""
    _arguments(type(item), item, "", source)


def write(item: object) -> bytes:
    """The UTF-8 JSON text that `parse` and `read` turn into an equal item; equal items give equal bytes."""
    return json.dumps(item, default=_plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _plain(part: Any) -> object:
    return part.value if isinstance(part, Enum) else _fields(part)


def _fields(item: Any) -> dict[str, object]:
    return {part.name: getattr(item, part.name) for part in fields(item)}


@cache
def _readers(kind: type) -> dict[str, Reader]:
    hints = get_type_hints(kind, include_extras=True)
    return {item.name: _reader(hints[item.name]) for item in fields(kind)}


def _arguments(kind: type, value: object, path: str, source: Source) -> dict[str, Any]:
    values = _fields(value) if isinstance(value, kind) else value
    if not isinstance(values, dict):
        source.refuse(path, "is not an object", found=shortened(value))
    readers = _readers(kind)
    prefix = f"{path}." if path else ""
    for what, names in (("missing", readers.keys() - values.keys()), ("unknown", values.keys() - readers.keys())):
        if names:
            first, *others = (prefix + name for name in sorted(names)[:9])
            source.refuse(first, f"is {what}", hint=f"Also {what}: {', '.join(others)}." if others else None)
    return {name: read(values[name], prefix + name, source) for name, read in readers.items()}


def _object_reader(kind: type) -> Reader:
    constructor = [item.name for item in fields(kind) if item.init]

    def read(value: object, path: str, source: Source) -> Any:
        arguments = _arguments(kind, value, path, source)
        return kind(**{name: arguments[name] for name in constructor})

    return read


def _reader(hint: Any) -> Reader:
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is Annotated:
        rule = arguments[1]
        return _short(_reader(arguments[0]), rule.length) if isinstance(rule, AtMost) else rule
    if kind is tuple:
        return _list_reader(hint)
    if kind is Mapping:
        return _table_reader(_reader(arguments[1]))
    if kind is Literal:
        return OneOf(arguments)
    if kind in (Union, types.UnionType):
        members = [member for member in arguments if member is not type(None)]
        if len(members) == len(arguments):
            return _tagged_reader(members)
        inner = _reader(members[0])
        return lambda value, path, source: None if value is None else inner(value, path, source)
    if isinstance(hint, type) and is_dataclass(hint):
        return _object_reader(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        choice = OneOf([member.value for member in hint])
        return lambda value, path, source: hint(choice(value, path, source))
    return {int: Bounds(), bool: _truth, str: _text, object: lambda value, path, source: value}[hint]


def _text(value: object, path: str, source: Source) -> str:
    # Parsed JSON may hold halves of surrogate pairs, which UTF-8 cannot.
    if not isinstance(value, str) or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        source.refuse(path, "is not a text", found=shortened(value))
    return value


def _truth(value: object, path: str, source: Source) -> bool:
    if not isinstance(value, bool):
        source.refuse(path, "is neither true nor false", found=shortened(value))
    return value


def _tagged_reader(members: list[type]) -> Reader:
    readers = {
        choice: _object_reader(member) for member in members for choice in get_args(get_type_hints(member)["kind"])
    }
    kind = OneOf(readers)

    def read(value: object, path: str, source: Source) -> object:
        if not isinstance(value, dict) or "kind" not in value:
            source.refuse(path, "is not an object with a field 'kind'", found=shortened(value))
        return readers[kind(value["kind"], f"{path}.kind", source)](value, path, source)

    return read


def _short(inner: Reader, length: int) -> Reader:
    def read(value: object, path: str, source: Source) -> object:
        if isinstance(value, (list, tuple, str)) and len(value) > length:
            source.refuse(path, "is too long", f"at most {length}", len(value))
        return inner(value, path, source)

    return read


def _list_reader(hint: Any) -> Reader:
    inner = _reader(get_args(hint)[0])

    def read(value: object, path: str, source: Source) -> tuple[object, ...]:
        if not isinstance(value, (list, tuple)):
            source.refuse(path, "is not a list", found=shortened(value))
        return tuple(inner(item, f"{path}[{index}]", source) for index, item in enumerate(value))

    return read


def _table_reader(inner: Reader) -> Reader:
    def read(value: object, path: str, source: Source) -> dict[str, object]:
        if not isinstance(value, dict):
            source.refuse(path, "is not an object", found=shortened(value))
        return {_text(key, path, source): inner(item, f"{path}.{key}", source) for key, item in value.items()}

    return read
