"""Strict reading of JSON: every field asked for by name and type, every unexpected field an error with its path."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn, TypeVar

from tilewright.errors import ArtifactError

Item = TypeVar("Item")

MAXIMUM_INTEGER = 2**63 - 1


def refuse(where: str, expected: str, found: object) -> NoReturn:
    """Raise the error for a value at the path `where` that is not what it must be."""
    shown = repr(found)
    raise ArtifactError(
        f"manifest field {where} is wrong",
        stage="load artifact",
        expected=expected,
        found=shown if len(shown) <= 80 else f"{shown[:77]}...",
    )


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def parse_object(text: bytes | memoryview) -> Fields:
    """Parse UTF-8 JSON text whose outermost value is an object.

    Raises:
        ArtifactError: the text is not such JSON; NaN, infinities and repeated names count as errors.
    """
    try:
        value = json.loads(str(text, "utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the manifest is not valid JSON: {error}", stage="load artifact") from None
    return Fields(value, "")


class Fields:
    """A JSON object that is read field by field.

    Every method removes the field it reads, and `finish` refuses what is left over.

    Raises:
        ArtifactError: from every method, when the field is missing or not as asked for; the message names its path.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            refuse(where or "(top)", "an object", value)
        self.where = where
        self._fields: dict[str, object] = dict(value)

    def path(self, name: str) -> str:
        """The path of a field, for messages."""
        return f"{self.where}.{name}" if self.where else name

    def _take(self, name: str) -> object:
        if name not in self._fields:
            raise ArtifactError(f"manifest field {self.path(name)} is missing", stage="load artifact")
        return self._fields.pop(name)

    def has(self, name: str) -> bool:
        """Whether an optional field is there and not yet read."""
        return name in self._fields

    def integer(self, name: str, low: int = 0, high: int = MAXIMUM_INTEGER) -> int:
        """An integer in [low, high]."""
        return checked_integer(self._take(name), self.path(name), low, high)

    def text(self, name: str) -> str:
        """A string."""
        return checked_text(self._take(name), self.path(name))

    def optional_text(self, name: str) -> str | None:
        """A string or null."""
        value = self._take(name)
        return None if value is None else checked_text(value, self.path(name))

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of the given strings."""
        value = self._take(name)
        if not isinstance(value, str) or value not in choices:
            refuse(self.path(name), f"one of {', '.join(choices)}", value)
        return value

    def integers(self, name: str, low: int = 0, high: int = MAXIMUM_INTEGER) -> tuple[int, ...]:
        """A list of integers in [low, high]."""
        items = enumerate(self._list(name))
        return tuple(checked_integer(item, f"{self.path(name)}[{index}]", low, high) for index, item in items)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        items = enumerate(self._list(name))
        return tuple(checked_text(item, f"{self.path(name)}[{index}]") for index, item in items)

    def _list(self, name: str) -> list[object]:
        value = self._take(name)
        if not isinstance(value, list):
            refuse(self.path(name), "a list", value)
        return value

    def item(self, name: str, read: Callable[[Fields], Item]) -> Item:
        """An object, read by `read`."""
        return finished(Fields(self._take(name), self.path(name)), read)

    def items(self, name: str, read: Callable[[Fields], Item]) -> tuple[Item, ...]:
        """A list of objects, each read by `read`."""
        items = enumerate(self._list(name))
        return tuple(finished(Fields(item, f"{self.path(name)}[{index}]"), read) for index, item in items)

    def table(self, name: str, read: Callable[[Fields], Item]) -> dict[str, Item]:
        """An object whose values are objects, each read by `read`."""
        fields = Fields(self._take(name), self.path(name))
        return {
            checked_text(key, fields.where): finished(Fields(value, fields.path(key)), read)
            for key, value in fields._fields.items()
        }

    def text_table(self, name: str) -> dict[str, str]:
        """An object whose values are strings."""
        fields = Fields(self._take(name), self.path(name))
        return {
            checked_text(key, fields.where): checked_text(value, fields.path(key))
            for key, value in fields._fields.items()
        }

    def anything(self, name: str) -> dict[str, object]:
        """An object whose content means nothing to the runtime."""
        return Fields(self._take(name), self.path(name))._fields

    def finish(self) -> None:
        """Refuse fields that nobody asked for."""
        for name, value in self._fields.items():
            refuse(self.path(name), "no such field", value)


def finished(fields: Fields, read: Callable[[Fields], Item]) -> Item:
    """Read an object with `read` and refuse left-over fields."""
    item = read(fields)
    fields.finish()
    return item


def checked_integer(value: object, where: str, low: int, high: int) -> int:
    """`value` when it is an integer in [low, high]; ArtifactError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(where, f"an integer from {low} to {high}", value)
    return value


def checked_text(value: object, where: str) -> str:
    """`value` when it is a string that UTF-8 can hold; ArtifactError otherwise."""
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        refuse(where, "a text", value)
    return value
