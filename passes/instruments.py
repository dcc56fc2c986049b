"""Instruments: look at a pipeline while it runs without being part of it."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np

from tilewright.limits import MODULE_TEXT

from ..ir.core import Module
from ..ir.text.parser import parse_module
from ..ir.text.printer import blobs, print_module
from ..runtime.files.array_file import open_array
from ..runtime.files.input_file import contents
from ..runtime.files.output_file import is_stream, make_folder, output_file
from .base import Pass, Record


class Instrument:
    """Called around each pass of a pipeline; must not change the module. A subclass defines what it wants to see."""

    def start(self, pipeline: str, module: Module) -> None:
        """A pipeline of this name is about to run on ``module``."""

    def before(self, current: Pass, module: Module) -> None:
        """``current`` is about to run on ``module``."""

    def after(self, current: Pass, module: Module, record: Record) -> None:
        """``current`` ran and did what ``record`` says."""


class Timing(Instrument):
    """Collects the record of every pass; :meth:`__str__` is a table of times and counts, slowest first."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def after(self, current: Pass, module: Module, record: Record) -> None:
        self.records.append(record)

    def __str__(self) -> str:
        total = sum(record.seconds for record in self.records)
        lines = [f"{'pass':<36} {'ms':>9} {'%':>6}  changes"]
        for record in sorted(self.records, key=lambda r: -r.seconds):
            share = 100 * record.seconds / total if total else 0.0
            counts = ", ".join(f"{name} {count}" for name, count in sorted(record.counts.items()))
            lines.append(f"{record.name:<36} {1000 * record.seconds:>9.1f} {share:>6.1f}  {counts}".rstrip())
        lines.append(f"{'total':<36} {1000 * total:>9.1f}")
        return "\n".join(lines)


class Print(Instrument):
    """Prints the module after selected passes, to standard error. ``passes``: their names; ``*`` stands for all."""

    def __init__(self, passes: Collection[str]) -> None:
        self._passes = frozenset(passes)

    def after(self, current: Pass, module: Module, record: Record) -> None:
        if not self._passes.isdisjoint({"*", current.name}):
            title = f"// after {current.name}{'' if record.modified else ' (no change)'}"
            print(f"{title}\n{print_module(module)}", end="", file=sys.stderr, flush=True)


class Dump(Instrument):
    """Writes the module before the first pass of a pipeline and after each one that modified it.

    Each pipeline gets a folder, in order of execution: ``01_calibration/00_input.tw``, ``01_calibration/03_fuse.tw``,
    ``02_post_training/00_input.tw``. :func:`load_dump` reads the files back.
    ``folder``: made where it is missing."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._pipelines = self._passes = 0
        self._pipeline = ""

    def start(self, pipeline: str, module: Module) -> None:
        self._pipelines, self._passes = self._pipelines + 1, 0
        self._pipeline = f"{self._pipelines:02d}_{pipeline}"
        self._write("input", module)

    def after(self, current: Pass, module: Module, record: Record) -> None:
        self._passes += 1
        if record.modified:
            self._write(current.name, module)

    def _write(self, name: str, module: Module) -> None:
        dump_module(self.folder / self._pipeline / f"{self._passes:02d}_{name}.tw", module)


def dump_module(file: Path, module: Module) -> None:
    """Write a module as text, and the arrays that the text names by hash once each to ``blobs/<hash>.npy`` beside it.

    Beside a FIFO or a device, which may lie anywhere, no arrays are written.
    Raises OutputError: a file cannot be written."""
    make_folder(file.parent)
    arrays, store = {} if is_stream(file) else blobs(module), file.parent / "blobs"
    if arrays:
        make_folder(store)
    for digest, array in arrays.items():
        blob = store / f"{digest}.npy"
        if not blob.exists():
            with output_file(blob) as output:
                np.save(output, array)
    with output_file(file) as output:
        output.write(print_module(module).encode())


def load_dump(file: Path | str) -> Module:
    """The module of a file that :func:`dump_module` wrote.
    Raises ParseError: the text is malformed or a blob is missing; InputError: the file cannot be read, or a blob is
    damaged."""
    file = Path(file)
    text = contents(str(file), MODULE_TEXT).decode()
    arrays = {blob.stem: open_array(blob).read() for blob in (file.parent / "blobs").glob("*.npy") if blob.stem in text}
    return parse_module(text, arrays)


def instruments_from_environment() -> list[Instrument]:
    """A :class:`Dump` where ``TILEWRIGHT_DUMP`` names a folder."""
    folder = os.environ.get("TILEWRIGHT_DUMP")
    return [Dump(folder)] if folder else []
