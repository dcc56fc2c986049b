"""The file of labels, and how many predictions it agrees with."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tilewright import limits
from tilewright.errors import InputError

from ...files.input_file import contents, too_large
from .pipeline import Classified

_NUMBER = re.compile("[0-9]{1,9}")
_HINT = "Each line holds the name of a file, a space, and the number of its class."


def read_labels(path: str | os.PathLike[str], classes: int) -> dict[str, int]:
    """The class of each file by its name, without folders.

    Raises:
        InputError: the file cannot be read, or a line is not a name and a class; says which line.
    """
    name = os.fspath(path)
    content = contents(name, limits.LABELS_FILE)
    lines_at_most = 1 + max(content.count(b"\n"), content.count(b"\r"))
    if lines_at_most > limits.LABELS:
        raise too_large(repr(name), limits.LABELS, lines_at_most)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name!r} is no file of labels: it is not text", hint=_HINT) from None
    labels: dict[str, int] = {}
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        words = line.rsplit(maxsplit=1)
        if not words:
            continue
        label = int(words[1]) if len(words) == 2 and _NUMBER.fullmatch(words[1]) else -1
        if not 0 <= label < classes:
            expected = f"NAME CLASS, with a class of 0 to {classes - 1}"
            found = line.rstrip("\n")[:80]
            raise InputError(f"line {number} of {name!r} is no label", expected=expected, found=found, hint=_HINT)
        file_name = words[0].strip()
        if len(file_name) > 1 and file_name[0] == file_name[-1] == '"':
            file_name = file_name[1:-1].replace('""', '"')
        if labels.setdefault(file_name, label) != label:
            raise InputError(f"{name!r} gives {file_name!r} two labels", found=f"{labels[file_name]} and {label}")
    return labels


class Accuracy(NamedTuple):
    """Shares of the images that have a label: those whose label is the best class, or one of the five best.

    Attributes:
        labelled: how many have one.
    """

    top1: float
    top5: float
    labelled: int


def accuracy(results: Iterable[Classified], labels: Mapping[str, int]) -> Accuracy | None:
    """How many of the results agree with the labels; None where no image has any."""
    first = best = labelled = 0
    for each in results:
        label = labels.get(os.path.basename(each.file))
        if label is None:
            continue
        labelled += 1
        first += int(each.prediction[0] == label)
        best += int(label in each.prediction)
    return Accuracy(first / labelled, best / labelled, labelled) if labelled else None
