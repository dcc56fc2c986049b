"""What the command line says, and the code it exits with.

Results go to stdout and nowhere else, so that they can be piped; progress, warnings and errors go to stderr.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import textwrap
from enum import IntEnum
from shutil import get_terminal_size
from typing import TextIO

from tilewright.errors import TilewrightError, UnsupportedError, UsageError, printable

PLAIN = {"─": "-", "–": "-", "…": "...", "µ": "u", "×": "x"}
"""How characters of our own texts are spelled where the terminal or the pipe has none of them."""


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


def prepare_streams() -> None:
    """Make stdout and stderr take whatever is written to them.

    What their encoding has no character for is spelled in ASCII. A stream that was closed when the process began is
    opened again, because the next file to be opened would take its number: writing results to such a stdout fails,
    what goes to such a stderr is lost.
    """
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
    """Write a result to stdout.

    Raises:
        OSError: it cannot be written.
    """
    sys.stdout.write(printable(result))
    sys.stdout.flush()


def drop(stream: TextIO) -> None:
    """Forget what a stream could not write, so that Python does not try again when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Diagnostics:
    """Notes, warnings and errors on stderr as it is at construction.

    Args:
        quiet: show no notes and no warnings. Errors are always shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.stream = sys.stderr
        self.quiet = quiet

    def error(self, error: TilewrightError) -> None:
        """Writes ``error`` as one paragraph that begins with ``error:``."""
        self._paragraph("error", str(error))

    def warning(self, message: str) -> None:
        """Writes ``message`` as one paragraph that begins with ``warning:``, unless quiet."""
        if not self.quiet:
            self._paragraph("warning", message)

    def note(self, message: str) -> None:
        """Writes ``message`` as one paragraph that begins with ``note:``, unless quiet."""
        if not self.quiet:
            self._paragraph("note", message)

    def _paragraph(self, kind: str, message: str) -> None:
        # The lines after the first are a quotation, such as a source line with a caret under it: they stay as they are.
        first, *quotation = printable(message).split("\n")
        lines = [f"{kind}: {first}"]
        if self.stream.isatty():
            width = max(get_terminal_size().columns, 40)
            lines = textwrap.wrap(lines[0], width, break_long_words=False, break_on_hyphens=False)
        try:
            self.stream.write("\n".join([*lines, *quotation]) + "\n")
            self.stream.flush()
        except OSError:
            # There is nobody to tell it to; the exit code remains.
            drop(self.stream)
