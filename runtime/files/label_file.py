"""Classes of samples as text, a line for each: ``CLASS``, or ``NAME CLASS`` with a space, comma or semicolon between;
maybe of strangers.
"""

import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tilewright import limits
from tilewright.errors import InputError

from .input_file import contents, too_large

_CLASS = re.compile(r'(.*[,; \t])?("?)([0-9]{1,18})\2')
"""What comes before a class, and the class, in quotes or not, of so few digits that no number is beyond 64 bits."""


class Label(NamedTuple):
    """A line with its number, counted from 1: the class in it, if that is one, and the name before it, if any."""

    at: int
    line: str
    name: str
    number: int | None


def text_lines(path: str | os.PathLike[str], otherwise: str, hint: str | None = None) -> io.StringIO:
    """The lines of a file that has one for each sample or class. ``otherwise``: what one that is not text is, in words.
    Raises InputError: the file cannot be read, is too large, or is not text."""
    name = os.fspath(path)
    content = contents(name, limits.LABELS_FILE)
    lines_at_most = 1 + max(content.count(b"\n"), content.count(b"\r"))
    if lines_at_most > limits.LABELS:
        raise too_large(repr(name), limits.LABELS, lines_at_most)
    try:
        return io.StringIO(content.decode("utf-8-sig"), newline=None)
    except UnicodeDecodeError:
        raise InputError(f"{name!r} {otherwise}: it is not text", hint=hint) from None


def label_lines(path: str | os.PathLike[str], hint: str) -> Iterator[Label]:
    """The lines of a file of labels, but for empty ones, and for a first one that has no digit: names of columns."""
    lines = text_lines(path, "is no file of labels", hint)
    labels = (_label(at, line.strip()) for at, line in enumerate(lines, 1) if line.strip())
    first, second = next(labels, None), next(labels, None)
    is_header = second is not None and second.number is not None
    if first is not None and not (is_header and not any(map(str.isdigit, first.line))):
        yield first
    if second is not None:
        yield second
    yield from labels


def _label(at: int, line: str) -> Label:
    # A number that ends a word, as in "photo7" or "-1", is none.
    match = _CLASS.fullmatch(line)
    name = (line if match is None else match[1] or "").rstrip(", ;\t")
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('""', '"')
    return Label(at, line, name, int(match[3]) if match is not None else None)


def doubts_of(right: Mapping[int, float], answers: int, guessed: float, classes: str, where: str = "") -> list[str]:
    """What to tell of labels that so many answers meet no better than by guessing.

    Args:
        right: the shares that are as labelled, if 0, 1 and -1 are added to each label.
        guessed: the share that is by guessing.
        classes: how they are counted, in words.
        where: begins what is said.
    """
    if right[0] > guessed + 3 * math.sqrt(guessed * (1 - guessed) / answers):
        return []
    said = f"{where}{100 * right[0]:.2f} % of {answers} answers are as labelled, no more than by guessing"
    by = 1 if right[1] > right[-1] else -1
    if right[by] > 2 * right[0] + guessed:
        return [f"{said}; with {by} added to each label it would be {100 * right[by]:.2f} %"]
    return [f"{said}: {classes}, and inputs are to be prepared as in training"]
