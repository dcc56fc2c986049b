"""``import tilewright``: what it offers to programs, to people at a prompt and to type checkers, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tilewright
from tilewright.compiler.driver import compile_model
from tilewright.runtime import Artifact, Request, Session, load

ROOT = Path(__file__).parents[2]


def test_everything_is_listed_and_there() -> None:
    assert set(tilewright.__all__) <= set(dir(tilewright))
    assert (tilewright.load, tilewright.compile) == (load, compile_model)
    assert (tilewright.Artifact, tilewright.Request, tilewright.Session) == (Artifact, Request, Session)
    assert tilewright.errors.TilewrightError.__module__ == "tilewright.errors"


SNIPPET = """
import tilewright

artifact: tilewright.Artifact = tilewright.compile("model.onnx", output="model.twa")
with tilewright.load(artifact, engine="float") as session:
    checked: tilewright.Session = session
    request: tilewright.Request = session.submit({})
try:
    tilewright.lode("model.twa")
except tilewright.errors.ArtifactError:
    pass
reveal_type(tilewright.load)
"""


def test_type_checkers_know_what_is_there_and_report_what_is_not(tmp_path: Path) -> None:
    pytest.importorskip("basedpyright")
    package = tmp_path / "tilewright"
    package.mkdir()
    for source in (*(ROOT / "src" / "tilewright").iterdir(), *map(ROOT.joinpath, ("compiler", "runtime"))):
        (package / source.name).symlink_to(source)
    (tmp_path / "snippet.py").write_text(SNIPPET)
    settings = {"include": ["snippet.py"], "typeCheckingMode": "standard"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    diagnostics = json.loads(run.stdout)["generalDiagnostics"]
    found = {(each["severity"], each["range"]["start"]["line"]): each for each in diagnostics}
    assert found.keys() == {("error", 8), ("information", 11)}, run.stdout
    assert '"lode" is not a known attribute of module "tilewright"' in found["error", 8]["message"]
    assert "Session" in found["information", 11]["message"]
