"""Text to operators with their attributes, and to single statements: what parsing needs below modules."""

import re
from typing import Any

from tilewright.errors import IRError, ParseError, similar

from ..op import REGISTRY, Operator, Registry, attribute_types, coerce
from .tokens import STRING, Token, TokenReader

_TOKEN = re.compile(
    rf"""(?P<space>(?:[ \t\r\n]+|//[^\n]*){{1,1000}})
    |(?P<punctuation>[(){{}}\[\]<>=,:#])
    |(?P<string>{STRING})
    |(?P<float>-?0x[01]\.[0-9a-f]+p[+-]?[0-9]+|-?inf\b)
    |(?P<sigil>[%@](?:[A-Za-z0-9_.$/-]+|{STRING}))
    |(?P<int>-?[0-9]+)
    |(?P<arrow>->)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)""",
    re.VERBOSE,
)

_ADDED = ("by_pixel", "shares", "x_bits")
"""Attributes that artifacts of this format may lack, since they are older: what they meant without is the default."""


class OperatorReader(TokenReader):
    """Base of parsers of the textual form."""

    def __init__(self, text: str, registry: Registry) -> None:
        super().__init__(text, _TOKEN, float.fromhex)
        self._registry = registry

    def attributes(self, cls: type[Operator], name: Token) -> Operator:
        declared = attribute_types(cls)
        found: dict[str, Any] = {}
        if self._accept("{"):
            for _ in self._elements("}"):
                token = self._expect_kind("word", "the name of an attribute")
                if token.text not in declared:
                    known = ", ".join(declared) or "none"
                    raise self._error(f"{cls.name} has no attribute {token.text!r} (it has: {known})", token)
                if token.text in found:
                    raise self._error(f"attribute {token.text!r} is given twice", token)
                self._expect("=")
                start = self._token
                try:
                    found[token.text] = coerce(self._literal(), declared[token.text])
                except ParseError:
                    raise
                except IRError as error:
                    raise self._error(f"{token.text}: {error}", start) from None
        found = {key: getattr(cls, key) for key in _ADDED if key in declared} | found
        missing = [key for key in declared if key not in found]
        if missing:
            raise self._error(f"{cls.name} lacks attribute {missing[0]!r}", name)
        try:
            return cls(**found)
        except IRError as error:
            raise self._error(str(error), name) from None

    def operator_class(self) -> tuple[Token, type[Operator]]:
        name = self._expect_kind("word", "the name of an operator")
        if name.text not in self._registry:
            question = similar(name.text, self._registry)
            raise self._error(f"unknown operator {name.text!r}{f'. {question}' if question else ''}", name)
        return name, self._registry[name.text]

    def statement(self) -> tuple[str, Operator, tuple[str, ...]]:
        """One statement alone: target, operator and names of the arguments."""
        target = self._expect_kind("word", "the name of a result").text
        self._expect("=")
        name, cls = self.operator_class()
        self._expect("(")
        arguments = [self._expect_kind("word", "the name of an argument").text for _ in self._elements(")")]
        operator = self.attributes(cls, name)
        self._expect_end("the statement")
        return target, operator, tuple(arguments)


def parse_statement(text: str) -> tuple[str, Operator, tuple[str, ...]]:
    """Target, operator and argument names of a statement, as `fuse` writes it: ``t1 = clip(t0) {min=…, max=…}``."""
    return OperatorReader(text, REGISTRY).statement()
