"""How far the work is: reports of it, and the bars that show them on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tilewright.errors import printable

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


@contextmanager
def progress_bars(stream: TextIO | None = None, *, quiet: bool = False) -> Iterator[ProgressReport]:
    """Shows a bar for each stage reported, on a terminal and unless quiet, and clears them at the end.

    Yields the function to report with. It may be called from any thread, and a stage may be reported again with
    another total.

    Args:
        stream: where to draw; stderr as it is now if not given.
    """
    target: TextIO = stream or sys.stderr
    if quiet or not target.isatty():
        yield silent
        return
    # Here and not above: a command that shows no bar, such as one in a script, need not wait for rich to load.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=target), transient=True) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(printable(stage).replace("[", r"\["), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
