"""Outputs as answers: the best classes of items, of their tokens and boxes, and of the pixels of maps."""

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tilewright import limits
from tilewright.errors import UsageError

from ..files.label_file import text_lines
from .table import on_lines

SHOWN_ROWS = 100
"""How many rows of an output are printed with their classes."""


class BestClass(NamedTuple):
    """A class, its name if it has one, and what the network gives it: a number, or a share of the pixels of a map."""

    number: int
    name: str | None
    value: float


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of classes, one a line."""
    return [line.rstrip("\n") for line in text_lines(path, "holds no names of classes")]


def best_classes(
    results: Mapping[str, np.ndarray],
    top: int,
    names: Sequence[str] | None = None,
    truths: Collection[str] = (),
    shares: Collection[str] = (),
    image: tuple[int, int] = (1, 1),
) -> dict[str, list[list[BestClass]]]:
    """The best classes of each item of a batch, best first, or of each of its tokens or boxes, of the outputs that
    classify: numbers, [N, classes] or [N, rows, classes], or one for each that says how surely it is the second of two;
    of a map, [N, classes, height, width] or of integers, the classes of most pixels. Where a softmax makes some, of
    these alone, else without names of those of one row an item, or of the most numbers a row.
    ``names``: of all classes, or of all but a first one for the background.
    ``truths``, ``shares``: names of the outputs of which one number says so, and of those that a softmax makes.
    ``image``: see `rows_of`.
    Raises UsageError: no output classifies, or none has so many classes."""
    results = {name: with_no(array, image) if name in truths else array for name, array in results.items()}
    found = {name: class_rows(array, image, len(names or ())) for name, array in results.items()}
    rows = {name: array for name, array in found.items() if array is not None}
    fitting = rows if names is None else {n: a for n, a in rows.items() if a.shape[1] - len(names) in (0, 1)}
    if not fitting:
        shapes = ", ".join(f"{name}[{','.join(map(str, array.shape))}]" for name, array in results.items())
        wanted = "CLASSES" if names is None else f"{len(names)} or {len(names) + 1}"
        hint = "Leave --top and --labels out: other outputs are told in numbers."
        raise UsageError("no output is of such classes", expected=f"[N, {wanted}]", found=shapes, hint=hint)
    # Boxes and points beside probabilities are no classes.
    chosen = {name: array for name, array in fitting.items() if name in shares}
    if not chosen and names is None:
        most = max(array.shape[1] for array in fitting.values())
        single = {name: array for name, array in fitting.items() if len(array) == len(results[name])}
        chosen = single or {name: array for name, array in fitting.items() if array.shape[1] == most}
    best = {name: [_best(row, top, names) for row in array] for name, array in (chosen or fitting).items()}
    # Of a map nothing is told of what no pixel shows.
    seen = {name for name, array in results.items() if _has_rows(array) and len(array) == len(best.get(name, ()))}
    return {name: [[e for e in row if name not in seen or e.value] for row in rows] for name, rows in best.items()}


def class_rows(array: np.ndarray, image: tuple[int, int], known: int = 0) -> np.ndarray | None:
    """What classes get, [rows, classes]: in each item or each of its rows, or of a map their shares of its pixels; none
    of what has no classes.
    ``known``: how many classes have names."""
    is_map = _has_rows(array)
    if array.ndim < 2 or not array.size or (is_map and array.ndim > 4):
        return None
    if is_map and array.dtype.kind in "iu" and (array.ndim == 3 or 1 in (array.shape[1], array.shape[3])):
        # As of an ArgMax at the end.
        answers, classes = array.reshape(len(array), -1), max(int(array.max()) + 1, known)
        if array.min() < 0 or classes > limits.LABELS:
            return None
    else:
        before, classes, behind = rows_of(array.shape, image)
        numbers = array.reshape(before, classes, behind)
        if classes < 2 or not is_map or array.ndim == 3:
            return numbers[:, :, 0] if classes > 1 else None
        answers = numbers.argmax(1).reshape(len(array), -1)
    return np.stack([np.bincount(each.astype(np.int64), minlength=classes) / each.size for each in answers])


def _has_rows(array: np.ndarray) -> bool:
    """Whether items of an array have several dimensions."""
    return array.ndim > 2 and sum(each != 1 for each in array.shape[1:]) > 1


def rows_of(shape: Sequence[int], image: tuple[int, int] = (1, 1)) -> tuple[int, int, int]:
    """An output as rows of numbers, of which the largest is the answer: [rows, numbers, rows].

    Of three dimensions the last is that of a row: detectors have one for each box, language models for each word. Of
    four, as segmentation has them, it is the second or the last, a row for each pixel: the other two are to be like
    height and width of the image that the network takes. Of more it is all."""
    rows = math.prod(shape[: 2 if len(shape) == 3 and shape[2] > 1 else 1]) if len(shape) > 1 else 1
    if len(shape) == 4 and sum(each != 1 for each in shape[1:]) > 1:
        height, width = image

        def unlike(rows: int, columns: int) -> float:
            """How far the proportions of a map are from those of the image; rounded, as ties are decided otherwise."""
            return round(abs(math.log(max(1, columns) * height / (max(1, rows) * width))), 6)

        is_last = (unlike(*shape[1:3]), shape[3]) < (unlike(*shape[2:]), shape[1])
        return (math.prod(shape[:3]), shape[3], 1) if is_last else (rows, shape[1], shape[2] * shape[3])
    return rows, math.prod(shape) // max(1, rows), 1


def image_size(inputs: Iterable[Sequence[int]]) -> tuple[int, int]:
    """Height and width of the first image among inputs of these shapes, at least 1; of a square where there is none."""
    for _, first, second, last in (each for each in inputs if len(each) == 4):
        if min(first, last) <= 4:
            height, width = (second, last) if first <= 4 else (first, second)
            return max(1, height), max(1, width)
    return 1, 1


def with_no(array: np.ndarray, image: tuple[int, int] = (1, 1)) -> np.ndarray:
    """How surely each item is what a sigmoid tells, one number for each, as two classes, no and yes: [N, 2], and of a
    map, also of [N, height, width] of the image, for each pixel, [N, 2, height, width]; an array of more is left as it
    is, as of several numbers and no batch."""
    if _has_rows(array) and (array.shape[1:] == image or (array.ndim == 4 and 1 in array.shape[1::2])):
        yes = array.reshape(len(array), 1, *(array.shape[2:] if array.shape[1] == 1 else array.shape[1:3]))
        return np.concatenate([1 - yes, yes], 1)
    is_one = array.size == array.shape[0] if array.ndim > 1 else array.size == array.ndim == 1
    return np.stack([1 - array.ravel(), array.ravel()], 1) if is_one else array


def _best(values: np.ndarray, top: int, names: Sequence[str] | None) -> list[BestClass]:
    order = np.argsort(-values if values.dtype.kind == "f" else ~values, kind="stable")[:top]
    background = 0 if names is None else len(values) - len(names)
    known = ["background"] * background + list(names or ())
    return [BestClass(int(index), known[index] if known else None, float(values[index])) for index in order]


def classes_text(found: Mapping[str, list[list[BestClass]]], results: Mapping[str, np.ndarray]) -> str:
    """As lines for people, of the outputs of a run; of items of many rows, such as boxes, the surest ones."""
    lines: list[str] = []
    for output, rows in found.items():
        items, order = len(results[output]), [*range(len(rows))]
        if len(rows) > max(items, SHOWN_ROWS):
            order = sorted(order, key=lambda at, rows=rows: -rows[at][0].value)[:SHOWN_ROWS]
        for number in order:
            row = rows[number]
            item, at = divmod(number, max(1, len(rows) // items))
            where = [output, *([f"item {item}"] if items > 1 else []), *([f"row {at}"] if len(rows) > items else [])]
            best = [f"  {each.value:10.6g}  [{each.number}]{f' {each.name}' if each.name else ''}" for each in row]
            is_map = len(rows) == items and _has_rows(results[output])
            head = f"{', '.join(where)}{', share of the pixels' * is_map}:"
            lines += [head, *best] if len(rows) == items else [" ".join((head, *(f" {e.strip()}" for e in best)))]
        if len(order) < len(rows):
            lines.append(f"{output}: {len(rows) - len(order)} less sure rows, which --json prints")
    return "".join(on_lines(line, 4) for line in lines)
