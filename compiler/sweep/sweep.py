"""Sweeps: the machines of a grid, what was found of them before, and what is found now.

The table of a sweep is a CSV file, from which a sweep that was interrupted goes on.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import tilewright
from tilewright.errors import ArtifactError, TilewrightWarning, UsageError, resources, warn
from tilewright.immutable import Immutable
from tilewright.limits import check_count

from ...runtime.cluster.job import LOCAL
from ...runtime.commands.console import progress_bar
from ...runtime.files.input_file import input_file
from ...runtime.files.output_file import check_outputs, write_file
from ...runtime.machines.fields import machine_fields
from ...runtime.machines.machine import DEFAULT, load_file
from ...runtime.report import page as html
from ...runtime.report.machines import show_number_of
from ...runtime.report.table import Column, Records, Table, show_bytes, show_count, show_seconds, significant
from ..declarations import option, with_keywords
from ..frontend.formats import digest_of
from ..options import CompileOptions
from .evaluation import Combination, Figures, Model, Outcome, combination, combinations, outcomes
from .picture import Point, front, picture

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
    ``machine``: the text of the file of the machine that is varied."""
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
    Raises InputError: it cannot be read; UsageError: it is no such table, or of another sweep."""
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
    """Write what is final, in order of the values."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *_FIGURES, "error", *IDENTITY])
    for values, outcome in sorted(done.items()):
        if outcome.is_final:
            figures = [getattr(outcome.figures, name, None) for name in _FIGURES]
            writer.writerow([*values, *figures, outcome.error, *own.values()])
    write_file(path, text.getvalue().encode())


class Row(Immutable):
    """A machine of a sweep.

    Attributes:
        values: of the fields that are set, by name.
        multipliers, scratchpad_bytes: of all clusters and cards; None where there is no such machine.
        figures: what is modelled; None where the network cannot be compiled for it.
        on_front: whether no other machine of the sweep is as fast with no more multipliers and memory on chip; not if
            another one does more of the network, instead of the host.
        error: why there are no figures; empty where there are.
    """

    values: Mapping[str, float]
    multipliers: int | None
    scratchpad_bytes: int | None
    figures: Figures | None
    on_front: bool
    error: str


class Sweep(Immutable):
    """One network on many machines, modelled, never measured; in order of the values of the fields that are set."""

    network: str
    machine: str
    fields: tuple[str, ...]
    rows: tuple[Row, ...]

    def records(self) -> Records:
        """The rows as JSON can hold them, figures not nested."""
        nothing = dict.fromkeys(each.name for each in fields(Figures))
        return [
            {**asdict(row), "figures": None} | (asdict(row.figures) if row.figures else nothing) for row in self.rows
        ]

    def table(self) -> Table:
        """A row for each machine."""
        shown = {name: _show_of(name) for name in self.fields}
        columns = [Column(name, name, show=show, right=True) for name, show in shown.items()]
        columns += [
            Column("seconds", "time", show=show_seconds, right=True),
            Column("mac_utilization", "MAC use", show="{:.1%}".format, right=True),
            Column("dram_bytes", "DRAM", show=show_bytes, right=True),
            Column("joules", "energy (mJ)", show=lambda joules: significant(joules * 1e3), right=True),
            Column("board_watts", "board (W)", show=significant, right=True, spare=True),
            Column("device_macs_share", "on device", show="{:.1%}".format, right=True, spare=True),
            Column("multipliers", "multipliers", show=lambda count: f"{count:,}", right=True, spare=True),
            Column("scratchpad_bytes", "on chip", show=show_bytes, right=True, spare=True),
            Column("on_front", "front", show=lambda best: "*" if best else "", spare=True),
        ]
        known = {column.key for column in columns}
        if any(row.error for row in self.rows):
            columns.append(Column("error", "why not", show=lambda error: error))
            known.add("error")
        title = f"{self.network} on {self.machine} with {' and '.join(self.fields)}, modelled, not measured on silicon"
        rows = [{**record, **record["values"]} for record in self.records()]
        return Table(columns, [{key: row[key] for key in row if key in known} for row in rows], title)

    def _repr_html_(self) -> str:
        return html.table(self.table())

    def svg(self) -> str:
        """A picture: times along the field with most values, and what more speed takes; light and dark."""
        most = _most(self.rows)
        points = [
            Point(tuple(row.values.values()), row.figures.seconds, *_sizes(row), row.figures.device_macs_share == most)
            for row in self.rows
            if row.figures is not None
        ]
        units = [_show_of(name) for name in self.fields]
        return picture(f"{self.network} on {self.machine}", self.fields, units, points)


def _told(names: Sequence[str], values: Sequence[float]) -> str:
    return " ".join(f"{name}={_show_of(name)(value)}" for name, value in zip(names, values, strict=True))


def _show_of(name: str) -> Callable[[Any], str]:
    """How people read the values of a field."""
    unit = machine_fields()[name].unit
    if unit in ("B/s", "Hz"):
        return lambda rate: f"{show_count(rate)}{unit}"
    return show_bytes if unit == "B" else show_number_of


