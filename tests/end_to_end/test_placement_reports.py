"""Where each op runs and why, as users read it: a network whose middle only the CPU can run."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from network_files import graph_model, write_model
from onnx import TensorProto, helper

from tilewright.__main__ import main
from tilewright.passes.placement.device_support import CONVERSION

PROFILE = "run m.twa --random 1 --profile"
MIDDLE = "the device has no softmax"
POOL = "max_pool %pool: A pooling window has no dilation; found 2 and 2"

EXPECTED = [
    ("x.1", "quantize", "cpu", CONVERSION),
    ("first", "conv", "device", "affinity of 'first'"),
    ("first.1", "dequantize", "cpu", CONVERSION),
    ("softmax", "softmax", "cpu", MIDDLE),
    ("softmax.1", "quantize", "cpu", CONVERSION),
    ("second", "conv", "device", "affinity of 'second'"),
    ("pool", "max_pool", "cpu", POOL),
    ("third", "conv", "cpu", "affinity of 'third'"),
    ("third.1", "dequantize", "cpu", CONVERSION),
]


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """``m.twa`` in the current folder; what the compiler printed."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    weights = {name: rng.standard_normal((16, 16, 1, 1)).astype(np.float32) for name in ("w1", "w2", "w3")}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["first"], name="first"),
        helper.make_node("Softmax", ["first"], ["softmax"], name="softmax", axis=1),
        helper.make_node("Conv", ["softmax", "w2"], ["second"], name="second"),
        helper.make_node("MaxPool", ["second"], ["pool"], name="pool", kernel_shape=[2, 2], dilations=[2, 2]),
        helper.make_node("Conv", ["pool", "w3"], ["third"], name="third"),
    ]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 16, 8, 8])], ["third"], weights)
    write_model(tmp_path / "m.onnx", model)
    (tmp_path / "places").write_text("first = device\nsecond = device\nthird = cpu\n")
    return shown("compile m.onnx -o m.twa --calibration random --machine m4096 --affinity places -q", capsys)


def shown(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words.split()) == 0
    return capsys.readouterr().out


def without_added(records: list[dict]) -> list[dict]:
    """Without what layouts of CPU kernels bring, which depends on the processor."""
    return [record for record in records if record["op"] != "reorder"]


def test_the_summary_says_what_the_device_does_not_do(compiled: str) -> None:
    assert [line for line in compiled.splitlines() if line.startswith("  on the CPU")] == [
        "  on the CPU       conv third: affinity of 'third'",
        f"  on the CPU       softmax softmax: {MIDDLE}",
        "  on the CPU       max_pool pool: A pooling window has no dilation; found 2 and 2",
    ]


def test_inspect_lists_each_op_with_its_reason(compiled: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = result_of(shown("inspect m.twa --json", capsys))
    records = without_added(found["placement"])
    assert [(r["name"], r["op"], r["on"], r["why"]) for r in records] == EXPECTED
    text = shown("inspect m.twa", capsys)
    reasons = dict(re.findall(r"^  (\(\d+\)) (.*): \d+ ops?, ", text, re.MULTILINE))
    rows = [line.split() for line in text.splitlines()]
    for name, op, place, why in EXPECTED:
        (row,) = (row for row in rows if row[:3] == [name, op, place])
        assert place == "device" or why.removeprefix("max_pool %pool: ") == reasons[row[3]]


def test_inspect_groups_the_reasons(compiled: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = result_of(shown("inspect m.twa --json", capsys))
    reasons = {row["why"]: row["ops"] for row in found["fallbacks"]}
    assert reasons[MIDDLE] == ["softmax softmax"]
    assert reasons[CONVERSION] == [f"{op} {name}" for name, op, _, why in EXPECTED if why == CONVERSION]
    assert reasons["A pooling window has no dilation; found 2 and 2"] == ["max_pool pool"]
    text = shown("inspect m.twa", capsys)
    assert "\non the CPU, by reason\n" in text
    for why in reasons:
        assert sum(f") {why}: " in line for line in text.splitlines()) == 1


def test_every_op_has_a_reason(compiled: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = result_of(shown("inspect m.twa --json", capsys))
    assert all(record["why"] for record in found["placement"])


def test_the_parts_agree_with_the_engine_in_software(compiled: str, capsys: pytest.CaptureFixture[str]) -> None:
    device, software = (shown(f"run m.twa --random 3 --json --engine {e}", capsys) for e in ("device", "software"))
    assert device == software


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words", ["inspect m.twa", "inspect m.twa --engine software --memory", "simulate m.twa", PROFILE]
)
def test_reports_fit_the_terminal(columns: int, words: str, compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(words.split()) == 0
    assert max(map(len, terminal.getvalue().splitlines())) <= columns
