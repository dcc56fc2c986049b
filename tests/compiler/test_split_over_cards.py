"""One network over several cards: the bytes of one card, reports with the link, and artifacts that are checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch_networks import network
from random_machines import write_machine

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.weights import Parameters, layers_of, with_parameters
from tilewright.errors import ArtifactError, InstructionError, TilewrightError
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section
from tilewright.runtime.artifact.manifest import DeviceProgramInfo, Manifest
from tilewright.runtime.machines.machine import load
from tilewright.runtime.report.details import details_of
from tilewright.runtime.report.inspection import artifact_ir, disassembly
from tilewright.runtime.report.simulation import Simulation, simulate_artifact
from tilewright.runtime.report.table import json_text

Capture = pytest.CaptureFixture[str]
IMAGE = np.random.default_rng(3).standard_normal((1, 3, 9, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three cards whose link is that of the sample."""
    return write_machine(tmp_path_factory.mktemp("cards") / "m.json", replace(load("m4096"), name="three", cards=3))


def compiled(machine: str, **options: int | str) -> Artifact:
    return tilewright.compile(
        network(1),
        precision="int8",
        calibration=np.random.default_rng(2).standard_normal((1, 3, 9, 8)).astype(np.float32),
        machine=machine,
        **options,  # pyright: ignore[reportArgumentType]
    )


@pytest.fixture(scope="module")
def split(machine: str) -> Artifact:
    # The first plan: of several, one with fewer clusters is faster for so small a network.
    return compiled(machine, cards=2, clusters=2, effort="quick")


def run(artifact: Artifact, engine: str) -> np.ndarray:
    with tilewright.load(artifact, engine=engine) as session:
        return session.run({"x": IMAGE})["y"]


def test_who_watches_the_passes_changes_no_byte(machine: str, tmp_path: Path) -> None:
    """The draft that won is the program unless somebody watches; then its passes are run once more."""
    options: tuple[dict[str, int | str], ...] = ({"clusters": 2}, {"cards": 2, "effort": "quick"})
    for each in options:
        watched, unwatched = compiled(machine, **each, dump=str(tmp_path / "dump")), compiled(machine, **each)
        assert disassembly(watched, as_json=False) == disassembly(unwatched, as_json=False)
    assert [*(tmp_path / "dump").rglob("*plan_scratchpads*")]


def test_cards_change_no_byte(machine: str, split: Artifact) -> None:
    whole = compiled(machine, clusters=1)
    expected = run(whole, "software")
    reports: list[Simulation] = []
    for artifact in (whole, split, compiled(machine, cards=3, clusters=1)):
        np.testing.assert_array_equal(run(artifact, "device"), expected)
        np.testing.assert_array_equal(run(artifact, "software"), expected)
        reports.append(simulate_artifact(artifact))
    totals = [report.total for report in reports]
    assert [(total.cards, total.clusters) for total in totals] == [(1, 1), (2, 2), (3, 1)]
    assert {total.macs for total in totals} == {totals[0].macs}
    assert [bool(report.link_bytes) for report in reports] == [False, True, True]
    assert [bool(report.parts["card-link"]) for report in reports] == [False, True, True]
    for report in reports:
        total = report.total
        assert abs(sum(layer.cycles for layer in report.layers) - total.cycles) <= len(report.layers)
        assert sum(layer.macs for layer in report.layers) == total.macs
        of_machine = total.mac_utilization * total.clusters * total.cards / 12
        np.testing.assert_allclose(total.machine_utilization, of_machine)
    found = json.loads(json_text(reports[1]))
    assert (found["total"]["cards"], found["total"]["clusters"]) == (2, 2)
    assert found["link_bytes"] == reports[1].link_bytes
    assert "of the peak of 2 clusters of each of 2 cards, " in reports[1].to_text()
    assert "from card to card: " in reports[1].to_text() and "from card to card" not in reports[0].to_text()
    less = simulate_artifact(split, {"card-link"})
    assert less.total.cycles < totals[1].cycles
    assert less.parts["card-link"] == 0.0 and "link" not in {layer.bound for layer in less.layers}
    # Each card has its own messages from and to the host.
    messages = [(message.card, message.to, message.bytes > 0) for message in reports[1].host.messages]
    assert messages == [(0, "card", True), (1, "host", True)]
    assert "  to the host, device_0, card 1: " in reports[1].to_text()


