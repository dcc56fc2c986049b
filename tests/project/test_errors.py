"""What strangers wrote is quoted in messages: short, and so that no terminal acts on it."""

from __future__ import annotations

import pickle
import warnings

import pytest

from tilewright.errors import KeyWarning, ParseError, TilewrightError, warn

PARTS = ("message", "stage", "op", "node", "expected", "found", "hint")


def is_legible(text: str) -> bool:
    return all(map(str.isprintable, text.split("\n"))) and len(text) < 4200


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("piece", ["name", "\x1b[2J\x07\r", "\u202e\ud800\x9b"])
def test_no_part_of_a_message_is_endless_or_speaks_to_a_terminal(part: str, piece: str) -> None:
    text = str(TilewrightError(**{"message": "it is wrong", part: f"first {piece * 500_000} last"}))
    # A character may be escaped by six.
    assert len(text) < 6 * 2100
    assert all(map(str.isprintable, text.split("\n")))
    assert "first" in text
    assert "last" in text
    assert " … " in text
    short = str(TilewrightError(**{"message": "it is wrong", part: f"first {piece} last"}))
    assert is_legible(short)
    assert " … " not in short


def test_what_is_short_and_printable_stays() -> None:
    error = TilewrightError("wrong", stage="read", op="add", node="n", expected=3, found=("é", 2), hint="Do it.")
    assert str(error) == "read: add: node 'n': wrong; expected 3, found ('é', 2). Do it."
    assert (error.expected, error.found) == (3, ("é", 2))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert len(repr(TilewrightError("a" * 10**6))) < 2100


@pytest.mark.parametrize("column", [1, 5, 1001, 500_000, 1_000_000])
def test_a_long_line_is_shown_around_the_place(column: int) -> None:
    line = "".join(chr(65 + place % 26) for place in range(1_000_000))
    shown, caret = str(ParseError("wrong \x1b", line=7, column=column, text=line)).split("\n")[1:]
    assert is_legible(shown)
    assert shown[caret.index("^")] == line[column - 1]
    shown, caret = str(ParseError("wrong", line=7, column=3, text="a\t\x1b[2J")).split("\n")[1:]
    assert (shown, caret) == ("a  [2J", "  ^")


def test_warnings_are_as_legible() -> None:
    with pytest.warns(KeyWarning) as caught, warnings.catch_warnings():
        warnings.simplefilter("always")
        warn("\x1b[2J" + "a" * 10**6, KeyWarning)
    assert is_legible(str(caught[0].message))
