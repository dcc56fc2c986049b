"""The ``tilewright`` command: which part of Tilewright a command belongs to, and how every command ends."""

import errno
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from typing import Any

from tilewright.errors import FailedCheckError, InputError, TilewrightError, TilewrightWarning, UsageError, similar

from .. import compiler
from ..termination import orderly_termination
from . import COMMANDS, GROUPS
from .console import ExitCode, InterruptedCommandError, drop, enveloped, exit_code, prepare_streams, show, tell
from .parser import WIDEST, asks_for_json, complete, execute, summary_of

HELP = """\
Usage: tilewright COMMAND [OPTIONS]

Compile neural networks ahead of time, and run, inspect and measure the result.

Start with: tilewright compile model.onnx -o model.twa
then with:  tilewright run model.twa --random 1
{commands}
`tilewright COMMAND --help` explains a command.
`tilewright --version` tells the version.
{missing}Results go to stdout; progress, warnings and errors go to stderr.
Exit codes: 0 success, 1 bad input, 2 wrong usage, 3 unsupported model under
--strict, 130 Ctrl-C.
Shells complete words after: eval "$(register-python-argcomplete tilewright)"
"""


def main(arguments: Sequence[str], version: str) -> int:
    """Run the command line; the exit code.

    Every error is one paragraph on stderr; with ``TILEWRIGHT_DEBUG`` set it is raised instead, for its traceback.
    Raises SystemExit: the process was told to end."""
    words = [*arguments]
    prepare_streams()
    try:
        with orderly_termination(), _warnings_shown(quiet=bool({"-q", "--quiet"} & {*words})):
            code = _dispatch(words, version)
            sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
        code = ExitCode.SUCCESS
    except KeyboardInterrupt:
        code = _told(InterruptedCommandError("interrupted"), words)
    except Exception as error:
        if os.environ.get("TILEWRIGHT_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            drop(sys.stdout)
        code = _told(explain(error, words[0] if words else ""), words)
    return code


def _told(error: TilewrightError, words: Sequence[str]) -> int:
    """Tell of an error, as JSON too where that is asked for; the exit code."""
    tell("error", error)
    if asks_for_json(words) and not (isinstance(error, FailedCheckError) and error.result):
        # On stdout even where a file was named for the result, which there is none of.
        with suppress(OSError):
            command = words[0] if words[0] in COMMANDS else None
            show(enveloped(command, error=error, strict="--strict" in words))
    return exit_code(error, strict="--strict" in words)


@contextmanager
def _warnings_shown(*, quiet: bool) -> Iterator[None]:
    """Warnings of ours become lines on stderr; others are shown as Python does."""
    others, told = warnings.showwarning, set[str]()

    def show_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, TilewrightWarning):
            # A model that is imported for each of several shapes says the same each time.
            if str(message) not in told:
                told.add(str(message))
                tell("warning", message, quiet=quiet)
        else:
            others(message, category, *place, **options)

    with warnings.catch_warnings():
        # Unless whoever started this asked for something else.
        warnings.simplefilter("always", TilewrightWarning, append=True)
        warnings.showwarning = show_warning
        yield


def _dispatch(words: list[str], version: str) -> int:
    """Execute a command; the exit code."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    command = words[0] if words else ""
    if command in COMMANDS:
        show(execute(command, words[1:]))
    elif command == "--version":
        show(f"tilewright {version}\n")
    elif command in ("", "--help", "-h"):
        show(_help())
        return ExitCode.SUCCESS if command else ExitCode.USAGE
    else:
        what = f"No such {'option' if command.startswith('-') else 'command'} {command!r}"
        question = similar(command, (*COMMANDS, "--help", "--version"), 2)
        raise UsageError(what, hint=" ".join(filter(None, (question, "See `tilewright --help`."))))
    return ExitCode.SUCCESS


def _help() -> str:
    """The help of the whole: all commands, and what those of the compiler need where it is not installed."""
    from textwrap import fill

    listed, width = "", max(min(get_terminal_size().columns, WIDEST), 40)
    for group, names in GROUPS.items():
        lines = [f"  {name:<9} {summary_of(name)}" for name in names]
        told = [fill(line, width, subsequent_indent=12 * " ", break_on_hyphens=False) for line in lines]
        listed += "\n".join([f"\n{group}:", *told, ""])
    of_compiler = ", ".join(name for name, part in COMMANDS.items() if part == "compiler")
    install = f"Not installed here is what these need: {of_compiler}. Install it with: pip install 'tilewright[all]'\n"
    return HELP.format(commands=listed, missing="" if compiler.is_installed() else install)


def explain(error: Exception, command: str) -> TilewrightError:
    """The error that users read about ``error``, which ended a command, or what was taken for one."""
    if isinstance(error, TilewrightError):
        return error
    package = compiler.missing_package(error, by_compiler=COMMANDS.get(command) == "compiler")
    if package is not None:
        return compiler.NotInstalledError(f"`tilewright {command}`", package)
    if isinstance(error, MemoryError):
        return TilewrightError("this machine does not have enough memory")
    if isinstance(error, TilewrightWarning):
        return TilewrightError(str(error), hint="Python was told that warnings are errors.")
    # Libraries that cannot be loaded, such as for a limit of memory, raise one without a number.
    if isinstance(error, OSError) and error.errno is None:
        return TilewrightError(str(error) or "the system refuses what was asked of it")
    if isinstance(error, OSError):
        what = f"use {error.filename!r}" if error.filename else "write the output"
        reason = "stdout is closed" if error.errno == errno.EBADF else error.strerror or error
        return InputError(f"cannot {what}: {reason}")
    return TilewrightError(
        f"internal error: {type(error).__name__}: {error}",
        hint="This is a bug in Tilewright; please report it with the traceback that TILEWRIGHT_DEBUG=1 shows.",
    )
