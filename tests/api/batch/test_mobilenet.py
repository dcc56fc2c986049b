"""MobileNetV2 on the labelled photographs, by four processes one of which is killed half way: as by one."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from json_results import result_of

import tilewright
from tilewright.__main__ import main
from tilewright.runtime.cluster import processes

PHOTOGRAPHS = 500
SHARD = 10
PREPROCESSING = "tf,resize=shorter"
MODELS = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.mark.sweep
def test_evaluation(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = data_folder / "models" / "mobilenet_v2_1.0_224_qdq.onnx"
    tilewright.compile(model, output="mobilenet.twa", engines="software", preprocessing=PREPROCESSING)
    pictures = data_folder / "images" / "imagenet500"
    words = ["batch", "evaluate", "mobilenet.twa", str(pictures), "--labels", f"{pictures}_labels.txt", "--json"]
    words += ["--shard", str(SHARD)]
    begun: list[int] = []
    start = processes._Worker.begin

    def begin(worker: Any, item: object) -> None:
        begun.append(worker._process.pid)
        start(worker, item)
        if len(begun) == PHOTOGRAPHS // SHARD // 2:
            os.kill(begun[-1], signal.SIGKILL)

    monkeypatch.setattr(processes._Worker, "begin", begin)
    assert main([*words, "--workers", "4", "-o", "four.csv"]) == 0
    four = capsys.readouterr().out
    assert len({*begun}) == 5, "the killed one had a successor"
    assert len(begun) == PHOTOGRAPHS // SHARD + 1, "its shard was computed again"
    assert main([*words, "--workers", "1", "-o", "one.csv"]) == 0
    assert capsys.readouterr().out == four
    assert Path("four.csv").read_bytes() == Path("one.csv").read_bytes()
    found = result_of(four)
    assert (found["images"], found["accuracy"]["labelled"], found["skipped"]) == (PHOTOGRAPHS, PHOTOGRAPHS, [])
    (row,) = re.findall(r"^\| mobilenet_v2_1\.0_224_qdq \| 500 .*$", MODELS.read_text(encoding="utf-8"), re.MULTILINE)
    assert f" {100 * found['accuracy']['top1']:.2f} |" in row


@pytest.mark.sweep
def test_calibration(data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = data_folder / "models" / "mobilenet_v2_1.0_224_f32.onnx"
    words = [str(model), "--calibration", str(data_folder / "images" / "imagenet500"), "--preprocess", PREPROCESSING]
    words += ["--engines", "software"]
    one, four = tmp_path / "one.twa", tmp_path / "four.twa"
    assert main(["compile", *words, "-o", str(one)]) == 0
    assert main(["batch", "calibrate", *words, "-o", str(four), "--workers", "4"]) == 0
    assert one.read_bytes() == four.read_bytes()
