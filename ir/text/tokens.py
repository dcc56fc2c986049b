"""Text in tokens: what the parsers of modules and of pipelines share.

Errors name line and column and show the line with a caret.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from tilewright.errors import ParseError
from tilewright.limits import NESTING

from .literals import WORDS, Literal

_DIGITS = len("-") + 20
"""Digits and sign of the longest integer of 64 bits."""

_NUMBERS, _LONG = re.compile(r"\[[-0-9, ]+\]"), re.compile("[0-9]{19}")
"""A list of integers, and what may be too much for 64 bits."""


STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*){0,16383}"'
"""A text in quotes in a grammar; matching remembers every escape, of which there may be so many."""


class Token(NamedTuple):
    """A piece of text.
    ``kind``: name of the group of the grammar that it matched; ``end`` after the last one.
    ``offset``: where in the text it begins."""

    kind: str
    text: str
    offset: int


class TokenReader:
    """Base of recursive-descent parsers: one method for each part of the language, each reading its tokens.
    ``grammar``: matches one token; its named groups are the kinds, among them ``string``, ``int``, ``float``, ``word``
    and ``space``, which is skipped.
    ``read_float``: the value of a token of kind ``float``."""

    def __init__(self, text: str, grammar: re.Pattern[str], read_float: Callable[[str], float]) -> None:
        self._text, self._grammar = text, grammar
        self._read_float = read_float
        self._end = 0
        self._token = self._scan()

    def _scan(self) -> Token:
        """The token after the current one; one at a time, so that a text takes no more memory than itself."""
        while self._end < len(self._text):
            start, match = self._end, self._grammar.match(self._text, self._end)
            if match is None:
                raise self._error_at(start, f"unexpected character {self._text[start]!r}")
            self._end = match.end()
            if match.lastgroup != "space":
                return Token(str(match.lastgroup), match.group(), start)
        return Token("end", "end of text", len(self._text))

    def _error_at(self, offset: int, message: str) -> ParseError:
        start = self._text.rfind("\n", 0, offset) + 1
        end = self._text.find("\n", offset)
        line = self._text[start : end if end >= 0 else len(self._text)]
        return ParseError(message, line=self._text.count("\n", 0, offset) + 1, column=offset - start + 1, text=line)

    def _error(self, message: str, token: Token | None = None) -> ParseError:
        """An error at ``token``, by default the current one."""
        return self._error_at((token or self._token).offset, message)

    def _next(self) -> Token:
        """Step to the next token; the one left behind."""
        token = self._token
        if token.kind != "end":
            self._token = self._scan()
        return token

    def _accept(self, text: str) -> bool:
        """Step over ``text`` if it comes next."""
        if self._token.text == text and self._token.kind != "string":
            self._next()
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._error(f"expected {text!r}, found {self._token.text!r}")

    def _expect_kind(self, kind: str, what: str) -> Token:
        if self._token.kind != kind:
            raise self._error(f"expected {what}, found {self._token.text!r}")
        return self._next()

    def _expect_end(self, of_what: str) -> None:
        self._expect_kind("end", f"the end of {of_what}")

    def _elements(self, closing: str) -> Iterator[None]:
        """Stops before each element of a list with commas between them, and after ``closing``."""
        is_first = True
        while not self._accept(closing):
            if not is_first:
                self._expect(",")
            is_first = False
            yield

    def _string(self) -> str:
        token = self._expect_kind("string", "a string")
        return self._unquoted(token.text, "string", token)

    def _unquoted(self, quoted: str, what: str, token: Token) -> str:
        """What stands in quotes; valid Unicode."""
        try:
            text = json.loads(quoted)
            text.encode()
        except ValueError:
            raise self._error(f"malformed {what}", token) from None
        return text

    def _int(self, what: str) -> int:
        token = self._expect_kind("int", what)
        # Python converts no more than some thousand digits.
        value = int(token.text) if len(token.text) <= _DIGITS else 1 << 64
        if not -(1 << 63) <= value < 1 << 64:
            raise self._error("the integer does not fit 64 bits", token)
        return value

    def _float(self) -> float:
        token = self._expect_kind("float", "a float")
        try:
            return self._read_float(token.text)
        except (ValueError, OverflowError):
            raise self._error("the float does not fit 64 bits", token) from None

    def _literal(self, depth: int = 0) -> Literal:
        token = self._token
        if token.kind == "string":
            return self._string()
        if token.kind == "int":
            return self._int("an integer")
        if token.kind == "float":
            return self._float()
        if token.kind == "word":
            self._next()
            return WORDS.get(token.text, token.text)
        if token.text == "[" and depth == NESTING:
            raise self._error(f"lists are nested too deeply, expected at most {NESTING} {NESTING.what}")
        numbers = _NUMBERS.match(self._text, token.offset) if token.text == "[" else None
        if numbers is not None and not _LONG.search(numbers[0]):
            # Constants may have many elements. What is no list of integers is told token by token.
            found = None
            with suppress(ValueError):
                found = tuple(json.loads(numbers[0]))
            if found is not None:
                self._end = numbers.end()
                self._next()
                return found
        if self._accept("["):
            return tuple([self._literal(depth + 1) for _ in self._elements("]")])
        raise self._error(f"expected a value, found {token.text!r}")
