"""`tilewright machine`: the samples, their numbers with units and origins, and what a machine file may say."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from json_results import result_of

from tilewright.__main__ import main
from tilewright.errors import MachineError
from tilewright.runtime.machines import machine
from tilewright.runtime.machines.constants import CycleConstants, EnergyConstants
from tilewright.runtime.machines.fields import AS_BUILT, field_named, machine_fields, values_of
from tilewright.runtime.machines.machine import Machine

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *words: str) -> Any:
    assert main(["machine", *words, "--json"]) == 0
    return result_of(capsys.readouterr().out)


def test_the_samples_are_listed(capsys: Capture) -> None:
    rows = shown(capsys)
    assert [row["name"] for row in rows] == machine.samples()
    assert rows == shown(capsys, "list")
    assert [(row["multipliers"], row["scratchpad_bytes"]) for row in rows] == [
        (4096, 4325376),
        (256, 737280),
        (32768, 40108032),
    ]
    assert main(["machine"]) == 0
    assert "  m4096        1         4        4,096  250.0 MHz  " in capsys.readouterr().out


def test_every_number_of_a_file_is_shown_with_its_origin(capsys: Capture) -> None:
    for name in machine.samples():
        stated = json.loads(Path(machine.__file__).with_name(f"{name}.json").read_text())
        flat = {key: value for key, value in stated.items() if key not in ("format", "name", "timing", "energy")}
        flat |= {f"{part}.{key}": value for part in ("timing", "energy") for key, value in stated[part].items()}
        rows = shown(capsys, "show", name.upper())
        assert {row["field"] for row in rows} == flat.keys() == machine_fields().keys()
        for row in rows:
            value = flat[row["field"]]
            noted = value if isinstance(value, dict) else {"value": value, "origin": AS_BUILT}
            assert (row["value"], row["origin"]) == (noted["value"], noted["origin"])
            assert (row["unit"], row["meaning"]) == machine_fields()[row["field"]][1::7]


def test_a_file_without_an_energy_model_is_shown_without(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"format": 1, **machine.load("s256").to_dictionary(), "name": "own"}))
    rows = shown(capsys, "show", str(path))
    assert [row["field"] for row in rows] == [*values_of(machine.load_file(path))]
    assert not any(row["field"].startswith("energy.") for row in rows)
    assert main(["machine", "show", str(path)]) == 0
    assert capsys.readouterr().out.startswith("own\n")


def test_every_field_is_explained(capsys: Capture) -> None:
    rows = {row["field"]: row for row in shown(capsys, "explain")}
    declared = {each.name for each in fields(Machine)} - {"name", "timing"}
    declared |= {f"timing.{each.name}" for each in fields(CycleConstants)}
    declared |= {f"energy.{each.name}" for each in fields(EnergyConstants)}
    assert rows.keys() == declared
    assert all(row["meaning"] for row in rows.values())
    (row,) = shown(capsys, "explain", "maps_bytes")
    assert row == rows["maps_bytes"]
    assert (row["unit"], row["minimum"], row["maximum"], row["multiple"]) == ("B", 1024, 16777216, 64)
    assert (row["kind"], row["reducible"]) == ("build", True)
    assert [rows[name]["kind"] for name in ("timing.divide", "energy.idle_watts")] == ["time", "energy"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("show", 2, "machine show takes the name of a machine. See `tilewright machine --help`."),
        ("list m4096", 2, "machine list takes no further argument; found 'm4096'. See `tilewright machine --help`."),
        ("shw", 2, "'shw' is none of list, show, explain. Did you mean 'show'?"),
        ("explain map_bytes", 1, "a machine has no field 'map_bytes'. Did you mean 'maps_bytes'?"),
        ("explain gravity", 1, "a machine has no field 'gravity'. `tilewright machine explain` lists them."),
        ("show m409", 1, "(No such file or directory). Did you mean 'm4096'? Samples: m4096, s256, u250."),
    ],
)
def test_wrong_names(words: str, code: int, message: str, capsys: Capture) -> None:
    assert main(["machine", *words.split()]) == code
    assert message in capsys.readouterr().err


def test_a_field_is_found_by_its_full_name_alone() -> None:
    with pytest.raises(MachineError, match=r"Did you mean 'timing.divide'"):
        field_named("timing.divid")
