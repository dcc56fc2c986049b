"""The benchmark on synthetic images: modelled figures follow from the constants, measured ones from the counters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.errors import MachineError
from tilewright.runtime.api.classify import power
from tilewright.runtime.api.classify.power import EnergyMeter, measure, model
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.machines import machine
from tilewright.runtime.report.simulation import simulate_artifact
from tilewright.runtime.request import Request

from .conftest import DIGITS, Task

Capture = pytest.CaptureFixture[str]

PICOJOULES = {"mac_picojoules": 2.0, "sram_byte_picojoules": 5.0, "dram_byte_picojoules": 100.0}


def counter(folder: Path, name: str, count: int, limit: int = 1000) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{count}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{limit}\n")


def test_counters_of_all_packages_that_begin_again(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", 100)
    counter(tmp_path, "intel-rapl:1", 900)
    counter(tmp_path, "intel-rapl:0:0", 5)
    (tmp_path / "intel-rapl").mkdir()
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, "intel-rapl:0", 300)
    counter(tmp_path, "intel-rapl:1", 50)
    meter.read()
    counter(tmp_path, "intel-rapl:1", 60)
    counter(tmp_path, "intel-rapl:0:0", 500)
    assert meter.joules() == pytest.approx((200 + 150 + 10) * 1e-6)


def test_counters_that_cannot_be_read(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path).joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert EnergyMeter(tmp_path).joules() is None


def test_the_model(task: Task, tmp_path: Path) -> None:
    artifact = Artifact.open(task.artifact)
    total = simulate_artifact(artifact).total
    path = tmp_path / "m.json"
    description = {"format": 1, **machine.load("m4096").to_dictionary()}
    energy = {**PICOJOULES, "idle_watts": 3.0, "board_watts": 7.0}
    path.write_text(json.dumps({**description, "energy": energy}))
    found = model(artifact, batch=4, machine=path)
    assert found.latency == pytest.approx(4 * total.seconds)
    assert found.images_per_second == pytest.approx(1 / total.seconds)
    compute, memory = total.macs * 2e-12 + total.sram_bytes * 5e-12, total.dram_bytes * 1e-10
    assert found.joules == pytest.approx(4 * (compute + memory))
    assert found.chip_watts == pytest.approx(3 + compute / total.seconds)
    assert found.board_watts == pytest.approx(10 + (compute + memory) / total.seconds)
    path.write_text(json.dumps(description))
    with pytest.raises(MachineError, match=r"states no energy constants; expected a file with 'energy'. Name such a "):
        model(artifact, batch=1, machine=path)


def test_a_network_for_a_machine_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"format": 1, **machine.load("s256").to_dictionary(), "name": "mine"}))
    artifact = tilewright.compile(MODEL, calibration=DIGITS.prepare(DIGITS.images[:4]), machine=path)
    with pytest.raises(MachineError, match=r"^machine 'mine' states no energy constants; "):
        model(artifact, batch=1)
    assert model(artifact, batch=1, machine="s256").machine == "mine"


def test_the_constants_of_a_machine_of_ones_own_are_kept(tmp_path: Path) -> None:
    energy = {**PICOJOULES, "idle_watts": 3.0, "board_watts": 7.0}
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"format": 1, **machine.load("s256").to_dictionary(), "name": "mine", "energy": energy}))
    artifact = tilewright.compile(MODEL, calibration=DIGITS.prepare(DIGITS.images[:4]), machine=path)
    expected = model(artifact, batch=1, machine=path)
    path.unlink()
    assert model(artifact, batch=1) == expected
    assert expected.chip_watts > 3


def test_power_comes_from_the_counters(task: Task, tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", 100)
    with tilewright.load(task.artifact, engine="software") as session:
        found = measure(session, batch=3, repetitions=2, counters=tmp_path)
        assert (found.repetitions, found.batch, found.watts) == (2, 3, 0.0)
        assert found.latency == pytest.approx(found.seconds / 2)
        assert found.images_per_second == pytest.approx(6 / found.seconds)
        assert measure(session, batch=1, repetitions=1, counters=tmp_path / "none").watts is None


def test_the_command(task: Task, capsys: Capture) -> None:
    words = ["power", "--xclbin", str(task.artifact), "--bs", "2", "--reps", "3", "--shell", "any"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0] == "Measured on this processor, engine software, 3 calls, batch 2"
    assert lines[4] == "Modelled on M4096, not measured on silicon"
    assert [line.split(":")[0].strip() for line in lines if line.startswith("  ")] == [
        "Throughput",
        "Latency",
        "Processor power",
        "Throughput",
        "Latency",
        "Energy",
        "FPGA power",
        "Board power",
    ]
    assert main([*words, "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert (found["measured"]["batch"], found["measured"]["repetitions"], found["measured"]["engine"]) == (
        2,
        3,
        "software",
    )
    assert found["modelled"]["machine"] == "M4096"


def test_of_a_large_batch_few_results_are_held(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "_HELD", 3)
    running: list[Request] = []
    with tilewright.load(task.artifact, engine="software") as session:
        submit = session.submit

        def counted(inputs: Mapping[str, np.ndarray]) -> Request:
            running[:] = [each for each in running if each.status != "done"]
            running.append(submit(inputs))
            return running[-1]

        monkeypatch.setattr(session, "submit", counted)
        assert measure(session, batch=20, repetitions=1).repetitions == 1
    assert len(running) <= 4


def test_what_is_not_for_the_accelerator_is_not_modelled(tmp_path: Path, capsys: Capture) -> None:
    tilewright.compile(MODEL, output=tmp_path / "float.twa")
    assert main(["power", str(tmp_path / "float.twa"), "--reps", "1"]) == 0
    assert capsys.readouterr().out.endswith("Nothing is modelled: the network holds nothing for the accelerator.\n")


def test_a_file_that_is_not_there(capsys: Capture) -> None:
    assert main(["power", "no.twa"]) == 1
    assert capsys.readouterr().err == "error: load artifact: cannot read 'no.twa': No such file or directory\n"


def test_a_call_of_too_many_images(capsys: Capture) -> None:
    assert main(["power", "no.twa", "--bs", "100000000"]) == 2
    assert "'--bs': '100000000' is more than 65536" in capsys.readouterr().err
