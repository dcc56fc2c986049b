"""Every command prints with --json what its schema says, and no more; the schemas stand in docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from json_results import errors, printed, result_of
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.runtime.commands import COMMANDS

DIGITS = load_digits()
PICTURES = f"resize=stretch,mean=0,scale={float(DIGITS.scale) / 15}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``digits.twa`` in int8, its samples, and a few pictures with labels."""
    found = tmp_path_factory.mktemp("json")
    samples = DIGITS.prepare(DIGITS.calibration_images[:6])
    np.save(found / "samples.npy", samples)
    (found / "photos").mkdir()
    for index in range(2):
        Image.fromarray(DIGITS.images[index][0] * 15).save(found / "photos" / f"{index}.png")
    (found / "labels.txt").write_text("".join(f"{index}.png {DIGITS.labels[index]}\n" for index in range(2)))
    options: dict[str, Any] = {"engines": "device,software", "preprocessing": PICTURES, "effort": "quick"}
    tilewright.compile(MODEL, output=found / "digits.twa", calibration=samples, **options)
    return found


CASES = {
    "compile": ["{model} -o x.twa"],
    "run": ["digits.twa photos/0.png", "digits.twa photos/0.png --top 3", "missing.twa"],
    "classify": [f"digits.twa --img_path photos --labels labels.txt{more}" for more in ("", " --profile")],
    "compare": ["{model} {model} --every-layer", "{model} digits.twa --data samples.npy --metric snr --threshold 200"],
    "batch": [
        "evaluate digits.twa photos --labels labels.txt --workers 1",
        "infer digits.twa samples.npy -o outputs --workers 1",
        "calibrate {model} --calibration samples.npy -o x.twa --workers 1",
    ],
    "report": ["digits.twa"],
    "inspect": ["digits.twa --memory", "digits.twa --ir", "digits.twa --disassemble", "{model}", "--supported-ops"],
    "machine": ["list", "show m4096", "explain"],
    "opt": ["{model} --passes canonicalize", "--list"],
    "verify": ["digits.twa"],
}
"""Words behind commands."""

ELSEWHERE = {
    "quantize": "compiler/test_quantize.py",
    "export": "end_to_end/test_export.py",
    "demo": "end_to_end/test_cli.py",
    "serve": "runtime/serving/test_server.py",
    "power": "api/classify/test_power.py",
    "simulate": "end_to_end/test_int8_cli.py",
    "bench": "compiler/test_bench.py",
    "sweep": "compiler/test_sweep.py",
    "graph": "compiler/test_graph.py",
    "reduce": "compiler/test_reduce.py",
    "sign": "runtime/commands/test_trust_commands.py",
    "key": "runtime/commands/test_trust_commands.py",
}
"""Where what the others print is held against its schema."""


def test_every_command_is_looked_at() -> None:
    assert CASES.keys() ^ ELSEWHERE.keys() == COMMANDS.keys()
    for command, file in ELSEWHERE.items():
        text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
        assert "result_of(" in text, file
        assert command in text


@pytest.mark.parametrize("command", CASES)
def test_what_is_printed_is_as_the_schema_says(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for words in CASES[command]:
        code = main([command, *words.format(model=MODEL).split(), "--json", "--quiet"])
        found = printed(capsys.readouterr().out)
        assert found["command"] == command
        assert (code == 0) == (found["error"] is None), (words, found["error"])
        assert found["error"] is None or found["error"]["exit_code"] == code
        assert found["result"] is not None or "missing" in words


def test_a_check_that_fails_prints_both(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(MODEL), str(folder / "digits.twa"), "--data", str(folder / "samples.npy")]
    file = tmp_path / "found.json"
    assert main([*words, "--metric", "snr", "--threshold", "200", "--json", str(file)]) == 1
    assert capsys.readouterr().out == ""
    found = printed(file.read_text())
    assert found["result"]["passed"] is False
    assert found["error"]["type"] == "FailedComparisonError"


def test_numbers_that_json_lacks_are_texts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(MODEL), str(MODEL), "--data", str(folder / "samples.npy"), "--json"]) == 0
    assert {value["sqnr"] for value in result_of(capsys.readouterr().out)["values"]} == {"inf"}


def test_what_is_otherwise_than_a_schema_is_found() -> None:
    rule = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert errors({"a": 1}, rule, "") == []
    for wrong in ({"a": "1"}, {}, {"a": 1, "b": 2}, {"a": True}, [1], {"a": 1.5}):
        assert errors(wrong, rule, ""), wrong
    text = json.dumps({"schema": 1, "command": "run", "result": {"y": {"dtype": "f"}}, "error": None})
    with pytest.raises(AssertionError, match=r"result\.y"):
        printed(text)
