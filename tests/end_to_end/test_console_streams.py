"""The command where stdout or stderr is closed, is full, has no reader or lacks characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from network_files import digits_artifact
from random_seeds import in_turn

CLOSED = "error: cannot write the output: stdout is closed\n"
FULL = "error: cannot write the output: No space left on device\n"


def shell(words: str, *, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``tilewright``, with redirections, as a shell starts it."""
    command = f"{sys.executable} -m tilewright {words}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, env={**os.environ, **(environment or {})}, timeout=120
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


LONG = "inspect --supported-ops"
READERS = ("true", "head -c 5")


@pytest.mark.parametrize("words", ["--version", "--help", "compile --help", "run --help", "inspect --supported-ops"])
def test_stdout_that_is_closed(words: str) -> None:
    assert shell(f"{words} >&-") == (1, "", CLOSED)


@pytest.mark.parametrize(
    ("redirections", "code", "message"),
    [
        (">&-", 1, CLOSED),
        (">&- 2>&-", 1, ""),
        ("<&- >&- 2>&-", 1, ""),
        ("<&-", 0, ""),
        (">/dev/full", 1, FULL),
        (">/dev/full 2>/dev/full", 1, ""),
    ],
)
def test_results_that_cannot_be_written(redirections: str, code: int, message: str) -> None:
    found, _, shown = shell(f"run {digits_artifact()} --random 1 {redirections}")
    assert (found, shown) == (code, message)


def test_outputs_are_saved_though_stdout_is_closed(tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    code, _, message = shell(f"run {digits_artifact()} --random 1 -o {output} >&-")
    assert (code, message) == (1, CLOSED)
    assert output.read_bytes()[:2] == b"PK"


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("words", "code"), [("run nothing.twa", 1), ("bogus", 2), ("--version", 0)])
def test_messages_that_cannot_be_written(words: str, code: int, redirection: str) -> None:
    found, _, shown = shell(f"{words} {redirection}")
    assert (found, shown) == (code, "")


@pytest.mark.parametrize(("words", "reader"), in_turn(["--help", "compile --help", LONG, "run --help"], READERS))
def test_a_reader_that_goes_away(words: str, reader: str) -> None:
    code, _, message = shell(f"{words} | {reader} >/dev/null; exit ${{PIPESTATUS[0]}}")
    assert (code, message) == (0, "")


ASCII = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
LOCALES = [ASCII, {"LC_ALL": "POSIX"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]


@pytest.mark.parametrize(
    ("words", "environment"),
    in_turn(["--help", "compile --help", LONG, "opt --help", "run --help"], LOCALES, 3),
    ids=str,
)
def test_help_in_every_locale(words: str, environment: dict[str, str]) -> None:
    code, _, message = shell(words, environment=environment)
    assert (code, message) == (0, "")


def test_characters_that_are_not_there_are_spelled(tmp_path: Path) -> None:
    code, shown, _ = shell("run --help", environment=ASCII)
    assert code == 0
    assert "(ed25519:...)" in shown
    code, shown, _ = shell(f"inspect {digits_artifact()}", environment=ASCII)
    assert code == 0
    assert shown.isascii()
    assert "\n  -----" in shown
    code, _, message = shell(f"run {tmp_path}/größe.twa", environment=ASCII)
    assert (code, message) == (
        1,
        f"error: load artifact: cannot read '{tmp_path}/gr\\xf6\\xdfe.twa': No such file or directory\n",
    )


def test_a_file_name_that_is_no_text() -> None:
    code, _, message = shell("inspect $'\\xff.twa'")
    assert code == 1
    assert message == "error: load artifact: cannot read '\\udcff.twa': No such file or directory\n"
