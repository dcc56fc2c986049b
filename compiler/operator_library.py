"""Python files that add operators: executed once, they register what they define."""

import hashlib
import importlib.util
import os
import sys

from tilewright.errors import InputError

from ..ir.ops import REGISTRY
from .frontend.ir.families import LEGACY, LEGACY_TYPES, OPSET

_MODULE = "tilewright_operators_"

_REGISTRIES = (REGISTRY, OPSET, LEGACY, LEGACY_TYPES)
"""What a library whose execution failed must not leave anything in."""


def load_library(path: str | os.PathLike[str]) -> None:
    """Execute a file as a module of its own, once in a process as long as its content is the same.
    Raises InputError: it cannot be read; Exception: whatever it raises; nothing that it registered stays then."""
    file = os.path.abspath(path)
    try:
        with open(file, "rb") as opened:
            name = _MODULE + hashlib.sha256(opened.read()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read library {file!r}: {error.strerror}") from None
    if name in sys.modules:
        return
    specification = importlib.util.spec_from_file_location(name, file)
    assert specification is not None
    assert specification.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    before = [dict(registry) for registry in _REGISTRIES]
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        for registry, entries in zip(_REGISTRIES, before, strict=True):
            registry.clear()
            registry.update(entries)  # pyright: ignore[reportArgumentType, reportCallIssue]
        raise
