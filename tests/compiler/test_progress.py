"""Bars for the stages of a compilation."""

from __future__ import annotations

import io
import threading

import pytest

from tilewright.compiler.progress import progress_bars
from tilewright.errors import ModelError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_silent_when_quiet_or_piped() -> None:
    for stream, quiet in ((Terminal(), True), (io.StringIO(), False)):
        with progress_bars(stream, quiet=quiet) as report:
            report("fold_constants", 1, 2)
        assert stream.getvalue() == ""


def test_progress_on_a_terminal_names_the_stage_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with progress_bars(stream) as report:
        report("kernels [bold]", 0, 4)
        threads = [threading.Thread(target=report, args=("kernels [bold]", n, 4)) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "kernels [bold]" in stream.getvalue()
    assert "/4" in stream.getvalue()


def test_progress_ends_when_the_work_fails() -> None:
    stream = Terminal()
    with pytest.raises(ModelError), progress_bars(stream) as report:
        report("import", 0, 1)
        raise ModelError("broken")
    assert stream.getvalue().endswith("\x1b[2K")
