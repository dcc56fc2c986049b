"""The table of a sweep as a CSV file, from which a sweep that was interrupted goes on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

import tilewright
from tilewright.errors import UsageError

from ...runtime.files.input_file import input_file
from ...runtime.files.output_file import output_file
from ..frontend.formats import digest_of
from ..options import CompileOptions
from .evaluation import Figures, Model, Outcome

Done = dict[tuple[float, ...], Outcome]
"""What became of machines, by the values of the fields that are set."""

IDENTITY = ("model", "machine", "options")
"""Columns that tell which sweep a row is of."""

_FIGURES = tuple(each.name for each in fields(Figures))
_OF_ENERGY = ("joules", "board_watts")
"""Figures of machines that state an energy model."""

_LONGEST = 2**28
"""Bytes of a table."""


def identity(model: Model, machine: str, options: CompileOptions) -> dict[str, str]:
    """What tells the sweep of a network from those of others: a digest for each column.

    Args:
        machine: the text of the file of the machine that is varied.

    Raises:
        ModelError: the model cannot be read.
    """
    said = {each.name: getattr(options, each.name) for each in fields(options) if each.name != "report"}
    files = [_files(said[name]) for name in ("affinity", "calibration", "freeze")]
    words = json.dumps([tilewright.__version__, said, files], default=_plain)
    of = {"model": digest_of(model, options.external_data), "machine": machine, "options": words}
    return {name: hashlib.sha256(of[name].encode()).hexdigest()[:16] for name in IDENTITY}


def _files(value: object) -> list[object]:
    """Size and time of change of all files that an option names, also in a folder or by input."""
    if isinstance(value, Mapping):
        return [_files(each) for each in value.values()]
    parts = re.split("[,=]", os.fspath(value)) if isinstance(value, (str, os.PathLike)) else []
    found = [each for part in map(Path, parts) for each in (part, *(sorted(part.rglob("*")) if part.is_dir() else ()))]
    return [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in found if each.is_file()]


def _plain(value: object) -> object:
    """What is no JSON, as far as it can be told apart from others."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    return str(value)


def read_table(path: Path, names: Sequence[str], own: Mapping[str, str]) -> Done:
    """What a file holds of a sweep over the fields ``names``; nothing where there is no file.

    Raises:
        InputError: it cannot be read.
        UsageError: it is no such table, or of another sweep.
    """
    if not path.exists():
        return {}
    with input_file(str(path)) as file:
        text = file.read(_LONGEST).decode(errors="replace")
    done: Done = {}
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    hint = "Give the table another name with --output, or take the file away."
    try:
        header = [*(reader.fieldnames or ())]
        if header[-len(IDENTITY) :] != [*IDENTITY] or header[-len(IDENTITY) - 1] != "error":
            raise UsageError(f"{path} is no table of a sweep", hint=hint)
        found = header[: -len(IDENTITY) - 1 - len(_FIGURES)]
        if found != [*names]:
            raise UsageError(
                f"{path} holds a sweep of other fields", expected=", ".join(names), found=", ".join(found), hint=hint
            )
        for row in reader:
            if None in (*row, *row.values()):
                raise ValueError(f"line {reader.line_num} has not a value for each column")
            for name, digest in own.items():
                if row[name] != digest:
                    what = f"{path} holds a sweep {_OTHER[name]}"
                    raise UsageError(what, expected=f"{name} {digest}", found=f"{row[name]:.40}", hint=hint)
            done[tuple(_number(row[name]) for name in names)] = _outcome(row)
    except (csv.Error, IndexError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no table of a sweep: {error}", hint=hint) from None
    return done


_OTHER = {
    "model": "of another model",
    "machine": "over another machine",
    "options": "with other options, or by another version",
}


def _outcome(row: Mapping[str, str]) -> Outcome:
    if row["error"]:
        return Outcome(None, row["error"])
    figures = {name: _number(row[name]) for name in _FIGURES if row[name] or name not in _OF_ENERGY}
    if min(figures.values()) < 0:
        raise ValueError("a figure is below 0")
    return Outcome(Figures(**dict[str, Any](dict.fromkeys(_OF_ENERGY) | figures)))


def _number(text: str) -> float:
    """As it was written: whole numbers are ``int``."""
    found = int(text) if text.lstrip("-").isdigit() else float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text!r:.40} is no finite number")
    return found


def write_table(path: Path, names: Sequence[str], own: Mapping[str, str], done: Done) -> None:
    """Write what is final, in order of the values.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *_FIGURES, "error", *IDENTITY])
    for values, outcome in sorted(done.items()):
        if outcome.is_final:
            figures = [getattr(outcome.figures, name, None) for name in _FIGURES]
            writer.writerow([*values, *figures, outcome.error, *own.values()])
    with output_file(path) as file:
        file.write(text.getvalue().encode())
