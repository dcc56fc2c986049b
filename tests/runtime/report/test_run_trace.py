"""Traces of runs on this machine: the rules of the format, and every request, step and helper in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from trace_rules import ends, read_trace

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.runtime.artifact.manifest import StepInfo
from tilewright.runtime.profile import StepTime
from tilewright.runtime.report.trace import TracedRequest, write_run_trace

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The digits network in floating point."""
    tilewright.compile(MODEL, output=tmp_path / "digits.twa")
    return tmp_path / "digits.twa"


def test_requests_wait_and_run_and_have_every_step(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "run.json.gz"
    words = ["run", str(artifact), "--random", "1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert main([*words, "--trace", str(file), "--requests", "5", "--workers", "2"]) == 0
    assert capsys.readouterr().out == shown, "the outputs are printed as without it"
    found = read_trace(file)
    with tilewright.load(artifact) as session:
        steps = [step.name for step in session.profile(rounds=1).steps]
    assert (found.about["model"], found.about["engine"]) == ("digits", "float")
    for number in range(5):
        waits, runs = found.slices["requests", f"request {number}"]
        assert (waits["name"], runs["name"], ends(waits)[1]) == ("waits", "runs", ends(runs)[0])
    workers = {track: own for (process, track), own in found.slices.items() if process == "threads"}
    assert workers.keys() <= {"worker 0", "worker 1"}
    drawn = [each for own in workers.values() for each in own]
    assert sorted(each["name"] for each in drawn if each["cat"] == "request") == [f"request {n}" for n in range(5)]
    assert sorted(each["name"] for each in drawn if each["cat"] == "step") == sorted(steps * 5)
    # Those that had to wait, for others had not a nanosecond to.
    assert 3 <= [start["name"] for start, _ in found.arrows].count("request") <= 5


def test_a_step_is_shown_with_those_who_helped(artifact: Path, tmp_path: Path) -> None:
    def step(name: str, start: float, milliseconds: float, *helpers: int) -> StepTime:
        info = StepInfo(name, "conv", "kernel", loc=("node",), macs=2000)
        return StepTime(info, "kernel", milliseconds, start, helpers)

    requests = [
        TracedRequest({}, [step("a", 1.0, 2.0, 7, 3), step("b", 1.002, 1.0)], 0.5, 1.0, 1.004, 11),
        # Its helper was called before the end of the other's step was noted.
        TracedRequest({}, [step("a", 1.0019, 2.0, 7)], 0.5, 1.001, 1.005, 12),
    ]
    file = tmp_path / "run.json"
    with tilewright.load(artifact) as session:
        assert write_run_trace(file, session, requests) == file.stat().st_size
    found = read_trace(file)
    threads = sorted(track for process, track in found.slices if process == "threads")
    assert threads == ["helper 3", "helper 7", "worker 0", "worker 1"]
    assert [ends(each) for each in found.slices["threads", "helper 7"]] == [
        (500_000_000, 501_900_000),
        (501_900_000, 503_900_000),
    ]
    facts = found.slices["threads", "worker 0"][1]["args"]
    assert facts == {
        "operator": "conv",
        "kernel": "kernel",
        "threads": 3,
        "nodes": ["node"],
        "multiply-accumulates": 2000,
        "GMAC/s": 0.001,
    }
    assert [start["name"] for start, _ in found.arrows] == ["request", "help", "help", "request", "help"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--requests 2", "--requests and --workers are for --trace. Give it a file, or leave them out."),
        (
            "--trace t.json --profile",
            "--profile and --trace are different runs; expected --trace alone, of at most 1000",
        ),
        ("--trace t.json --requests 1001", "a trace is of too many requests; expected --trace alone, of at most 1000"),
        ("--trace t.json -o t.json", "two results would be one file; found t.json. Choose another output."),
        ("--trace t.json --workers 0", "'0' is not a whole number of at least 1"),
    ],
)
def test_words_that_do_not_go_together(words: str, message: str, capsys: Capture) -> None:
    assert main(["run", "digits.twa", "--random", "1", *words.split()]) == 2
    assert message in capsys.readouterr().err
