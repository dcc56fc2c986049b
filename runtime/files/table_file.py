"""Tables of numbers as text, ``.csv``, which may come from strangers: a line for each sample, columns between commas.

Lines are read one at a time, so that memory grows with the numbers that are asked for and not with the file.
"""

import csv
import io
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np

from tilewright import limits
from tilewright.errors import CalibrationWarning, InputError, warn

from .input_file import input_file, too_large

_LINE = 1 << 24
"""Characters of a line, which is in memory as a whole."""
_NUMBERED = 3
"""From so many columns on, whole numbers from 0 on in the first line are taken for the names that programs give."""
_WHOLE = "Leave out lines that lack values, and give text as numbers."


def read_table(
    path: str, inputs: Mapping[str, tuple[Sequence[int], np.dtype]], most: int | None = None
) -> dict[str, np.ndarray]:
    """Samples of each input, [lines, ...]: all columns are those of the one input, or those with its name.

    A first line without any number in it has the names of the columns.
    ``inputs``: extents of a sample, without those of the batch, and type of its numbers, by name.
    ``most``: read at most so many lines of numbers.
    Raises InputError: the file cannot be read, is no such table, or does not fit the inputs; names line and column."""
    lines = _lines(path)
    header: list[str] = []
    first = next(lines, None)
    if first is not None and not any(map(_is_like_number, first[1])):
        header, first = first[1], None
    width = len(header)
    numbers, places = array("d"), array("q")
    for at, words in islice(chain([first] if first else [], lines), most):
        width = width or len(words)
        _add(path, numbers, places, at, words, width)
    if not places:
        raise InputError(f"{path!r} is no table of samples", expected="lines of numbers", found="none")
    table = np.frombuffer(numbers).reshape(-1, width)
    if not header and width >= _NUMBERED and np.array_equal(table[0], np.arange(width)):
        message = f"the first line of {path!r} is 0 to {width - 1} and taken for a sample, not for names of columns"
        warn(message, CalibrationWarning)
    found: dict[str, np.ndarray] = {}
    for name, (extents, dtype) in inputs.items():
        columns = _columns(path, name, math.prod(extents), header, width, is_only=len(inputs) == 1)
        found[name] = _as_type(path, table[:, columns], dtype, places, columns).reshape(len(places), *extents)
    return found


def _lines(path: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each line that has any, with its number."""
    size = 0
    with input_file(path, at_most=limits.TABLE_FILE) as file:
        text = io.TextIOWrapper(io.BufferedReader(file), "utf-8-sig", "replace", newline=None)
        for at in range(1, limits.TABLE_FILE + 1):
            line = text.readline(_LINE)
            size += len(line)
            if size > limits.TABLE_FILE or len(line) == _LINE:
                raise too_large(f"the table {path!r}", limits.TABLE_FILE, f"a line of {len(line)}, {size} in all")
            if not line:
                return
            if line.isspace():
                continue
            try:
                words = next(csv.reader([line], skipinitialspace=True, strict=True), [])
            except csv.Error as error:
                raise InputError(f"line {at} of the table {path!r} cannot be read: {error}") from None
            yield at, [word.strip(" \t'") for word in words]


def _add(path: str, numbers: "array[float]", places: "array[int]", at: int, words: list[str], width: int) -> None:
    """Take the numbers of a line."""
    where = f"line {at} of the table {path!r}"
    for column, word in enumerate(words, 1):
        try:
            numbers.append(_number(word))
        except ValueError:
            other = next((sign for sign in (";", "\t") if sign in word), None)
            hint = f"Separate columns by commas, not by {other!r}." if other else _WHOLE
            message, found = f"{where} holds what is no number in column {column}", repr(word[:40])
            raise InputError(message, expected="columns of numbers", found=found, hint=hint) from None
    if len(words) != width:
        raise InputError(f"{where} is not as long as those before", expected=f"{width} columns", found=len(words))
    places.append(at)


def _columns(path: str, name: str, wanted: int, header: list[str], width: int, *, is_only: bool) -> list[int]:
    """Which columns are an input."""
    if is_only and width == wanted:
        return [*range(width)]
    named = [at for at, each in enumerate(header) if each == name]
    if not named and not is_only:
        found = ", ".join(header[:8])[:80] or "no names"
        expected = f"as many columns with the name of each input as it has numbers, here {wanted}"
        raise InputError(f"{path!r} has no column {name!r}", expected=expected, found=found)
    if len(named) != wanted:
        hint = "Leave out columns that are no inputs, such as what is to be predicted."
        found = width if is_only else len(named)
        raise InputError(f"{path!r} does not fit input {name!r}", expected=f"{wanted} columns", found=found, hint=hint)
    return named


def _as_type(
    path: str, numbers: np.ndarray, dtype: np.dtype, places: "array[int]", columns: Sequence[int]
) -> np.ndarray:
    """Numbers in a type that holds them."""
    with np.errstate(all="ignore"):
        found = numbers.astype(dtype)
        if dtype.kind in "iu":
            # Beyond, a float64 may be another number than its word.
            low, high = max(np.iinfo(dtype).min, 1 - 2**53), min(np.iinfo(dtype).max, 2**53 - 1)
            wrong = (numbers != np.trunc(numbers)) | (numbers < low) | (numbers > high)
            expected = f"whole numbers from {low} to {high}"
        else:
            wrong = (numbers != 0) & (numbers != 1) if dtype.kind == "b" else ~np.isfinite(found)
            expected = "0 or 1" if dtype.kind == "b" else f"numbers that {dtype} holds"
    if wrong.any():
        line, column = (int(each) for each in np.argwhere(wrong)[0])
        where = f"line {places[line]} of the table {path!r}"
        message = f"{where} holds what the input cannot take in column {columns[column] + 1}"
        raise InputError(message, expected=expected, found=f"{numbers[line, column]:g}")
    return found


def _is_like_number(word: str) -> bool:
    try:
        # Numbers between other signs than commas are no names.
        float(word.replace("\t", ";").partition(";")[0])
    except ValueError:
        return False
    return True


def _number(word: str) -> float:
    """What a word says; a ValueError if that is none, endless, or written as in programs."""
    number = float(word)
    if "_" in word or not math.isfinite(number):
        raise ValueError(word)
    return number
