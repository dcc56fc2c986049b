"""With --json a command that fails prints the error's fields, as documented."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from json_results import printed

from tilewright.__main__ import main


def test_errors_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        "run missing.twa --random 1": (1, "ArtifactError"),
        "inspect missing.twa": (1, "ArtifactError"),
        "run --randm 1 x": (2, "UsageError"),
        "nothing": (2, "UsageError"),
    }
    fields = ["type", "text", "message", "stage", "op", "node", "expected", "found", "hint", "exit_code"]
    for words, (code, type) in cases.items():
        assert main([*words.split(), "--json"]) == code
        shown = capsys.readouterr()
        found = printed(shown.out)
        assert [*found] == ["schema", "command", "result", "error"]
        assert (found["schema"], found["result"]) == (1, None)
        assert found["command"] == (words.split()[0] if words != "nothing" else None)
        error = found["error"]
        assert [*error] == fields
        assert (error["type"], error["exit_code"]) == (type, code), error
        assert shown.err == f"error: {error['text']}\n"
        assert error["text"].startswith(f"{error['stage']}: " if error["stage"] else error["message"])


def test_the_file_of_json_may_stand_behind_an_equals_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found.json"
    assert main(["machine", f"--json={found}"]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(found.read_text())["command"] == "machine"
    for words in (f"run missing.twa --random 1 --json={found}", "machine --json=found.txt"):
        assert main(words.split()) != 0
        assert printed(capsys.readouterr().out)["error"]["text"]


def test_ctrl_c_is_printed_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*words: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("tilewright.runtime.commands.main"), "execute", interrupt)
    assert main(["machine", "--json"]) == 130
    shown = capsys.readouterr()
    assert shown.err == "error: interrupted\n"
    found = printed(shown.out)
    assert found["command"] == "machine"
    assert (found["error"]["text"], found["error"]["exit_code"]) == ("interrupted", 130)


def test_a_library_that_cannot_be_loaded_is_no_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(words: object) -> str:
        raise OSError("could not load shared object file 'libllvmlite.so'")

    monkeypatch.setattr(importlib.import_module("tilewright.runtime.commands.machine"), "run", load)
    assert main(["machine", "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "error: could not load shared object file 'libllvmlite.so'\n"
    assert printed(shown.out)["error"]["message"] in shown.err
