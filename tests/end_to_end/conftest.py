"""Running the command line where it must fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tilewright.__main__ import main

Fails = Callable[..., str]


@pytest.fixture
def fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fails:
    """``fails(words, code=1, lines=1)`` runs a command that must fail as all must.

    It returns the message without ``error:`` and folder. Mistakes in a text take ``lines=3``: it shows the place.
    """
    monkeypatch.chdir(tmp_path)

    def run(words: Sequence[object], code: int = 1, lines: int = 1) -> str:
        before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
        assert main([str(word) for word in words]) == code
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: ")
        assert shown.err.count("error: ") == 1, "one paragraph"
        assert shown.err.count("\n") == lines
        assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before, "files came or changed"
        return shown.err.removeprefix("error: ").rstrip("\n").replace(f"{tmp_path}/", "")

    return run
