"""Results as pandas prints and writes a table of them, without pandas, and how many agree with a file of labels."""

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tilewright.errors import InputError

from ...files.label_file import doubts_of, label_lines
from ...report.table import on_one_line
from .pipeline import Classified, Stamps

STAMPS = tuple(f"{name.replace('_', ' ').title()} TS" for name in Stamps._fields)
"""Columns: when each stage began and ended, in seconds of a clock that only runs forward."""

SPANS = ("Total Latency", "Preprocessing Time", "Upload Time", "Accelerator Time", "Download Time", "Inference Time")
"""Columns: seconds from the start to the end of the download; to the upload; of the three stages; of all three."""


def spans(stamps: Stamps) -> tuple[float, ...]:
    """The values of the columns `SPANS`."""
    return (
        stamps.download_end - stamps.start,
        stamps.upload_start - stamps.start,
        stamps.upload_end - stamps.upload_start,
        stamps.inference_end - stamps.inference_start,
        stamps.download_end - stamps.download_start,
        stamps.download_end - stamps.upload_start,
    )


def columns(*, profile: bool) -> tuple[str, ...]:
    """The names of the columns of the results."""
    return ("File Name", "Prediction", *(STAMPS + SPANS if profile else ()))


def rows(results: Sequence[Classified], *, profile: bool) -> list[list[object]]:
    """The values of each result in the order of the columns."""
    return [
        [each.file, str(each.prediction), *((*each.stamps, *spans(each.stamps)) if profile else ())] for each in results
    ]


def csv_text(results: Sequence[Classified], *, profile: bool) -> str:
    """Comma-separated values; the first column, without a name, counts from 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *columns(profile=profile)])
    writer.writerows([index, *row] for index, row in enumerate(rows(results, profile=profile)))
    return text.getvalue()


def table_text(results: Sequence[Classified], *, profile: bool) -> str:
    """A table for people: all rows, nothing cut off."""
    names = [str(index) for index in range(len(results))]
    cells = [[_cell(value) for value in row] for row in rows(results, profile=profile)]
    return _aligned(columns(profile=profile), names, cells)


def summary_text(results: Sequence[Classified]) -> str:
    """Number, mean, standard deviation of a sample, and quartiles of each of the spans."""
    summary = summarize(results)
    return _aligned(SPANS, [*summary], [[_cell(value) for value in row] for row in summary.values()])


def summarize(results: Sequence[Classified]) -> dict[str, tuple[float, ...]]:
    """What `summary_text` shows: by the name of the row, a value for each of the spans."""
    values = np.array([spans(each.stamps) for each in results], np.float64).reshape(-1, len(SPANS))
    count = len(values)
    nothing = np.full(len(SPANS), math.nan)
    quartiles = np.percentile(values, [0, 25, 50, 75, 100], axis=0) if count else [nothing] * 5
    found = {
        "count": np.full(len(SPANS), float(count)),
        "mean": values.mean(0) if count else nothing,
        "std": values.std(0, ddof=1) if count > 1 else nothing,
        **dict(zip(("min", "25%", "50%", "75%", "max"), quartiles, strict=True)),
    }
    return {name: tuple(row.tolist()) for name, row in found.items()}


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.6f}"
    return on_one_line(str(value))


def _aligned(headings: Sequence[str], names: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Names to the left, everything else to the right."""
    left = max(map(len, names), default=0)
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    lines = []
    for name, row in zip(("", *names), (headings, *cells), strict=True):
        parts = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([name.ljust(left), *parts]))
    return "".join(f"{line}\n" for line in lines)


_HINT = "Each line holds the name of a file, a space, and the number of its class; names are for `tilewright run`."


def read_labels(path: str | os.PathLike[str], classes: int) -> dict[str, int]:
    """The class of each file by its name, without folders.
    Raises InputError: the file cannot be read, or a line is not a name and a class; says which line."""
    labels: dict[str, int] = {}
    for at, line, name, label in label_lines(path, _HINT):
        if label is None or label >= classes or not name:
            what, expected = f"line {at} of {os.fspath(path)!r}", f"NAME CLASS, with a class of 0 to {classes - 1}"
            raise InputError(f"{what} is no label", expected=expected, found=line[:80], hint=_HINT)
        if labels.setdefault(name, label) != label:
            found = f"{labels[name]} and {label}"
            raise InputError(f"{os.fspath(path)!r} gives {name!r} two labels", found=found)
    return labels


class Accuracy(NamedTuple):
    """Shares of the images that have a label: those whose label is the best class, or one of the five best.
    ``labelled``: how many have one."""

    top1: float
    top5: float
    labelled: int


def accuracy(results: Iterable[Classified], labels: Mapping[str, int]) -> Accuracy | None:
    """How many of the results agree with the labels; None where no image has any."""
    pairs = [(each.prediction, labels.get(os.path.basename(each.file))) for each in results]
    known = [(prediction, label) for prediction, label in pairs if label is not None]
    first, best = sum(each[0] == label for each, label in known), sum(label in each for each, label in known)
    return Accuracy(int(first) / len(known), best / len(known), len(known)) if known else None


_FEWEST = 8
"""Labelled images, of fewer of which all that are wrong may be so by chance."""


def doubts(results: Iterable[Classified], labels: Mapping[str, int], classes: int) -> list[str]:
    """What to tell of labels that the results meet no better than by guessing."""
    pairs = [(int(each.prediction[0]), labels.get(os.path.basename(each.file))) for each in results]
    known = np.array([(best, label) for best, label in pairs if label is not None])
    if len(known) < _FEWEST:
        return []
    right = {by: float(np.mean(known[:, 0] == known[:, 1] + by)) for by in (0, 1, -1)}
    return doubts_of(right, len(known), 1 / max(2, classes), "classes count from 0")
