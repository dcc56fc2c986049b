"""Random calls of each documented interface from eight threads: nothing hangs, crashes, is lost or given twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from api.random_calls.program import HANGS, INTERFACES

FOLDERS = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "helpers")]
INFERENCES = 3_000
GROWTH = 2**23 * INFERENCES // 10_000
"""Bytes; so many outputs of the smallest network would be more."""


SHARED = ("FWDNXT", "pynq", "simulator")
"""Interfaces that stand on what others stand on as well: their memory is watched in the sweep."""


def check(interface: str, inferences: int, calls: int, seconds: int, seed: int) -> None:
    """The memory does not grow; every call of the table was made, those that are wrong on purpose were refused, some of
    the others were not."""
    words = map(str, (inferences, 8, calls, seconds, seed))
    command = [sys.executable, "-m", "api.random_calls.program", interface, *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")])}
    program = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS + 60, check=False)
    assert program.returncode == 0, program.stderr[-6000:]
    grown, counts = json.loads(program.stdout)
    assert grown < GROWTH
    for name, (successes, refusals) in counts.items():
        assert successes + refusals, name
        assert not (successes if "wrong" in name else 0), name
    assert sum(successes for successes, _ in counts.values()) > sum(refusals for _, refusals in counts.values()) / 4


@pytest.mark.parametrize("interface", INTERFACES)
def test_random_calls(interface: str) -> None:
    """The memory of all but those that share it is watched before."""
    check(interface, 1 if interface in SHARED else INFERENCES, 120, 0, 1)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("interface", INTERFACES)
def test_many_random_calls(interface: str, seed: int) -> None:
    check(interface, INFERENCES, 2000, 60, seed)
