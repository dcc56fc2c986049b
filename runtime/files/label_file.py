"""Classes of samples as text, a line for each: ``CLASS``, or ``NAME CLASS`` with a space, comma or semicolon between;
maybe of strangers.
"""

import io
import os
import re
from collections.abc import Iterator
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


def label_lines(path: str | os.PathLike[str], hint: str) -> Iterator[Label]:
    """The lines of a file of labels, but for empty ones, and for a first one that has no digit: names of columns.
    Raises InputError: the file cannot be read, is too large, or is not text."""
    name = os.fspath(path)
    content = contents(name, limits.LABELS_FILE)
    lines_at_most = 1 + max(content.count(b"\n"), content.count(b"\r"))
    if lines_at_most > limits.LABELS:
        raise too_large(repr(name), limits.LABELS, lines_at_most)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name!r} is no file of labels: it is not text", hint=hint) from None
    labels = (_label(at, line.strip()) for at, line in enumerate(io.StringIO(text, newline=None), 1) if line.strip())
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
