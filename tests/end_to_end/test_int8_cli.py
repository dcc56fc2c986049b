"""The command line for int8: compile with calibration, run every engine, inspect, disassemble, simulate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from trace_rules import read_trace

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import print_module
from tilewright.ir.verify import verify
from tilewright.runtime.report.inspection import merged

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network for S256, calibrated on its own images."""
    folder = tmp_path_factory.mktemp("int8")
    digits = load_digits()
    np.save(folder / "samples.npy", digits.prepare(digits.calibration_images))
    path = folder / "digits.twa"
    words = [
        "compile",
        str(MODEL),
        "--engines",
        "device,software,float",
        "-o",
        str(path),
        "--calibration",
        str(folder / "samples.npy"),
        "--machine",
        "s256",
    ]
    assert main([*words, "--precision", "int8", "--dump", str(folder / "dump")]) == 0
    return path


def test_simulate_prints_json_with_the_documented_keys(artifact: Path, capsys: Capture) -> None:
    assert main(["simulate", str(artifact), "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert found["machine"] == "S256"
    assert set(found["total"]) == {
        *("cycles", "seconds", "macs", "mac_utilization", "machine_utilization", "dram_bytes", "sram_bytes"),
        *("clusters", "cards"),
    }
    keys = {
        *("name", "op", "output", "cycles", "macs", "mac_utilization", "machine_utilization", "lane_fill"),
        *("clusters", "dram_bytes", "sram_bytes", "bound"),
    }
    assert all(set(layer) == keys for layer in found["layers"])
    for counted in ("macs", "sram_bytes"):
        assert sum(layer[counted] for layer in found["layers"]) == found["total"][counted]
    assert sum(layer["cycles"] for layer in found["layers"]) == pytest.approx(found["total"]["cycles"], abs=20)
    assert all(0 <= layer["mac_utilization"] <= 1 for layer in found["layers"])
    assert {layer["op"] for layer in found["layers"]} >= {"conv"}
    for layer in found["layers"]:
        assert layer["output"][0] == 1
        assert (layer["lane_fill"] is None) == (layer["macs"] == 0)
        assert layer["clusters"] == 1
        # What it makes is written at least.
        assert layer["sram_bytes"] >= np.prod(layer["output"])


def test_simulate_leaves_costs_out_by_name(artifact: Path, capsys: Capture) -> None:
    assert main(["simulate", str(artifact), "--json"]) == 0
    whole = result_of(capsys.readouterr().out)
    names = ["instruction-fetch", "row-openings", "synchronisation"]
    assert main(["simulate", str(artifact), "--json", "--without", ", ".join(names)]) == 0
    less = result_of(capsys.readouterr().out)
    assert less["total"]["cycles"] < whole["total"]["cycles"]
    assert less["without"] == names
    assert all(whole["parts"][name] > 0 == less["parts"][name] for name in names)
    assert main(["simulate", str(artifact), "--without", "gravity"]) == 2
    assert "there is no such cost; expected bank-conflicts, port-stalls, port-contention, " in capsys.readouterr().err


def test_simulate_reports_the_host_beside_the_total(artifact: Path, capsys: Capture) -> None:
    assert main(["simulate", str(artifact), "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    host = found["host"]
    assert set(host) == {"messages", "stages", "rounds", "not_measured"}
    link = {(each["program"], each["to"]): (each["bytes"], each["seconds"]) for each in host["messages"]}
    assert list(link) == [("device_0", "card"), ("device_0", "host")]
    assert all(seconds == pytest.approx(1e-6 + size / 7.88e9) for size, seconds in link.values())
    before, after = host["stages"]
    assert (before["after"], before["before"]) == ("", "device_0")
    assert (after["after"], after["before"]) == ("device_0", "")
    with tilewright.load(artifact, engine="device") as session:
        steps = [step.kernel for step in session.profile(rounds=1).steps]
        assert steps[before["operators"]] == "functional simulator"
        assert before["operators"] + 1 + after["operators"] == len(steps)
    assert before["seconds"] > 0 < after["seconds"]
    assert (host["rounds"], host["not_measured"]) == (5, "")
    assert main(["simulate", str(artifact), "--json", "--without", "host-link,host-stages"]) == 0
    less = result_of(capsys.readouterr().out)
    assert less["total"] == found["total"]
    assert less["host"]["messages"] == []
    assert less["host"]["not_measured"] == "left out"
    assert [stage["seconds"] for stage in less["host"]["stages"]] == [None, None]


def test_simulate_runs_no_code_that_is_not_trusted(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["simulate", str(artifact)]) == 0
    shown = capsys.readouterr().out
    assert "\nbeside it, operators on the CPU, not measured: load native code: the native code of " in shown
    assert "\n  before device_0: 1 operator\n" in shown


def test_simulate_draws_a_trace_of_what_it_counts(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    for words in ([], ["--trace-detail", "layers"]):
        file = tmp_path / "trace.json"
        assert main(["simulate", str(artifact), "--json", "--machine", "s256", "--trace", str(file), *words]) == 0
        total = result_of(capsys.readouterr().out)["total"]
        found = read_trace(file)
        assert round(found.total("network", "layers", "cycles")) == total["cycles"] == round(found.about["cycles"])
        assert found.total("card 0 (S256)", "cluster 0: MAC", "multiply-accumulates") >= total["macs"]
        assert found.about["times"].endswith("not measured on silicon")


def test_simulate_on_another_machine_says_what_to_do(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "trace.json"
    assert main(["simulate", str(artifact), "--machine", "m4096", "--trace", str(file)]) == 1
    shown = capsys.readouterr().err
    assert f"{artifact} was compiled for machine 'S256', and its schedule is for no other one; expected S256" in shown
    differences = "timing.dram_turnaround: 7, 6; timing.signal: 2, 3; clusters: 1, 4; "
    assert f"found M4096 (artifact, machine): {differences}" in shown
    assert shown.endswith(
        "Compile the model with --machine m4096 and simulate that artifact, or compare machines with `tilewright sweep "
        "MODEL`.\n"
    )
    assert not file.exists()


def test_simulate_says_that_times_are_modelled(artifact: Path, capsys: Capture) -> None:
    assert main(["simulate", str(artifact)]) == 0
    shown = capsys.readouterr().out
    assert "modelled on S256: " in shown
    assert shown.endswith("not measured on silicon.\n")


def test_simulated_macs_are_those_of_the_network(artifact: Path, capsys: Capture) -> None:
    assert main(["inspect", str(artifact), "--json"]) == 0
    shown = result_of(capsys.readouterr().out)
    placement = shown["placement"]
    assert main(["simulate", str(artifact), "--json"]) == 0
    simulated = result_of(capsys.readouterr().out)
    total = simulated["total"]
    (schedule,) = shown["schedules"]
    assert (schedule["name"], schedule["clusters"], schedule["cards"]) == (
        "device_0",
        total["clusters"],
        total["cards"],
    )
    assert {layer["name"] for layer in simulated["layers"]} <= {record["name"] for record in placement}
    assert total["macs"] == sum(record["macs"] for record in placement if record["on"] == "device")


def test_every_result_of_the_device_has_a_place(artifact: Path, capsys: Capture) -> None:
    assert main(["inspect", str(artifact), "--json"]) == 0
    shown = result_of(capsys.readouterr().out)
    places = {each["name"]: each for each in shown["maps"]}
    assert [*places] == [record["name"] for record in shown["placement"] if record["on"] == "device"]
    assert all(bool(each["rows"]) == (each["memory"] == "chip") != bool(each["why"]) for each in places.values())
    assert main(["inspect", str(artifact)]) == 0
    assert ") leaves the device: " in capsys.readouterr().out


def test_disassembly_names_streams_and_layers(artifact: Path, capsys: Capture) -> None:
    assert main(["inspect", str(artifact), "--disassemble"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("; device_0\nstream LD0\n")
    for word in ("stream LW0", "stream ST0", "stream MAC0", "stream VEC0", "LDM ", "CONV ", "RQ ", "END"):
        assert word in shown


def test_the_disassembly_in_json(artifact: Path, capsys: Capture) -> None:
    assert main(["inspect", str(artifact), "--disassemble"]) == 0
    text = capsys.readouterr().out
    assert main(["inspect", str(artifact), "--disassemble", "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert list(found) == ["device_0"]
    assert text == f"; device_0\n{found['device_0']}\n"


@pytest.mark.parametrize("engine", ["device", "software", "float"])
def test_the_ir_of_an_engine_is_one_module(engine: str, artifact: Path, capsys: Capture) -> None:
    assert main(["inspect", str(artifact), "--ir", "--engine", engine]) == 0
    text = capsys.readouterr().out
    module = parse_module(text, {blob.stem: np.load(blob) for blob in (artifact.parent / "dump").rglob("*.npy")})
    verify(module)
    assert [*module.functions] == (["main", "device_0"] if engine == "device" else ["main"])
    assert ("quantize" in {op.name for op in module.main.ops}) == (engine != "float")
    assert print_module(module).count("\n  const ") == text.count("\n  const ") == len(module.constants)
    assert main(["inspect", str(artifact), "--ir", "--engine", engine, "--json"]) == 0
    assert result_of(capsys.readouterr().out) == {"name": "digits", "engine": engine, "ir": text}


def test_the_ir_is_that_of_the_preferred_engine(artifact: Path, capsys: Capture) -> None:
    for words in ([], ["--engine", "device"]):
        assert main(["inspect", str(artifact), "--ir", *words]) == 0
    first, second = capsys.readouterr().out.split("module @digits")[1:]
    assert first == second
    # A line of a module ends at a line feed alone.
    assert merged(['module @"\u2028" {\n}\n'] * 2) == 'module @"\u2028" {\n}\n'


def test_where_results_lie(artifact: Path, capsys: Capture) -> None:
    assert main(["inspect", str(artifact), "--memory", "--engine", "software"]) == 0
    assert "\nwork memory of engine software\n" in capsys.readouterr().out
    assert main(["inspect", str(artifact), "--memory", "--engine", "software", "--json"]) == 0
    rows = result_of(capsys.readouterr().out)["memory"]
    assert rows[0]["name"] == "image.1"
    assert rows[0]["shared"] == "work memory"
    assert rows[-1]["shared"] == "the caller's output buffer"


def test_every_engine_runs_and_integers_are_equal(artifact: Path) -> None:
    digits = load_digits()
    image = digits.prepare(digits.images[:1])
    outputs = {}
    for engine in ("device", "software", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            outputs[engine] = session.run({"image": image})["probabilities"]
    np.testing.assert_array_equal(outputs["device"], outputs["software"])
    assert outputs["device"].argmax() == outputs["float"].argmax() == digits.labels[0]


def test_a_float_artifact_has_nothing_to_simulate(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "digits.twa"
    assert main(["compile", str(MODEL), "-o", str(path), "--precision", "fp32"]) == 0
    capsys.readouterr()
    assert main(["simulate", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"error: simulate: {path} holds no device program; found precision fp32. "
        "Compile the model with --precision int8.\n"
    )
