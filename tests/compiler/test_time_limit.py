"""Compiling within a limit of processor time."""

from __future__ import annotations

import re

import pytest

import tilewright
from tilewright.compiler.demo import MODEL
from tilewright.errors import ResourceError, UsageError


def test_what_takes_longer_is_given_up() -> None:
    with pytest.raises(ResourceError) as caught:
        tilewright.compile(MODEL, time_limit=1e-6)
    assert re.fullmatch(
        r"compile: this model takes longer than the time limit; expected at most 0\.0 s of processor time, "
        r"found at least \d+\.\d s\. Give it more with --time-limit SECONDS\.",
        str(caught.value),
    )


def test_machine_code_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("tilewright.codegen.time_limit.thread_time", lambda: next(ticks) * 0.1)
    with pytest.raises(ResourceError, match="found at least") as caught:
        tilewright.compile(MODEL, precision="fp32", time_limit=8)
    assert any(entry.name == "check_kernels" for entry in caught.traceback)


def test_there_is_time_enough() -> None:
    assert tilewright.compile(MODEL, time_limit=600).manifest.precision == "fp32"


def test_no_time_is_no_limit() -> None:
    message = "^--time-limit is out of range; expected seconds, more than 0, found -1.0$"
    with pytest.raises(UsageError, match=message):
        tilewright.compile(MODEL, time_limit=-1.0)
