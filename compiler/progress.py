"""How far the work is: reports of it, and how long its stages take."""

import time
from collections.abc import Callable

ProgressReport = Callable[[str, int, int], None]
"""Called as ``report(stage, done, total)`` whenever ``done`` of ``total`` steps of the named stage are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """A progress report to nobody."""


class StageTimes:
    """A progress report that also adds up how long each stage lasts.
    ``seconds``: by stage; what comes between two reports belongs to the stage of the later one."""

    def __init__(self, report: ProgressReport) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report
        self._last = time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
        self._report(stage, done, total)
