"""Libraries of layers: Python files that register operators, importers and kernels, and others that are accepted."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys

from tilewright.errors import TilewrightError

from ....compiler import reach
from ..errors import InferenceEngineError, WrongTypeError
from ..status import StatusCode

_MODULE = "tilewright_extension_"


def add_extension(path: object) -> None:
    """Execute a Python operator library, once in a process as long as its content is the same.

    Any other file is accepted unread.

    Raises:
        InferenceEngineError: there is no such file, or executing it ended in an exception.
        WrongTypeError: it is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise WrongTypeError("a library is named by its path", expected="a path", found=type(path).__name__)
    file = os.path.abspath(os.fsdecode(path)) if "\0" not in os.fsdecode(path) else ""
    if not os.path.isfile(file):
        raise InferenceEngineError(
            f"cannot load library {os.fsdecode(path)!r}",
            StatusCode.NOT_FOUND,
            expected="a file",
            found="a folder" if os.path.isdir(file) else "nothing there",
        )
    if file.endswith(".py"):
        _execute(file)


def _execute(file: str) -> None:
    """Import a file as a module of its own, whose name tells its content."""
    # What it registers goes with that which the compiler has.
    reach("frontend.formats", "an operator library")
    try:
        with open(file, "rb") as opened:
            name = _MODULE + hashlib.sha256(opened.read()).hexdigest()[:16]
    except OSError as error:
        raise InferenceEngineError(f"cannot read library {file!r}: {error.strerror}") from None
    if name in sys.modules:
        return
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise InferenceEngineError(f"cannot load library {file!r}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        reason = str(error) if isinstance(error, TilewrightError) else f"{type(error).__name__}: {error}"
        raise InferenceEngineError(f"library {file!r} ended in an exception: {reason}") from error
