"""What the command line says, the one form of all that ``--json`` prints, and the code it exits with.

Results go to stdout and nowhere else, so that they can be piped; progress, warnings and errors go to stderr.
"""

import codecs
import contextlib
import io
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from shutil import get_terminal_size
from typing import Any, TextIO, TypedDict, cast

from tilewright.errors import ErrorRecord, FailedCheckError, TilewrightError, UnsupportedError, UsageError, printable

PLAIN = {"─": "-", "–": "-", "…": "...", "µ": "u", "×": "x"}
"""How characters of our own texts are spelled where the terminal or the pipe has none of them."""


class ExitCode(IntEnum):
    """The meaning of the command's exit codes."""

    SUCCESS = 0
    BAD_INPUT = 1
    USAGE = 2
    UNSUPPORTED = 3
    INTERRUPTED = 130
    """After Ctrl-C, as shells have it."""


class InterruptedCommandError(FailedCheckError):
    """Ctrl-C ended a command, which may have found something by then."""


def exit_code(error: TilewrightError, *, strict: bool = False) -> ExitCode:
    """Returns the code to exit with after ``error``; only under ``--strict`` is an unsupported model told apart."""
    if isinstance(error, InterruptedCommandError):
        return ExitCode.INTERRUPTED
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    if strict and isinstance(error, UnsupportedError):
        return ExitCode.UNSUPPORTED
    return ExitCode.BAD_INPUT


def prepare_streams() -> None:
    """Make stdout and stderr take whatever is written to them.

    What their encoding has no character for is spelled in ASCII. A stream that was closed when the process began is
    opened again, because the next file to be opened would take its number: writing results to such a stdout fails,
    what goes to such a stderr is lost."""
    codecs.register_error("tilewright", _spell)
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        stream = getattr(sys, name)
        if stream is None:
            os.open(os.devnull, flags)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tilewright")


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in wrong), error.end


def show(result: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(printable(result))
    sys.stdout.flush()


def drop(stream: TextIO) -> None:
    """Forget what a stream could not write, so that Python does not try again when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def tell(kind: str, message: object, *, quiet: bool = False) -> None:
    """Write one paragraph to stderr that begins with its kind: ``error``, ``warning`` or ``note``; unless quiet."""
    if quiet:
        return
    # The lines after the first are a quotation, such as a source line with a caret under it: they stay as they are.
    first, *quotation = printable(str(message)).split("\n")
    lines = [f"{kind}: {first}"]
    if sys.stderr.isatty():
        width = max(get_terminal_size().columns, 40)
        lines = textwrap.wrap(lines[0], width, break_long_words=False, break_on_hyphens=False)
    try:
        sys.stderr.write("\n".join([*lines, *quotation]) + "\n")
        sys.stderr.flush()
    except OSError:
        # There is nobody to tell it to; the exit code remains.
        drop(sys.stderr)


BAR = 30
"""Characters of a progress bar, where the terminal is wide enough."""


@contextlib.contextmanager
def progress_bar(stream: TextIO | None = None, *, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Shows how far the work is on one line of a terminal, unless quiet, and clears it at the end.

    Yields the function to report with: ``report(stage, done, total)``, from any thread.
    ``stream``: where to draw; stderr as it is now if not given."""
    bar = _Bar(stream or sys.stderr, quiet=quiet)
    with contextlib.redirect_stderr(cast("TextIO", _Above(bar, sys.stderr))):
        try:
            yield bar.show
        finally:
            bar.draw("")


class _Above:
    """A stream whose text takes the place of the bar, which is drawn again below it."""

    def __init__(self, bar: "_Bar", stream: TextIO) -> None:
        self._bar, self._stream = bar, stream

    def write(self, text: str) -> int:
        self._bar.draw("")
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Bar:
    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self._stream, self._is_shown = stream, not quiet and stream.isatty()
        self._lock = threading.Lock()
        self._stage, self._since, self._due, self._drawn = "", 0.0, 0.0, 0

    def show(self, stage: str, done: int, total: int) -> None:
        """So many steps of a stage are done with; the line is drawn ten times a second and for each new stage."""
        now = time.monotonic()
        if not self._is_shown or (stage == self._stage and now < self._due):
            return
        with self._lock:
            if stage != self._stage:
                self._stage, self._since = stage, now
            self._due = now + 0.1
            columns = get_terminal_size().columns - 1
            stage, counted = printable(stage), f" {done} of {total}, {now - self._since:.0f} s"
            length = min(BAR, columns - len(counted) - 3 - min(len(stage), 24))
            bar = f" [{'#' * (done * length // max(total, 1)):<{length}}]" if length > 4 else ""
            self.draw((stage[: max(columns - len(bar + counted), 0)] + bar + counted)[:columns])

    def draw(self, line: str) -> None:
        """A line in place of the one that is there."""
        if self._drawn or line:
            blank = " " * max(self._drawn - len(line), 0)
            with contextlib.suppress(OSError):
                self._stream.write(f"\r{line}{blank}{'' if line else chr(13)}")
                self._stream.flush()
            self._drawn = len(line)


SCHEMA = 1
"""The version of the form, and of the results of all commands: it rises when a field goes or means something else."""


class Failure(ErrorRecord):
    """Why a command failed.
    ``exit_code``: of the process."""

    exit_code: int


class Envelope(TypedDict):
    """What ``--json`` prints.

    Attributes:
        schema: the version of this form and of all results.
        command: whose result it is; nothing where there is no such command.
        result: what the command found; nothing where it failed before.
        error: why it failed; nothing where it did not. A check that does not hold has a result as well.
    """

    schema: int
    command: str | None
    result: object
    error: Failure | None


def enveloped(
    command: str | None, result: object = None, error: TilewrightError | None = None, *, strict: bool = False
) -> str:
    """A result, or an error, or both, as JSON; ``strict`` decides the exit code, as for `exit_code`."""
    from ..report.table import json_text

    failure = None if error is None else Failure(**error.record(), exit_code=int(exit_code(error, strict=strict)))
    return json_text(Envelope(schema=SCHEMA, command=command, result=result, error=failure))
