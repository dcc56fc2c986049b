"""docs/security.md: the table of limits is that of the code, its program runs, and every generator has its figures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from markdown_blocks import fenced_blocks
from network_files import digits_artifact

from tilewright import limits

from .generator import load_generators

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


def shown(limit: int) -> str:
    """A number as people read it; powers of two as such from 2**16 on."""
    for number, text in ((limit, "2^{}"), (limit + 1, "2^{} - 1")):
        if number >= 2**16 and number & (number - 1) == 0:
            return text.format(number.bit_length() - 1)
    return f"{limit:,}"


def limits_table() -> str:
    every = [value for value in vars(limits).values() if isinstance(value, limits.Limit)]
    rows = [f"| {shown(limit)} | {limit.what} |" for limit in every]
    return "\n".join(["| at most | of |", "|---:|---|", *rows])


def test_the_table_of_limits_is_current(request: pytest.FixtureRequest) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    expected = re.sub(
        r"(<!-- limits -->\n).*?(<!-- /limits -->)", lambda m: f"{m[1]}{limits_table()}\n{m[2]}", text, flags=re.DOTALL
    )
    if request.config.getoption("--update-golden"):
        DOCUMENT.write_text(expected, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == expected, "run this test with --update-golden"


def test_every_generator_has_its_figures() -> None:
    """As ``python -m hostile.sweep`` prints them."""
    figures = DOCUMENT.read_text(encoding="utf-8").split("<!-- figures -->")[1].split("<!-- /figures -->")[0]
    rows = re.findall(r"^\| ([a-z_]+) \| [0-9,]+ \|.*\| ([0-9]+) \| [0-9.]+ \|$", figures, flags=re.MULTILINE)
    assert rows == [(name, "0") for name in load_generators()]


def run_program(folder: Path) -> str:
    (program,) = [block.text for block in fenced_blocks(DOCUMENT) if block.info == "python"]
    (folder / "stranger.py").write_text(program)
    run = subprocess.run([sys.executable, "stranger.py"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_strangers_artifacts_run_in_a_process_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "digits.twa").write_bytes(digits_artifact().read_bytes())
    assert run_program(tmp_path) == "{'probabilities': (1, 10)}\n"


def test_what_is_wrong_with_them_does_not_leave_it(tmp_path: Path) -> None:
    content = np.frombuffer(digits_artifact().read_bytes(), np.uint8).copy()
    content[-100] ^= 1
    (tmp_path / "digits.twa").write_bytes(content.tobytes())
    assert run_program(tmp_path).startswith("refused: ")