def test_what_is_shown_of_several_cards(split: Artifact, tmp_path: Path, capsys: Capture) -> None:
    text = disassembly(split, as_json=False)
    assert isinstance(text, str)
    assert "; device_0\n" in text and "; device_0, card 1\n" in text
    assert text.count("SND ") == text.count("RCV ") > 0
    shown = artifact_ir(split, "device", as_json=False)
    assert "func @device_0_card1" in shown and "receives=[[0, 0, 0]]" in shown and "callee=device_0_card0" in shown
    # What goes to the other card does not go to the host.
    whys = [each.why for each in details_of(split).maps]
    assert whys.count("is sent to card 1") == text.count("SND ") and "leaves the device" in whys
    path = tmp_path / "split.twa"
    path.write_bytes(artifact_bytes(split.manifest, sections_of(split)))
    assert main(["verify", str(path), "--trust", Artifact.open(str(path)).digest]) == 0
    assert "is intact" in capsys.readouterr().out


def test_other_weights_on_several_cards(split: Artifact) -> None:
    layers = layers_of(split, "device")
    changed = {layers[-1].name: Parameters(np.zeros_like(layers[-1].weights), None)}
    again = with_parameters(split, "device", changed)
    assert len(again.manifest.device_programs["device_0"].others) == 1
    assert len(np.unique(run(again, "device"))) == 1
    same = with_parameters(split, "device", {layers[-1].name: Parameters(layers[-1].weights, None)})
    np.testing.assert_array_equal(run(same, "device"), run(split, "device"))


def sections_of(artifact: Artifact) -> list[Section]:
    held = {name: each.kind for name, each in artifact.sections.items() if name != "manifest"}
    return [Section(name, kind, artifact.copy(name)) for name, kind in held.items()]


def changed(artifact: Artifact, change: Callable[[DeviceProgramInfo], DeviceProgramInfo]) -> Artifact:
    """The artifact with other words about its device program."""
    programs = {name: change(info) for name, info in artifact.manifest.device_programs.items()}
    return Artifact.open(artifact_bytes(replace(artifact.manifest, device_programs=programs), sections_of(artifact)))


def test_artifacts_whose_cards_do_not_belong_together_are_refused(split: Artifact) -> None:
    alone = changed(split, lambda info: replace(info, others=(), outputs=()))
    with pytest.raises(InstructionError, match="field 'peer' breaks a rule; expected there is no other card"):
        tilewright.load(alone, engine="device")
    crossed = changed(
        split,
        lambda info: replace(
            info,
            instructions=info.others[0].instructions,
            others=(replace(info.others[0], instructions=info.instructions),),
        ),
    )
    with pytest.raises(TilewrightError):
        tilewright.load(crossed, engine="device")
    with pytest.raises(ArtifactError, match="feature maps of cards 0 to 1, found card 2"):
        changed(split, lambda info: replace(info, inputs=tuple(replace(ref, card=2) for ref in info.inputs)))
    with pytest.raises(ArtifactError, match="a section of its own"):
        changed(split, lambda info: replace(info, others=info.others * 2))
    moved = changed(split, lambda info: replace(info, inputs=tuple(replace(ref, card=1) for ref in info.inputs)))
    with pytest.raises(ArtifactError, match="has a feature map outside its region"):
        tilewright.load(moved, engine="device")


def test_cards_are_bounded_where_a_manifest_is_read(split: Artifact) -> None:
    info = split.manifest.device_programs["device_0"]
    for wrong, message in (
        (replace(info, inputs=tuple(replace(ref, card=16) for ref in info.inputs)), r"card' is out of range"),
        (replace(info, others=info.others * 16), r"others' is too long"),
    ):
        text = replace(split.manifest, device_programs={"device_0": wrong}).to_json()
        with pytest.raises(ArtifactError, match=message):
            Manifest.from_json(text)
