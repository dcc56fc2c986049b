"""Functions of kernels that one process of the tests has given to numba are taken from its files by the others.

numba needs a second for some functions, and every process that runs tests would pay it for each function and each
combination of element types. What is kept is LLVM IR before any optimisation: shapes and attributes enter after it, so
everything that the code generators and LLVM do is done in every test.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tilewright.codegen.cpu.numba import function as functions
from tilewright.codegen.cpu.numba.function import KernelFunction
from tilewright.ir.types import DType

_compile = functions._compiled.__wrapped__


def _is_ours(function: KernelFunction) -> bool:
    """Whether the code says everything: what tests write themselves may name what they like."""
    return bool(getattr(function, "source", "")) or function.__module__.startswith("tilewright.codegen.")


def _key(function: KernelFunction, pointers: tuple[DType, ...], indices: int, fastmath: bool) -> str:
    code = function.__code__
    content = (functions.origin(function), code.co_code, code.co_consts, [d.value for d in pointers], indices, fastmath)
    return hashlib.sha256(repr(content).encode()).hexdigest()


@contextmanager
def shared_functions(folder: Path) -> Iterator[None]:
    """Keeps what numba makes in ``folder``, which several processes may use at once, for as long as this lasts."""
    folder.mkdir(exist_ok=True)

    @cache
    def compiled(
        function: KernelFunction, pointers: tuple[DType, ...], indices: int, fastmath: bool
    ) -> tuple[str, str]:
        if not _is_ours(function):
            return _compile(function, pointers, indices, fastmath)
        file = folder / f"{_key(function, pointers, indices, fastmath)}.json"
        try:
            text, symbol = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            text, symbol = _compile(function, pointers, indices, fastmath)
            # Complete or not at all, for the others.
            handle, name = tempfile.mkstemp(dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump([text, symbol], stream)
            Path(name).replace(file)
        return text, symbol

    before = functions._compiled
    functions._compiled = compiled
    try:
        yield
    finally:
        functions._compiled = before
