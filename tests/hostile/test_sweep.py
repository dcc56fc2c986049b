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
CASES = 2
GENERATORS = load_generators()
TOGETHER = [tuple(GENERATORS)[first::2] for first in range(2)]
"""A process of its own for each generator would spend most of its time on imports."""


def sweep(cases: int, *names: str) -> None:
    """Fails unless all cases of each generator are refused or run; in a process that has nothing of the test's."""
    paths = [ROOT / "tests", ROOT / "tests" / "helpers", os.environ.get("PYTHONPATH", "")]
    environment = {
        "TILEWRIGHT_HOSTILE_CASES": str(cases),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)).rstrip(os.pathsep),
    }
    run = subprocess.run(
        [sys.executable, "-m", "hostile.sweep", *names], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("names", TOGETHER, ids="-".join)
def test_hostile_input_is_refused_or_runs(names: tuple[str, ...]) -> None:
    sweep(CASES, *names)


@pytest.mark.sweep
@pytest.mark.parametrize("name", GENERATORS)
def test_much_hostile_input_is_refused_or_runs(name: str) -> None:
    sweep(GENERATORS[name].cases, name)
