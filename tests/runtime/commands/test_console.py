"""Diagnostics on stderr: what is shown where, and the exit codes."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from tilewright.errors import (
    ArtifactError,
    CalibrationWarning,
    InputError,
    ModelError,
    ParseError,
    TilewrightError,
    UnsupportedError,
    UsageError,
    printable,
    warn,
)
from tilewright.runtime.commands.console import ExitCode, InterruptedCommandError, exit_code, tell
from tilewright.runtime.commands.main import _warnings_shown

LONG = TilewrightError(
    "the operator has no kernel",
    stage="import",
    op="Loop",
    node="decoder/while",
    expected="one of the operators that `tilewright inspect --supported-ops` lists",
    found="Loop of opset 17",
    hint="Export the model with the loop unrolled",
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("error", "strict", "code"),
    [
        (ModelError("x"), False, ExitCode.BAD_INPUT),
        (ModelError("x"), True, ExitCode.BAD_INPUT),
        (ArtifactError("x"), True, ExitCode.BAD_INPUT),
        (InputError("x"), False, ExitCode.BAD_INPUT),
        (InterruptedCommandError("x"), False, ExitCode.INTERRUPTED),
        (UsageError("x"), False, ExitCode.USAGE),
        (UnsupportedError("x"), False, ExitCode.BAD_INPUT),
        (UnsupportedError("x"), True, ExitCode.UNSUPPORTED),
    ],
)
def test_exit_codes(error: TilewrightError, strict: bool, code: ExitCode) -> None:
    assert exit_code(error, strict=strict) is code


def test_exit_codes_are_the_documented_numbers() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 130]


def test_an_error_in_a_pipe_is_one_line() -> None:
    stream = io.StringIO()
    with redirect_stderr(stream):
        tell("error", LONG)
    assert stream.getvalue() == (
        "error: import: Loop: node 'decoder/while': the operator has no kernel; expected one of the operators that "
        "`tilewright inspect --supported-ops` lists, found Loop of opset 17. Export the model with the loop unrolled\n"
    )


def test_an_error_on_a_terminal_is_wrapped_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    stream = Terminal()
    with redirect_stderr(stream):
        tell("error", LONG)
    lines = stream.getvalue().splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 50
    assert " ".join(lines) == f"error: {LONG}"


def test_a_long_path_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    stream, path = Terminal(), "/home/somebody/" + "very-long-name/" * 6
    with redirect_stderr(stream):
        tell("error", ModelError(f"cannot read {path} as a model"))
    assert path in stream.getvalue().splitlines()


def test_the_caret_of_a_parse_error_stays_under_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    error = ParseError("expected a type", line=3, column=61, text=f"  %y = relu(%x){' ' * 45}: q32")
    with redirect_stderr(stream):
        tell("error", error)
    source, caret = stream.getvalue().splitlines()[-2:]
    assert source == error.text
    assert caret == " " * 60 + "^"


def test_control_characters_of_a_model_do_not_reach_the_terminal() -> None:
    stream = Terminal()
    with redirect_stderr(stream):
        tell("error", ModelError("bad", node="\x1b[2Jgone\r\x07"))
    assert not set(stream.getvalue()) & {"\x1b", "\r", "\x07"}
    assert printable("a\x1b[2J\tb\né") == "a\\x1b[2J\\tb\né"


def test_warnings_are_silent_when_quiet() -> None:
    quiet = Terminal()
    with redirect_stderr(quiet):
        tell("warning", "no CPU kernel", quiet=True)
    assert quiet.getvalue() == ""
    piped = io.StringIO()
    with redirect_stderr(piped):
        tell("warning", "no CPU kernel")
    assert piped.getvalue() == "warning: no CPU kernel\n"


def test_a_warning_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with _warnings_shown(quiet=False):
        for what in ("one", "two", "one"):
            warn(what, CalibrationWarning)
    assert capsys.readouterr().err == "warning: one\nwarning: two\n"
