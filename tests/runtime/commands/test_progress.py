"""The bar that shows how far the work is."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from tilewright.errors import ModelError
from tilewright.runtime.commands.console import progress_bar, tell


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_silent_when_quiet_or_piped() -> None:
    for stream, quiet in ((Terminal(), True), (io.StringIO(), False)):
        with progress_bar(stream, quiet=quiet) as report:
            report("fold_constants", 1, 2)
        assert stream.getvalue() == ""


def test_progress_on_a_terminal_names_the_stage_and_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with progress_bar(stream) as report:
        report("kernels\x1b[2J", 3, 4)
        threads = [threading.Thread(target=report, args=(f"stage {n}", n, 4)) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    first, *_, last = stream.getvalue().split("\r")[1:]
    assert first == "kernels\\x1b[2J [" + "#" * 22 + " " * 8 + "] 3 of 4, 0 s"
    assert {f"stage {n}" for n in range(1, 5)} == {
        line.partition(" [")[0] for line in stream.getvalue().split("\r")[2:6]
    }
    assert last == ""
    assert not stream.getvalue().split("\r")[-2].strip()


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (60, "a stage of a very long n [#######       ] 1000 of 2000, 0 s"),
        (40, "a stage of a very lon 1000 of 2000, 0 s"),
        (10, " 1000 of "),
    ],
)
def test_a_line_never_exceeds_the_terminal(columns: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    with progress_bar(stream) as report:
        report("a stage of a very long name indeed", 1000, 2000)
    assert stream.getvalue().split("\r")[1] == line
    assert len(line) < columns


def test_what_else_goes_to_stderr_takes_the_place_of_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_bar() as report:
        report("import", 0, 1)
        tell("warning", "one")
        report("passes", 0, 1)
        sys.stderr.write("two\n")
    assert sys.stderr is terminal
    shown = [line.rpartition("\r")[2] for line in terminal.getvalue().split("\n")[:-1]]
    assert shown == ["warning: one", "two"]


def test_progress_ends_when_the_work_fails() -> None:
    stream = Terminal()
    with pytest.raises(ModelError), progress_bar(stream) as report:
        report("import", 0, 1)
        raise ModelError("broken")
    assert stream.getvalue().endswith(" \r")
