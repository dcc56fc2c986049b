"""Hostile input is refused or runs: some of each generator here, many under ``pytest -m sweep``.

``TILEWRIGHT_HOSTILE_SEED`` and ``TILEWRIGHT_HOSTILE_CASES`` choose others, as for :mod:`hostile.sweep`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .generator import load_generators

ROOT = Path(__file__).parents[2]
CASES = 30
GENERATORS = load_generators()


def sweep(name: str, cases: int) -> None:
    """Fails unless all cases are refused or run; in a process of its own, which has nothing of the test's in it."""
    paths = [ROOT / "tests", ROOT / "tests" / "helpers", os.environ.get("PYTHONPATH", "")]
    environment = {
        "TILEWRIGHT_HOSTILE_CASES": str(cases),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)).rstrip(os.pathsep),
    }
    run = subprocess.run(
        [sys.executable, "-m", "hostile.sweep", name], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("name", GENERATORS)
def test_hostile_input_is_refused_or_runs(name: str) -> None:
    sweep(name, CASES)


@pytest.mark.sweep
@pytest.mark.parametrize("name", GENERATORS)
def test_much_hostile_input_is_refused_or_runs(name: str) -> None:
    sweep(name, GENERATORS[name].cases)
