"""Machine descriptions: samples load, bad files are refused with the field named, the hash tells machines apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tilewright.errors import MachineError
from tilewright.runtime.machines import machine
from tilewright.runtime.machines.constants import EnergyConstants


def sample() -> dict:
    values = machine.load("s256").to_dictionary()
    return {"format": 1, **values}


def refused(values: object) -> str:
    with pytest.raises(MachineError) as caught:
        machine.read_file(values if isinstance(values, str) else json.dumps(values), "m.json")
    return str(caught.value)


def test_samples_have_the_published_sizes() -> None:
    assert machine.samples() == ["m4096", "s256", "u250"]
    for name, clusters, macs in (("M4096", 4, 4096), ("s256", 1, 256), ("U250", 8, 32768)):
        sizes = machine.load(name)
        assert (sizes.clusters, sizes.clusters * sizes.cluster_macs_per_cycle) == (clusters, macs)
    assert machine.load("m4096").dram_bytes_per_cycle == pytest.approx(19.2e9 * 0.85 / 250e6)


_BUILT = (
    "depthwise_taps",
    "line_registers",
    "dram_row_bytes",
    "dram_banks",
    *("host_link_bytes_per_second", "host_link_latency"),
)


def test_every_constant_of_a_model_states_its_origin() -> None:
    for name in machine.samples():
        path = Path(machine.__file__).with_name(f"{name}.json")
        description = json.loads(path.read_text())
        built = {name: description[name] for name in _BUILT}
        for constants in (description["timing"], description["energy"], built):
            assert all(entry["origin"] for entry in constants.values())


def test_the_energy_constants_are_of_the_file_and_not_of_the_machine(tmp_path: Path) -> None:
    constants = {"mac_picojoules": 0.5, "sram_byte_picojoules": 4, "dram_byte_picojoules": 10, "idle_watts": 1}
    constants["board_watts"] = {"value": 2.5}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(sample()))
    assert machine.load(path) == machine.load("s256")
    assert machine.load_energy(path) is None
    constants["board_watts"] = {"value": 2.5, "origin": "a data sheet"}
    path.write_text(json.dumps({**sample(), "energy": constants}))
    assert machine.load(path) == machine.load("s256")
    assert machine.load_energy(path) == EnergyConstants(0.5, 4, 10, 1, 2.5)
    assert refused({**sample(), "energy": {**constants, "idle_watts": -1}}) == (
        "m.json: field 'energy.idle_watts' (power of the accelerator's chip, whatever it does) is out of range; "
        "expected 0 to 10000 W, found -1"
    )
    del constants["idle_watts"]
    assert refused({**sample(), "energy": constants}) == "m.json: field 'energy.idle_watts' is missing"
    assert refused({**sample(), "energy": 3}) == "m.json: field 'energy' is not an object; found 3"


def test_values_survive_json_and_the_hash_ignores_only_the_name() -> None:
    original = machine.load("s256")
    assert machine.read_file(json.dumps(sample()), "m.json").machine == original
    assert hash(machine.read_file(json.dumps(sample()), "m.json").machine) == hash(original)
    renamed = machine.read_file(json.dumps({**sample(), "name": "other"}), "m.json").machine
    assert renamed.hash == original.hash
    slower = machine.read_file(json.dumps({**sample(), "clock_hertz": 200_000_000}), "m.json").machine
    assert slower.hash != original.hash
    assert slower.differences(original) == ["clock_hertz: 200000000, 250000000"]


def test_a_path_loads_and_a_wrong_one_names_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(sample()))
    assert machine.load(path) == machine.load("s256")
    with pytest.raises(MachineError, match=r"neither a sample nor a readable file.*Samples: m4096, s256, u250"):
        machine.load(tmp_path / "absent.json")


def test_missing_unknown_and_repeated_fields_are_named() -> None:
    values = sample()
    del values["maps_bytes"]
    assert refused(values) == "m.json: field 'maps_bytes' is missing"
    values = sample()
    del values["timing"]["divide"]
    assert refused(values) == "m.json: field 'timing.divide' is missing"
    assert refused({**sample(), "speed": 1}) == "m.json: field 'speed' is unknown"
    assert refused('{"cards": 1, "cards": 2}') == "m.json: field 'cards' is given twice"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("clusters", -1, "field 'clusters' (clusters on a card, each with its own scratchpads) is out of range"),
        ("clusters", 1.5, "is not a whole number; found 1.5"),
        ("clusters", True, "is not a whole number"),
        ("clusters", "4", "is not a whole number"),
        ("dram_efficiency", 1.5, "expected 0.01 to 1.0; found 1.5".replace(";", ",")),
        ("input_lanes", 12, "field 'input_lanes' is not a power of two; found 12"),
        ("maps_bytes", 1 << 30, "field 'maps_bytes' (feature-map scratchpad of a cluster) is out of range"),
        ("maps_bytes", 1025, "expected a multiple of 64, found 1025"),
        ("weight_banks", 3, "does not divide into 'weight_banks' banks"),
        ("dram_bytes", 1 << 17, "field 'dram_bytes' is smaller than the scratchpads"),
        ("timing", 3, "m.json: field 'timing' is not an object"),
        ("name", "", "field 'name' is not a non-empty text; expected 1 to 255 characters, found ''"),
        ("name", "n" * 256, "expected 1 to 255 characters, found 'nnnnnnnnnnnn...nnnnnnnnnnnnn'"),
        ("name", "\ud800", "field 'name' is not a text"),
        ("name", None, "field 'name' is not a text; found None"),
        ("energy", None, "m.json: field 'energy' is not an object; found None"),
        ("clock_hertz", 10**400, "field 'clock_hertz' (clock) is out of range; expected 1000000 to 4000000000 Hz"),
        ("clock_hertz", float("nan"), "field 'clock_hertz' (clock) is not a whole number; found nan"),
        ("dram_efficiency", float("nan"), "expected 0.01 to 1.0, found nan"),
        ("dram_efficiency", float("inf"), "expected 0.01 to 1.0, found inf"),
        ("dram_efficiency", 10**400, "expected 0.01 to 1.0, found 1000"),
        ("dram_efficiency", [[1.0]], "is not a number; found [[1.0]]"),
        (
            "format",
            [[[[[[[[[1]]]]]]]]],
            "m.json: field 'format' is not a known version; expected 1, found [[[[[[[...]]]]]]]",
        ),
        ("cards", [[[[[[[[[1]]]]]]]]], "(accelerator cards) is not a whole number; found [[[[[[[...]]]]]]]"),
        ("link_latency", {"value": {"a": [1] * 99}, "origin": "here"}, "is not a whole number; found {'a': [1, 1, 1,"),
    ],
)
def test_wrong_values_are_refused(field: str, value: object, message: str) -> None:
    assert message in refused({**sample(), field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"maps_banks": 1, "pixel_lanes": 16},
            "m.json: the maps port cannot feed the array; expected at least 256 bytes a cycle (pixel_lanes x "
            "input_lanes), found 64 (maps_banks x 64). Give it more 'maps_banks', or the array fewer lanes.",
        ),
        (
            {"weight_banks": 2, "output_lanes": 16},
            "m.json: the weight port cannot feed the array; expected at least 256 bytes a cycle (input_lanes x "
            "output_lanes), found 128 (weight_banks x 64). Give it more 'weight_banks', or the array fewer lanes.",
        ),
        ({"depthwise_taps": 17}, "expected at most 16 (input_lanes), found 17"),
        ({"dram_row_bytes": 3000}, "field 'dram_row_bytes' is not a power of two; found 3000"),
        (
            {"clusters": 16, "maps_bytes": 8 << 20},
            "m.json: field 'maps_bytes' gives the clusters of a card more than is supported together; expected at most "
            "4194304 for 16 clusters, found 8388608",
        ),
    ],
    ids=["maps", "weights", "taps", "row", "maps together"],
)
def test_a_machine_that_cannot_feed_its_array_is_refused(changes: dict[str, int], message: str) -> None:
    assert message in refused({**sample(), **changes})


def test_a_negative_constant_and_a_bare_origin_are_refused() -> None:
    values = sample()
    values["timing"]["divide"] = -4
    assert "field 'timing.divide'" in refused(values)
    values["timing"]["divide"] = {"value": 4}
    assert "field 'timing.divide' is not an object of 'value' and a text 'origin'" in refused(values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 900 + "1" + "}" * 900, "'format' is not a known version"),
        ('{"cards": ' + "9" * 5000 + "}", "m.json: "),
        ("\0", "not JSON"),
    ],
    ids=["brackets", "objects", "digits", "zero"],
)
def test_texts_that_are_hard_to_read_are_refused(text: str, reason: str) -> None:
    assert reason in refused(text)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("zero\0byte", None, "embedded null byte"),
        ("n" * 5000, None, "File name too long"),
        ("", None, "Is a directory"),
        ("latin", b"\xff\xfe", "it holds no text in UTF-8, as JSON is"),
        ("long", b" " * (1 << 20) + b"{}", "longer than 1048576 bytes"),
    ],
    ids=["zero", "long_name", "folder", "latin", "long"],
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    path = str(tmp_path / name) if name else str(tmp_path)
    if content is not None:
        Path(path).write_bytes(content)
    with pytest.raises(MachineError) as caught:
        machine.load(path)
    assert f"is neither a sample nor a readable file ({reason})" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2}', "null", "1"])
def test_texts_that_are_no_description_are_refused(text: str) -> None:
    assert "m.json" in refused(text)
