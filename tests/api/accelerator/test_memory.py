"""The memory of virtual cards: what is written is read, programs run from it, and every bound holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tilewright
from tilewright import limits
from tilewright.compiler.demo.digits import MODEL
from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.accelerator.errors import AcceleratorError
from tilewright.runtime.api.accelerator.facts import Network
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.report.simulation import simulate_artifact

GIB = 2**30


def refusal(call, *arguments: object) -> str:
    with pytest.raises(AcceleratorError) as caught:
        call(*arguments)
    assert caught.value.code == -1
    return str(caught.value)


@pytest.fixture
def saved(tmp_path: Path, integer_network: Network) -> str:
    """The digits network for the accelerator S256, in a file."""
    path = tmp_path / "save.bin"
    samples = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    tilewright.compile(MODEL, calibration=samples, machine="s256", output=path)
    return str(path)


def card(cards: int = 1) -> MDLA:
    accelerator = MDLA()
    accelerator.CreateMemcard(cards, 1, "s256")
    return accelerator


@pytest.mark.parametrize("address", [0, 1, 65535, 65536, 3 * 65536 - 4, GIB - 400_000])
@pytest.mark.parametrize("kind", [FWDNXT, MDLA])
def test_what_is_written_is_read(kind: type[FWDNXT | MDLA], address: int) -> None:
    accelerator = kind()
    accelerator.SetFlag("bitfile", "s256")
    data = np.random.default_rng(1).standard_normal((100, 1000)).astype(np.float32)
    accelerator.WriteData(np.uint64(address), data, 0)
    found = np.empty_like(data)
    accelerator.ReadData(address, found, 0)
    np.testing.assert_array_equal(found, data)
    around = np.empty(1, np.uint8)
    if address:
        accelerator.ReadData(address - 1, around, 0)
        assert around[0] == 0


def test_cards_and_objects_have_memories_of_their_own() -> None:
    first, second = card(2), card(2)
    first.WriteData(64, np.ones(4, np.float32), 1)
    found = np.full(4, np.nan, np.float32)
    for accelerator, number, expected in ((first, 0, 0), (first, 1, 1), (second, 1, 0)):
        accelerator.ReadData(64, found, number)
        assert (found == expected).all()


def test_addresses_are_given_out_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    accelerator = card(2)
    accelerator.SetFlag({"addroff": 100, "debug": "c"})
    assert [accelerator.Malloc(10, 4, 0, name) for name in ("a", "b")] == [128, 192]
    assert accelerator.Malloc(10, 4, 1, "c") == 128
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "card 0 0x80: 40 bytes, a",
        "card 0 0xc0: 40 bytes, b",
        "card 1 0x80: 40 bytes, c",
    ]
    assert accelerator.GetInfo("addroff") == 100


def test_a_program_runs_from_memory(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its output is that of the network with the same integers."""
    accelerator = card()
    accelerator.SetFlag("debug", "c")
    size = accelerator.ReadCode(saved, 4096)
    places = {
        line.rpartition(" ")[2]: (int(line.split()[2].rstrip(":"), 0), int(line.split()[3]))
        for line in capsys.readouterr().out.splitlines()
    }
    assert max(sum(place) for place in places.values()) == 4096 + size
    image = np.random.default_rng(3).integers(-128, 128, (8, 8)).astype(np.int8)
    accelerator.WriteData(places["input"][0], image)
    milliseconds, moved = accelerator.HwRun(4096, places["output"][1])
    total = simulate_artifact(Artifact.open(saved)).total
    assert (milliseconds, moved) == (total.seconds * 1e3, total.dram_bytes)
    found = np.empty(10, np.int8)
    accelerator.ReadData(places["output"][0], found)
    with tilewright.load(saved, engine="device") as session:
        layers = session.artifact.manifest.details["layers"]
        assert isinstance(layers, list)
        (first,) = [layer for layer in layers if layer["op"] == "quantize"]
        (last,) = [layer for layer in layers if layer["op"] == "dequantize"]
        (before,) = [layer for layer in layers if layer["name"] == last["operands"][0]]
        real = ((image.astype(np.float32) - first["zero_point"]) * np.float32(first["scale"]))[None, None]
        logits = (found.astype(np.float64) - before["zero_point"]) * before["scale"]
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(session.run({"image": real})["probabilities"][0], expected, rtol=1e-5)


def test_inputs_are_random_by_the_seed_or_count_up(saved: str) -> None:
    outputs = set()
    for flags in ({"seed": 1}, {"seed": 1}, {"seed": 2}, {"rand": 0}):
        accelerator = card()
        accelerator.SetFlag({**flags, "debug": ""})
        accelerator.ReadCode(saved, 0)
        accelerator.HwRun(0)
        everything = np.empty(2**17, np.uint8)
        accelerator.ReadData(0, everything)
        outputs.add(everything.tobytes())
    assert len(outputs) == 3


@pytest.mark.parametrize("kind", range(4))
def test_nonlinear_coefficients(kind: int) -> None:
    table = MDLA().GetNonlinCoefs(kind)
    assert (table.shape, table.dtype) == ((4, 128), np.int16)
    x = np.arange(512) / 32 - 8
    function = (lambda x: np.maximum(x, 0), lambda x: 1 / (1 + np.exp(-x)), lambda x: x, np.tanh)[kind]
    np.testing.assert_allclose(table.reshape(-1) / 256, function(x), atol=1 / 512)


