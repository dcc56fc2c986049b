"""Running the passes of a compilation the way its options want it: observed, and with progress."""

from __future__ import annotations

from pathlib import Path

from ..ir.core import Module
from ..passes.base import Pass, Record
from ..passes.instruments import Dump, Instrument, Print, instruments_from_environment
from ..passes.pipeline import Pipeline
from .options import CompileOptions
from .progress import ProgressReport


def observers(options: CompileOptions) -> list[Instrument]:
    """The instruments that the options and the environment ask for."""
    found = [*options.instruments, *instruments_from_environment()]
    if options.dump is not None:
        found.append(Dump(Path(options.dump)))
    if options.print_after:
        found.append(Print(options.print_after))
    return found


class _PassProgress(Instrument):
    """Reports each pass of a pipeline."""

    def __init__(self, report: ProgressReport, stage: str, total: int) -> None:
        self._report = report
        self._stage = stage
        self._done, self._total = 0, total

    def before(self, current: Pass, module: Module) -> None:
        self._report(self._stage, self._done, self._total)

    def after(self, current: Pass, module: Module, record: Record) -> None:
        self._done += 1
        self._report(self._stage, self._done, self._total)


def run_passes(pipeline: Pipeline, module: Module, options: CompileOptions) -> None:
    """Run a pipeline in place, watched by the instruments of ``options`` and with progress."""
    progress = _PassProgress(options.report, f"passes ({pipeline.name})", len(pipeline.passes))
    pipeline.run(module, instruments=(*options.instruments, progress))
