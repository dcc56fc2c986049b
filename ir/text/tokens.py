"""Text in tokens: what the parsers of modules and of pipelines share.

Errors name line and column and show the line with a caret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tilewright.errors import ParseError
from tilewright.limits import NESTING

from .literals import WORDS, Literal

_DIGITS = len("-") + 20
"""Digits and sign of the longest integer of 64 bits."""


class Token(NamedTuple):
    """A piece of text.

    Attributes:
        kind: name of the group of the grammar that it matched; ``end`` after the last one.
        offset: where in the text it begins.
    """

    kind: str
    text: str
    offset: int


class TokenReader:
    """Base of recursive-descent parsers: one method for each part of the language, each reading its tokens.

    Args:
        text: what to parse.
        grammar: matches one token; its named groups are the kinds, among them ``string``, ``int``, ``float``, ``word``
            and ``space``, which is skipped.
        read_float: the value of a token of kind ``float``.
    """

    def __init__(self, text: str, grammar: re.Pattern[str], read_float: Callable[[str], float]) -> None:
        self._text = text
        self._read_float = read_float
        self._tokens = self._tokenize(grammar)
        self._position = 0

    def _tokenize(self, grammar: re.Pattern[str]) -> list[Token]:
        tokens: list[Token] = []
        offset = 0
        for match in grammar.finditer(self._text):
            if match.start() != offset:
                break
            kind = match.lastgroup
            if kind != "space":
                tokens.append(Token(str(kind), match.group(), offset))
            offset = match.end()
        if offset < len(self._text):
            raise self._error_at(offset, f"unexpected character {self._text[offset]!r}")
        tokens.append(Token("end", "end of text", len(self._text)))
        return tokens

    def _error_at(self, offset: int, message: str) -> ParseError:
        start = self._text.rfind("\n", 0, offset) + 1
        end = self._text.find("\n", offset)
        line = self._text[start : end if end >= 0 else len(self._text)]
        return ParseError(message, line=self._text.count("\n", 0, offset) + 1, column=offset - start + 1, text=line)

    def _error(self, message: str, token: Token | None = None) -> ParseError:
        """An error at ``token``, by default the current one."""
        return self._error_at((token or self._token).offset, message)

    @property
    def _token(self) -> Token:
        return self._tokens[self._position]

    def _next(self) -> Token:
        """Step to the next token; the one left behind."""
        token = self._tokens[self._position]
        if token.kind != "end":
            self._position += 1
        return token

    def _accept(self, text: str) -> bool:
        """Step over ``text`` if it comes next."""
        token = self._tokens[self._position]
        if token.text == text and token.kind != "string":
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
        if self._accept("["):
            return tuple([self._literal(depth + 1) for _ in self._elements("]")])
        raise self._error(f"expected a value, found {token.text!r}")
