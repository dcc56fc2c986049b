"""Runs artifacts for AArch64 under emulation, by a Python that `tools/emulated_python.sh` made.

The environment variable ``TILEWRIGHT_AARCH64_PYTHON`` names it; without it these tests are skipped. Each level of
processors runs on one that has its extensions and no others, so that code which uses more fails.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from emulated_programs import PROCESSORS
from script_runs import packages

_VARIABLE = "TILEWRIGHT_AARCH64_PYTHON"
_WORKER = Path(__file__).with_name("emulated_worker.py")


@cache
def _packages() -> tempfile.TemporaryDirectory[str]:
    """A folder with the runtime, what it needs and nothing else: compiled packages beside it are of this machine."""
    folder = tempfile.TemporaryDirectory()
    packages(Path(folder.name), "ir", "runtime")
    return folder


def python() -> str:
    """The one of AArch64; without it the test is skipped, best before it makes anything."""
    return os.environ.get(_VARIABLE) or pytest.skip(
        f"no Python of AArch64: {_VARIABLE} names none, see tools/emulated_python.sh"
    )


@cache
def _worker(processor: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "QEMU_CPU": processor, "PYTHONPATH": _packages().name}
    return subprocess.Popen(
        [python(), str(_WORKER)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr
    )


def ask(level: str, *request: object) -> Any:
    """What `emulated_worker.py` answers on the processor for a level; the test is skipped where there is none."""
    worker = _worker(PROCESSORS[level])
    assert worker.stdin is not None and worker.stdout is not None
    pickle.dump(request, worker.stdin)
    worker.stdin.flush()
    try:
        answer = pickle.load(worker.stdout)
    except EOFError:
        raise AssertionError(f"emulated code for {level} ended with {worker.wait()}") from None
    assert not isinstance(answer, str), answer
    return answer
