"""Ctrl-C in the middle of a folder: the command ends as shells expect, whatever its threads were doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Task

PROGRAM = """
import sys, time
from tilewright.__main__ import main
from tilewright.runtime.api.classify.classifier import Classifier
load, calls = Classifier.load, []

def slow(self, file):
    calls.append(file)
    if len(calls) == 3:
        print("begun", flush=True)
    time.sleep(0.01)
    return load(self, file)

Classifier.load = slow
sys.exit(main())
"""


@pytest.mark.parametrize("threads", ["1", "4"])
def test_ctrl_c(threads: str, task: Task, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index in range(2000):
        os.link(task.folder / "0.png", tmp_path / "images" / f"{index}.png")
    words = ["--xclbin", str(task.artifact), "--img_path", str(tmp_path / "images"), "--preprocess_workers", threads]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "classify", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "error: interrupted\n")
