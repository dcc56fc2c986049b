"""What a flag of the Accelerator API is, and how the text of its value is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from tilewright.immutable import Immutable

from .errors import AcceleratorError

Since = Literal[2018, 2020, 2022]
"""The edition of the SDK that documents a flag first: 2018 and 2020 are the second generation, 2022 is the third."""

Value = int | bool | str
T = TypeVar("T", bound=Value)

_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0{0,18})?")

_TEXT_LIMIT = 4096
"""Characters of a value, such as the path of a bitfile."""


def plain_text(value: object) -> object:
    """Text that a program gives as bytes, as the library in C took it; everything else as it is."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


@dataclass(eq=False)
class Flag:
    """A flag as it is declared.

    Attributes:
        default: the value at the start and after ``reset``; its type is the flag's.
        since: the edition of the SDK that documents it first.
        help: what it does, one sentence.
        choices: all values that it may have; otherwise any text, or an integer from ``minimum`` on.
        aliases: further names of the same flag.
        letters: those of the flag ``options`` that set it, each with the value that it sets.
        warning: why it has no effect here; such a flag warns once when it is set to another value than its default.
        name: as ``SetFlag`` and ``GetInfo`` take it, that of the attribute.
    """

    default: Value
    since: Since
    help: str
    choices: tuple[Value, ...] = ()
    minimum: int = 0
    aliases: tuple[str, ...] = ()
    letters: Mapping[str, Value] = field(default_factory=dict)
    warning: str = ""
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def values(self) -> str:
        """What it may be set to, for messages and documents."""
        if isinstance(self.default, bool):
            return "0 or 1"
        if self.choices:
            return " or ".join(str(choice) for choice in self.choices)
        return f"an integer of at least {self.minimum}" if isinstance(self.default, int) else "text"

    def parse(self, value: object) -> Value:
        """The value that a text, a number or a truth value stands for.
        Raises AcceleratorError: it is not one that the flag may have."""
        text = ("1" if value else "0") if isinstance(value, bool) else str(plain_text(value))
        parsed = self._parse_text(text)
        fits = parsed in self.choices if self.choices else not isinstance(parsed, int) or parsed >= self.minimum
        if parsed is None or not fits:
            raise AcceleratorError(
                f"flag {self.name!r} cannot have this value",
                stage="SetFlag",
                expected=self.values,
                found=f"{text!r:.60}",
            )
        return parsed

    def _parse_text(self, text: str) -> Value | None:
        if len(text) > _TEXT_LIMIT:
            return None
        if isinstance(self.default, str):
            return text
        if isinstance(self.default, bool):
            text = {"false": "0", "true": "1"}.get(text.strip().lower(), text)
        # Programs divide with / and give 16.0. Values of more than 64 bits are no flag's.
        whole = _WHOLE.fullmatch(text.strip())
        value = int(whole[1]) if whole else None
        return value if value is None or not isinstance(self.default, bool) else {0: False, 1: True}.get(value)


def declare(default: T, since: Since, help: str, **details: Any) -> T:
    """Declare a flag as an attribute of a class, whose objects have values of it there; see `Flag` for the details."""
    return cast(T, Flag(default, since, help, **details))


class Letter(Immutable):
    """A letter of the flag ``debug``.
    ``since``: the edition of the SDK that documents it first.
    ``help``: what is printed or written, one sentence.
    ``warning``: why nothing is; such a letter warns once."""

    letter: str
    since: Since
    help: str
    warning: str = ""