def test_bounds_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator, data = card(), np.zeros(4, np.float32)
    outside = f"this lies outside the memory of a card; expected 0 to {GIB} (S256), found"
    assert refusal(accelerator.WriteData, GIB - 15, data) == f"WriteData: {outside} 16 bytes from {GIB - 15}"
    assert refusal(accelerator.ReadData, -1, data) == f"ReadData: {outside} 16 bytes from -1"
    assert refusal(accelerator.ReadData, np.uint64(2**64 - 1), data).endswith(f"16 bytes from {2**64 - 1}")
    assert refusal(accelerator.ReadData, 2**64, data) == f"ReadData: {outside} 16 bytes from {2**64}"
    assert refusal(accelerator.Malloc, 2**28, 8, 0) == f"Malloc: {outside} {2**31} bytes from 0"
    no_card = "there is no card of this number; expected 0 to 0, found"
    assert refusal(accelerator.WriteData, 0, data, 1) == f"WriteData: {no_card} 1"
    assert refusal(accelerator.ReadData, 0, data, -1) == f"ReadData: {no_card} -1"
    assert refusal(accelerator.Malloc, 1, 1, 7) == f"Malloc: {no_card} 7"
    assert (
        refusal(accelerator.Malloc, 0, 4, 0)
        == "Malloc: nelements is out of range; expected 1 to 1099511627776, found 0"
    )
    assert refusal(accelerator.Malloc, 1, 16, 0) == "Malloc: datasize is out of range; expected 1 to 8, found 16"
    assert (
        refusal(accelerator.WriteData, "a", data) == "WriteData: this is no address; expected a whole number, found str"
    )
    assert (
        refusal(accelerator.WriteData, 0, [1.0])
        == "WriteData: this is no array of numbers; expected an array, found list"
    )
    objects = np.array([None])
    assert refusal(accelerator.WriteData, 0, objects).startswith("WriteData: this is no array of numbers")
    data.flags.writeable = False
    assert refusal(accelerator.ReadData, 0, data) == (
        "ReadData: this cannot be read into; expected an array of numbers, found ndarray"
    )
    monkeypatch.setattr(limits, "CARD_MEMORY", 2**17)
    accelerator.WriteData(0, np.zeros(2**17, np.uint8))
    assert refusal(accelerator.WriteData, 2**17, data) == (
        "WriteData: more is written than this host keeps; expected at most 131072 bytes, found 196608"
    )
    accelerator.WriteData(2**16, data)


def test_wrong_programs(saved: str, tmp_path: Path) -> None:
    accelerator = card()
    missing = str(tmp_path / "missing")
    assert "cannot be read" in refusal(accelerator.ReadCode, missing, 0) or "No such file" in refusal(
        accelerator.ReadCode, missing, 0
    )
    tilewright.compile(MODEL, output=tmp_path / "float.bin")
    assert refusal(accelerator.ReadCode, str(tmp_path / "float.bin"), 0).endswith(
        "float.bin is not one program; expected one device program, found 0"
    )
    assert refusal(accelerator.ReadCode, saved, GIB - 64).startswith("ReadCode: this lies outside the memory of a card")
    assert refusal(accelerator.HwRun, 0) == (
        "HwRun: there is no program at this address; expected one that ReadCode filled: none yet, found 0"
    )
    accelerator.ReadCode(saved, 256)
    assert refusal(accelerator.HwRun, 0).endswith("expected one that ReadCode filled: 0x100, found 0")
    assert (
        refusal(accelerator.HwRun, 256, 3) == "HwRun: the program gives another number of bytes; expected 64, found 3"
    )
    assert refusal(accelerator.GetNonlinCoefs, 4) == (
        "GetNonlinCoefs: there is no such function; expected 0 relu, 1 sigmoid, 2 none, 3 tanh, found 4"
    )


def test_wrong_cards() -> None:
    accelerator = MDLA()
    assert "flag 'nfpgas' cannot have this value" in refusal(accelerator.CreateMemcard, 0, 1)
    assert "neither a sample nor a readable file" in refusal(accelerator.CreateMemcard, 1, 1, "no such machine")


def test_training_by_the_calls_of_the_api() -> None:
    accelerator = FWDNXT()
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3)).astype(np.float32), np.zeros(2, np.float32)
    x, y = rng.standard_normal((3, 4)).astype(np.float32), np.zeros((2, 4), np.float32)
    calls = (
        ("TrainlinearData", (x, y, 0)),
        ("TrainlinearStep", (0,)),
        ("TrainlinearStepSw", ()),
        ("TrainlinearStepFloat", ()),
        ("TrainlinearGet", (a, b)),
        ("TrainlinearGetY", (y,)),
    )
    for name, arguments in calls:
        expected = f"{name}: no training has begun. Call TrainlinearStart first."
        assert refusal(getattr(accelerator, name), *arguments) == expected
    accelerator.TrainlinearStart(4, a, b, 12, 10, 10, 10, 0.1)
    for name, arguments in calls:
        getattr(accelerator, name)(*arguments)
    accelerator.TrainlinearEnd()
    assert "no training has begun" in refusal(accelerator.TrainlinearStep, 0)


def test_a_program_in_place_of_another_and_what_is_given_out_after_it(
    saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    accelerator = card()
    size = accelerator.ReadCode(saved, 0)
    accelerator.ReadCode(saved, 0)
    accelerator.SetFlag("debug", "c")
    assert accelerator.Malloc(1, 4, 0, "behind") == -(-size // 64) * 64
    assert len(capsys.readouterr().out.splitlines()) == 6
