"""Pipelines: a list of passes that is spelled as text, ``fold_constants,canonicalize{limit=10},fuse``."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilewright.errors import IRError, ParseError

from ..ir.core import Module
from ..ir.op import coerce
from .base import Pass, Record, Verification, default_of
from .instruments import Instrument

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<float>-?(?:[0-9]+\.[0-9]*(?:e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+|inf\b))
    |(?P<int>-?[0-9]+)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<punctuation>[{}\[\],=])""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Pipeline:
    """Passes in order of execution."""

    passes: tuple[Pass, ...]

    def run(
        self, module: Module, *, instruments: Sequence[Instrument] = (), verification: Verification | None = None
    ) -> list[Record]:
        """Run every pass on ``module``, in place.

        Args:
            instruments: called around each pass, in order.
            verification: how much to check; by default what ``TILEWRIGHT_VERIFY`` says.

        Returns:
            What each pass did.

        Raises:
            PassError, ModelError: see :meth:`Pass.run`.
        """
        records: list[Record] = []
        for index, current in enumerate(self.passes):
            for instrument in instruments:
                instrument.before(index, current, module)
            record = current.run(module, verification=verification)
            records.append(record)
            for instrument in instruments:
                instrument.after(index, current, module, record)
        return records

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))

    @staticmethod
    def parse(text: str, known: Mapping[str, type[Pass]] | None = None) -> Pipeline:
        """The pipeline that ``text`` spells.

        Args:
            known: the passes to know; by default all of :mod:`tilewright.passes`.

        Raises:
            ParseError: unknown pass or option, or a value of the wrong type, with a caret under the place.
        """
        if known is None:
            from . import PASSES as known
        return Pipeline(tuple(_Parser(text, known).parse()))


def print_option(value: Any) -> str:
    """An option's value as :meth:`Pipeline.parse` reads it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{','.join(map(print_option, value))}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return value if value not in ("none", "true", "false", "inf") else json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


class _Parser:
    def __init__(self, text: str, known: Mapping[str, type[Pass]]) -> None:
        self._text = text
        self._known = known
        self._offset = 0
        self._kind, self._token, self._start = "", "", 0
        self._next()

    def _error(self, message: str, offset: int | None = None) -> ParseError:
        at = self._start if offset is None else offset
        line_start = self._text.rfind("\n", 0, at) + 1
        line = self._text[line_start:].split("\n", 1)[0]
        return ParseError(message, line=self._text.count("\n", 0, at) + 1, column=at - line_start + 1, text=line)

    def _next(self) -> str:
        """Step to the next token; the text of the one left behind."""
        left = self._token
        while True:
            self._start = self._offset
            if self._offset == len(self._text):
                self._kind, self._token = "end", ""
                return left
            match = _TOKEN.match(self._text, self._offset)
            if match is None:
                raise self._error(f"unexpected character {self._text[self._offset]!r}")
            self._offset = match.end()
            if match.lastgroup != "space":
                self._kind, self._token = str(match.lastgroup), match.group()
                return left

    def _accept(self, text: str) -> bool:
        if self._kind == "punctuation" and self._token == text:
            self._next()
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._error(f"expected {text!r}, found {self._token or 'the end'!r}")

    def parse(self) -> list[Pass]:
        passes: list[Pass] = []
        while self._kind != "end":
            if passes:
                self._expect(",")
            passes.append(self._pass())
        return passes

    def _pass(self) -> Pass:
        start = self._start
        if self._kind != "word":
            raise self._error(f"expected the name of a pass, found {self._token or 'the end'!r}")
        name = self._next()
        cls = self._known.get(name)
        if cls is None:
            raise self._error(f"unknown pass {name!r}{_suggest(name, list(self._known))}", start)
        options = self._options(cls) if self._accept("{") else {}
        for option in dataclasses.fields(cls):
            if option.name not in options and default_of(option) is dataclasses.MISSING:
                raise self._error(f"pass {name} needs option {option.name!r}", start)
        return cls(**options)

    def _options(self, cls: type[Pass]) -> dict[str, Any]:
        declared = cls.options()
        found: dict[str, Any] = {}
        while not self._accept("}"):
            if found:
                self._expect(",")
            start = self._start
            if self._kind != "word":
                raise self._error(f"expected the name of an option, found {self._token or 'the end'!r}")
            name = self._next()
            if name not in declared:
                raise self._error(f"pass {cls.name} has no option {name!r}{_suggest(name, list(declared))}", start)
            if name in found:
                raise self._error(f"option {name!r} is given twice", start)
            self._expect("=")
            start = self._start
            value = self._value()
            try:
                found[name] = coerce(value, declared[name])
            except IRError as error:
                raise self._error(f"{name}: {error}", start) from None
        return found

    def _value(self) -> Any:
        if self._accept("["):
            elements: list[Any] = []
            while not self._accept("]"):
                if elements:
                    self._expect(",")
                elements.append(self._value())
            return tuple(elements)
        if self._kind == "int":
            return int(self._next())
        if self._kind == "float":
            return float(self._next())
        if self._kind == "string":
            try:
                value = json.loads(self._token)
            except ValueError:
                raise self._error("malformed string") from None
            self._next()
            return value
        if self._kind == "word":
            word = self._next()
            return {"true": True, "false": False, "none": None, "inf": float("inf")}.get(word, word)
        raise self._error(f"expected a value, found {self._token or 'the end'!r}")


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(known) or 'none'})"
