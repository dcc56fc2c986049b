"""The best classes of outputs that classify, with the names that a file has for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tilewright import limits
from tilewright.errors import InputError, UsageError

from ..files.input_file import contents, too_large


class BestClass(NamedTuple):
    """A class, its name if it has one, and what the network gives it."""

    number: int
    name: str | None
    value: float


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of classes, one a line.

    Raises:
        InputError: the file cannot be read, or is no text.
        ResourceError: it is too large.
    """
    content = contents(os.fspath(path), limits.LABELS_FILE)
    if content.count(b"\n") > limits.LABELS:
        raise too_large(repr(os.fspath(path)), limits.LABELS, content.count(b"\n"))
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{os.fspath(path)!r} holds no names of classes: it is not text") from None


def best_classes(
    results: Mapping[str, np.ndarray], top: int, names: Sequence[str] | None = None
) -> dict[str, list[list[BestClass]]]:
    """The best classes of each item of a batch, best first, of the outputs that classify: numbers, [N, classes].

    Args:
        names: of all classes, or of all but a first one for the background.

    Raises:
        UsageError: no output classifies, or none has so many classes.
    """
    rows = {name: array.reshape(array.shape[0], -1) for name, array in results.items() if array.ndim > 1 and array.size}
    rows = {name: array for name, array in rows.items() if max(results[name].shape[1:]) == array.shape[1] > 1}
    fitting = rows if names is None else {n: a for n, a in rows.items() if a.shape[1] - len(names) in (0, 1)}
    if not fitting:
        found = ", ".join(f"{name}[{','.join(map(str, array.shape))}]" for name, array in results.items())
        wanted = "CLASSES" if names is None else f"{len(names)} or {len(names) + 1}"
        raise UsageError("no output is of such classes", expected=f"[N, {wanted}]", found=found)
    return {name: [_best(item, top, names) for item in array] for name, array in fitting.items()}


def _best(values: np.ndarray, top: int, names: Sequence[str] | None) -> list[BestClass]:
    order = np.argsort(-values if values.dtype.kind == "f" else ~values, kind="stable")[:top]
    background = 0 if names is None else len(values) - len(names)
    known = ["background"] * background + list(names or ())
    return [BestClass(int(index), known[index] if known else None, float(values[index])) for index in order]


def best_lines(found: Mapping[str, list[list[BestClass]]]) -> list[str]:
    """As lines for people."""
    lines: list[str] = []
    for output, items in found.items():
        for number, item in enumerate(items):
            lines.append(f"{output}:" if len(items) == 1 else f"{output}, item {number}:")
            lines += [f"  {each.value:10.6g}  [{each.number}]{f' {each.name}' if each.name else ''}" for each in item]
    return lines
