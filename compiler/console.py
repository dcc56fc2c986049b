"""What the command line says on stderr, and the code it exits with.

Results go to stdout and nowhere else, so that they can be piped; progress, warnings and errors go to stderr.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from shutil import get_terminal_size
from typing import TextIO

from tilewright.errors import TilewrightError, UnsupportedError, UsageError

ProgressReport = Callable[[str, int, int], None]
"""Called as ``report(stage, done, total)`` whenever ``done`` of ``total`` steps of the named stage are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """A progress report to nobody."""


class StageTimes:
    """A progress report that also adds up how long each stage lasts.

    Attributes:
        seconds: by stage; what comes between two reports belongs to the stage of the later one.
    """

    def __init__(self, report: ProgressReport) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report
        self._last = time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
        self._report(stage, done, total)


class ExitCode(IntEnum):
    """The meaning of the command's exit codes."""

    SUCCESS = 0
    BAD_INPUT = 1
    USAGE = 2
    UNSUPPORTED = 3


def exit_code(error: TilewrightError, *, strict: bool = False) -> ExitCode:
    """Returns the code to exit with after ``error``; only under ``--strict`` is an unsupported model told apart."""
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    if strict and isinstance(error, UnsupportedError):
        return ExitCode.UNSUPPORTED
    return ExitCode.BAD_INPUT


def printable(text: str) -> str:
    """Escapes control characters, which names inside a model file may hold to play tricks with a terminal."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Diagnostics:
    """Progress, warnings and errors on one text stream.

    Args:
        stream: where to write; stderr as it is at construction if not given.
        quiet: show neither progress nor warnings. Errors are always shown.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.quiet = quiet

    @property
    def interactive(self) -> bool:
        """Whether a person is watching the stream."""
        return self.stream.isatty()

    def error(self, error: TilewrightError) -> None:
        """Writes ``error`` as one paragraph that begins with ``error:``."""
        self._paragraph("error", str(error))

    def warning(self, message: str) -> None:
        """Writes ``message`` as one paragraph that begins with ``warning:``, unless quiet."""
        if not self.quiet:
            self._paragraph("warning", message)

    @contextmanager
    def progress(self) -> Iterator[ProgressReport]:
        """Shows a bar for each stage reported, on a terminal and unless quiet, and clears them at the end.

        Yields the function to report with. It may be called from any thread, and a stage may be reported again with
        another total.
        """
        if self.quiet or not self.interactive:
            yield silent
            return
        # Here and not above: a command that shows no bar, such as a run in a script, need not wait for rich to load.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=self.stream), transient=True) as bars:
            tasks = {}

            def report(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(printable(stage).replace("[", r"\["), total=total)
                bars.update(tasks[stage], completed=done, total=total)

            yield report

    def _paragraph(self, kind: str, message: str) -> None:
        # The lines after the first are a quotation, such as a source line with a caret under it: they stay as they are.
        first, *quotation = printable(message).split("\n")
        lines = [f"{kind}: {first}"]
        if self.interactive:
            width = max(get_terminal_size().columns, 40)
            lines = textwrap.wrap(lines[0], width, break_long_words=False, break_on_hyphens=False)
        self.stream.write("\n".join([*lines, *quotation]) + "\n")
        self.stream.flush()
