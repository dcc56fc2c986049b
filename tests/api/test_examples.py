"""The examples of the documented APIs, from another folder."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

from compat_programs import run_warm

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(example: Path, *words: str, folder: Path) -> str:
    """What a program prints that is run by Python."""
    command = [sys.executable, str(example), *words]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return printed(ran.returncode, ran.stdout, ran.stderr)


def run_compat(example: Path, folder: Path) -> str:
    """What a program prints that is run by `python -m tilewright.compat`."""
    return printed(*run_warm([str(example)], folder, os.environ))


def printed(status: int, shown: str, said: str) -> str:
    assert status == 0, shown + said
    assert said == ""
    return shown


def test_accelerator(tmp_path: Path) -> None:
    shown = run_compat(EXAMPLES / "accelerator" / "recognise_digits.py", tmp_path)
    assert shown.startswith("98.6% of 500 digits recognised\n")
    assert shown.splitlines()[1].endswith(" µs an image, modelled")
    assert list(tmp_path.iterdir()) == []


def test_classification(tmp_path: Path) -> None:
    shown = run(EXAMPLES / "classification" / "classify_digits.py", "digits", folder=tmp_path)
    assert re.findall(r"^Top-1 Accuracy: (.*)$", shown, re.MULTILINE) == ["0.995", "0.995"]
    with (tmp_path / "digits" / "classes.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 201


def test_simulator(tmp_path: Path) -> None:
    shown = run_compat(EXAMPLES / "simulator" / "compare_precisions.py", tmp_path)
    lines = [line for line in shown.splitlines() if " bits: " in line]
    assert [line.split(" bits")[0].strip() for line in lines] == ["16", "8", "4"]
    decibels = [float(re.findall(r"([0-9.]+) dB after the last", line)[0]) for line in lines]
    assert decibels[0] > 70
    assert 30 < decibels[1] < 40
    assert decibels[2] < 10
    assert list(tmp_path.iterdir()) == []