@dataclass(frozen=True, kw_only=True)
class Sweeping(CompileOptions):
    """What ``tilewright.sweep`` takes: the options of compilation, and what to vary."""

    model: str | os.PathLike[str] | bytes = field(
        kw_only=False, metadata={"documentation": "The path or the contents of a model, as for tilewright.compile."}
    )
    set: Mapping[str, Sequence[float]] | None = option(
        None,
        "Values by field of the machine, such as {'maps_bytes': [65536, 131072], 'clusters': [1, 2, 4]}: every "
        "combination is a machine.",
    )
    output: str | os.PathLike[str] | None = option(
        None,
        "The CSV file to keep the table in. What it holds of this sweep is not computed again: a sweep that was "
        "interrupted goes on, and one with more values takes over what there is.",
    )
    svg: str | os.PathLike[str] | None = option(None, "The file to draw a picture into.")
    jobs: int = option(1, "Processes that compile at once. Results do not depend on it.")
    on: str = option(LOCAL, "Where they are: local, or dask://HOST:PORT, whose workers are as many as there are.")
    progress: bool = option(False, "Show a progress bar on stderr if that is a terminal.")


@with_keywords(Sweeping, "tilewright.sweep")
@resources("sweep")
def sweep(sweeping: Sweeping) -> Sweep:
    """Compile a network for many machines and model it on each; this is ``tilewright.sweep``.

    What is wrong with one machine, such as a scratchpad that is too small, is told in its row.

    Raises:
        MachineError: there is no such machine or field.
        UsageError: nothing is varied, an option has no use, or the file is of another sweep.
        OutputError: the table or the picture cannot be written.
        TilewrightError: the model cannot be compiled for any machine, as `tilewright.compile` says.
    """
    sweeping = sweeping.checked()
    if sweeping.precision not in (None, "int8") or sweeping.engines is not None:
        raise UsageError("a sweep is of int8 on the accelerator", hint="Leave precision and engines out.")
    jobs = check_count("jobs", sweeping.jobs)
    base = load_file(os.fspath(sweeping.machine or DEFAULT))
    settings = sweeping.set or {}
    machines = {each.values: each for each in combinations(base, settings)}
    names = tuple(settings)
    output = None if sweeping.output is None else Path(sweeping.output)
    inputs = (sweeping.machine, sweeping.affinity, sweeping.calibration)
    check_outputs((output, sweeping.svg), source=sweeping.model, inputs=inputs)
    options = CompileOptions(**{each.name: getattr(sweeping, each.name) for each in fields(CompileOptions)})
    options = replace(options, machine=None)
    own = identity(sweeping.model, combination(base, {}).text, options)
    done = read_table(output, names, own) if output is not None else {}
    done |= {each.values: Outcome(None, each.error) for each in machines.values() if each.file is None}
    left = [each for each in machines.values() if each.values not in done]
    try:
        with (
            progress_bar(quiet=not sweeping.progress) as report,
            closing(outcomes(sweeping.model, options, [each.text for each in left], jobs, sweeping.on)) as found,
        ):
            report("machines", len(machines) - len(left), len(machines))
            for count, (number, outcome) in enumerate(found, 1):
                done[left[number].values] = outcome
                if output is not None:
                    write_table(output, names, own, done)
                report("machines", len(machines) - len(left) + count, len(machines))
    except KeyboardInterrupt:
        if output is None:
            times = ((values, each.figures.seconds) for values, each in done.items() if each.figures is not None)
            told = "; ".join(f"{_told(names, values)}: {show_seconds(seconds)}" for values, seconds in times)
            warn(f"without --output nothing is kept; modelled by then: {told or 'nothing'}", TilewrightWarning)
        raise
    every = [combination(base, dict(zip(names, values, strict=True))) for values in sorted(done)]
    network = "model" if isinstance(sweeping.model, bytes) else Path(sweeping.model).stem
    result = Sweep(network, base.machine.name, names, tuple(_rows(names, every, done)))
    if all(row.figures is None for row in result.rows):
        raise ArtifactError("no machine of the sweep can run the network", stage="sweep", found=result.rows[0].error)
    if sweeping.svg is not None:
        write_file(sweeping.svg, result.svg().encode())
    return result


def _rows(
    names: Sequence[str], machines: Sequence[Combination], done: Mapping[tuple[float, ...], Outcome]
) -> list[Row]:
    rows: list[Row] = []
    for each in machines:
        outcome, machine = done[each.values], each.file.machine if each.file is not None else None
        sizes = (None, None) if machine is None else (machine.macs_per_cycle, machine.scratchpad_bytes)
        values = dict(zip(names, each.values, strict=True))
        rows.append(Row(values, *sizes, outcome.figures, False, outcome.error))
    most = _most(rows)
    able = [row for row in rows if row.figures is not None and row.figures.device_macs_share == most]
    costs = {tuple(row.values.values()): (row.figures.seconds, *_sizes(row)) for row in able if row.figures}
    best = front(costs.values())
    return [replace(row, on_front=costs.get(tuple(row.values.values())) in best) for row in rows]


def _most(rows: Iterable[Row]) -> float:
    """The largest share of the network that a machine computes."""
    return max((row.figures.device_macs_share for row in rows if row.figures is not None), default=0.0)


def _sizes(row: Row) -> tuple[float, float]:
    return row.multipliers or 0, row.scratchpad_bytes or 0
