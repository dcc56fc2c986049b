"""Files that take long to make and that all workers of pytest-xdist share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def folder_of_all_workers(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder of this run of the tests; each worker has one of its own below it."""
    folder = factory.getbasetemp()
    # By its name: what tests run as programs of their own has the variable, too, and a folder beside all others.
    return folder.parent if folder.name == f"popen-{os.environ.get('PYTEST_XDIST_WORKER')}" else folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The file ``name``, which the first worker that asks for it makes by ``make(path)`` while others wait."""
    folder = folder_of_all_workers(factory) / "shared"
    folder.mkdir(exist_ok=True)
    file = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            unfinished = folder / f"unfinished_{name}"
            make(unfinished)
            unfinished.replace(file)
    return file
