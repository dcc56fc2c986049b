"""Running a file as Python's own command line would."""

from __future__ import annotations

import builtins
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import BuiltinImporter, SourceFileLoader
from types import ModuleType, TracebackType
from typing import NamedTuple

Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]

STDIN = "-"


class Script(NamedTuple):
    """A program as it was read.

    Attributes:
        given: its path as given, or ``-``.
        file: the path that its ``__file__`` tells.
        folder: what goes first on ``sys.path``.
        source: the content.
    """

    given: str
    file: str
    folder: str
    source: bytes


def read_script(given: str) -> Script:
    """Read a file, or standard input for ``-``.

    Raises:
        OSError: it cannot be read.
    """
    if given == STDIN:
        return Script(given, "<stdin>", "", sys.stdin.buffer.read())
    # As Python has it: absolute, otherwise as given; the folder is that of the file which a link leads to.
    file = os.path.join(os.getcwd(), given)
    with io.open_code(file) as stream:
        return Script(given, file, os.path.dirname(os.path.realpath(file)), stream.read())


def run_script(script: Script, arguments: Sequence[str]) -> None:
    """Run a program as the module ``__main__``.

    The process is the program's from here on: ``sys.argv``, ``sys.path`` and ``sys.modules`` are changed for good.

    Raises:
        BaseException: whatever the program raises. `sys.excepthook` then shows its frames alone.
    """
    sys.argv[:] = [script.given, *arguments]
    # `python -P` and `python -I` put no folder first.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = script.folder
    module = _main_module(script)
    try:
        exec(compile(script.source, script.file, "exec", dont_inherit=True), vars(module))
    except BaseException:
        sys.excepthook = _of_the_program(sys.excepthook, module)
        raise


def _main_module(script: Script) -> ModuleType:
    """The module as Python makes it for a program, in the place of ours."""
    module = ModuleType("__main__")
    module.__file__ = script.file
    module.__loader__ = BuiltinImporter if script.given == STDIN else SourceFileLoader("__main__", script.file)
    vars(module).update(__builtins__=builtins, __cached__=None)
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    sys.modules["__main__"] = module
    return module


def _of_the_program(hook: Hook, module: ModuleType) -> Hook:
    """The hook, given tracebacks without what is ours: what led to the module, and the finder of the names."""

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        shown: TracebackType | None = None
        for each in reversed([*_from(traceback, module)]):
            if not str(each.tb_frame.f_globals.get("__name__")).startswith(f"{__package__}."):
                each.tb_next, shown = shown, each
        hook(kind, error.with_traceback(shown), shown)

    return show


def _from(traceback: TracebackType | None, module: ModuleType) -> Iterator[TracebackType]:
    """The entries from the module on; there is none where it was not reached, as with a syntax error."""
    while traceback is not None and traceback.tb_frame.f_globals is not vars(module):
        traceback = traceback.tb_next
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
