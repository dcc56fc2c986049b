"""Every benchmark starts, and the short ones run; what they measure is no test's business."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from data_folder import data_folder
from older_machines import BEFORE

from tilewright.runtime.machines import machine

FOLDER = Path(__file__).parents[2] / "benchmarks"
SHORT = {
    "kernels.py": ["--filter", "28 256->256", "--seconds", "0.02"],
    "quantized_kernels.py": ["--filter", "28 256->256", "--seconds", "0.02"],
    "operators.py": ["--filter", "LeakyRelu", "--rounds", "1"],
    "models.py": ["--filter", "light_squeezenet", "--samples", "1", "--seconds", "0.05"],
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TILEWRIGHT_DATA"}
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


EVERY_HELP = """
import contextlib, runpy, sys
for file in sys.argv[1:]:
    sys.argv[:] = [file, "--help"]
    with contextlib.suppress(SystemExit):
        runpy.run_path(file, run_name="__main__")
"""
"""In one process: to import what they have in common takes longer than all they do."""


def test_help() -> None:
    names = ["accuracy", "classify", "light_integer", "openvino_rounding", "peers", "quantize_command", "serving"]
    names += ["simulated_quantization", "zoo"]
    found = run(
        "-c", f"import sys; sys.path[0] = {str(FOLDER)!r}\n{EVERY_HELP}", *(str(FOLDER / f"{n}.py") for n in names)
    )
    assert found.returncode == 0, found.stderr
    assert re.findall(r"^usage: (\w+)\.py", found.stdout, re.MULTILINE) == names


@pytest.mark.parametrize("named", ["", "nowhere"])
def test_a_folder_of_data_that_is_none_is_said_in_one_place(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from device_networks import is_there

    monkeypatch.setenv("TILEWRIGHT_DATA", named)
    with pytest.raises(SystemExit, match=f"^TILEWRIGHT_DATA must name a folder with models/ .*; it is '{named}'$"):
        data_folder()
    assert is_there("ResNet-50")
    assert is_there("of the folder") is bool(named)
    assert not [file for file in FOLDER.glob("*.py") if 'environ["TILEWRIGHT_DATA"]' in file.read_text()]


def test_older_machines_are_read_and_differ_in_what_was_decided(tmp_path: Path) -> None:
    found = run(str(FOLDER / "older_machines.py"), str(tmp_path))
    assert found.returncode == 0, found.stderr
    for path in found.stdout.split():
        sample, fields = BEFORE[Path(path).stem]
        differences = machine.load(sample).differences(machine.load(path))
        assert [line.split(":")[0] for line in differences] == [*fields]


ONE_AFTER_THE_OTHER = """
import contextlib, io, json, runpy, sys
for name, words in json.loads(sys.argv[1]).items():
    sys.argv[:] = [name, *words]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            runpy.run_path(f"{sys.path[0]}/{name}", run_name="__main__")
        except SystemExit as ended:
            assert not ended.code
    print(name, len(shown.getvalue().splitlines()))
"""


def test_the_short_ones_run() -> None:
    found = run("-c", f"import sys; sys.path[0] = {str(FOLDER)!r}\n{ONE_AFTER_THE_OTHER}", json.dumps(SHORT))
    assert found.returncode == 0, found.stderr
    lines = dict(line.split() for line in found.stdout.splitlines())
    assert [*lines] == [*SHORT] and min(map(int, lines.values())) >= 2, lines


@pytest.mark.sweep
def test_a_long_one_runs() -> None:
    found = run(str(FOLDER / "device_performance.py"), "--filter", "SqueezeNet, s256", "--effort", "quick")
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) >= 2
