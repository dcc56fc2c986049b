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


def ended(*words: object) -> object:
    command = [sys.executable, "-m", "api.random_calls.program", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")])}
    program = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS + 60, check=False)
    assert program.returncode == 0, program.stderr[-6000:]
    return json.loads(program.stdout)


def check(counts: object) -> None:
    """Every call of the table was made; those that are wrong on purpose were refused, some of the others were not."""
    assert isinstance(counts, dict)
    for name, (successes, refusals) in counts.items():
        assert successes + refusals, name
        assert not (successes if "wrong" in name else 0), name
    assert sum(successes for successes, _ in counts.values()) > sum(refusals for _, refusals in counts.values()) / 4


@pytest.mark.parametrize("interface", INTERFACES)
def test_random_calls(interface: str) -> None:
    check(ended(interface, "calls", 8, 120, 0, 1))


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("interface", INTERFACES)
def test_many_random_calls(interface: str, seed: int) -> None:
    check(ended(interface, "calls", 8, 2000, 60, seed))


SHARED = ("FWDNXT", "pynq", "simulator")
"""Interfaces that stand on what others stand on as well."""


@pytest.mark.parametrize(
    "interface", [pytest.param(name, marks=(pytest.mark.sweep,) if name in SHARED else ()) for name in INTERFACES]
)
def test_memory_does_not_grow(interface: str) -> None:
    growth = ended(interface, "memory", INFERENCES)
    assert isinstance(growth, int)
    assert growth < GROWTH
