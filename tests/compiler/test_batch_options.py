"""Cards, clusters and images of each cluster as options: what they refuse, what artifacts record, what reports say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch_networks import network
from random_machines import write_machine

import tilewright
from tilewright.compiler.weights import with_parameters
from tilewright.errors import ArtifactError, MachineError, UsageError
from tilewright.runtime.artifact.artifact import MANIFEST_SECTION, Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section
from tilewright.runtime.artifact.manifest import DeviceStage
from tilewright.runtime.machines.machine import load
from tilewright.runtime.report.simulation import Simulation, simulate_artifact
from tilewright.runtime.report.summary import Summary, summarize
from tilewright.runtime.report.table import json_text


@pytest.fixture
def machine(tmp_path: Path) -> str:
    """Four cards of four clusters."""
    return write_machine(tmp_path / "four.json", replace(load("m4096"), name="four", cards=4))


def compiled(
    images: int, machine: str, *, cards: int = 1, clusters: int = 1, images_per_cluster: int | None = None
) -> Artifact:
    return tilewright.compile(
        network(images),
        precision="int8",
        calibration=np.random.default_rng(2).standard_normal((1, 3, 9, 8)).astype(np.float32).repeat(images, 0),
        machine=machine,
        cards=cards,
        clusters=clusters,
        images_per_cluster=images_per_cluster,
    )


REFUSED: list[tuple[int, dict[str, int], str]] = [
    (4, {"cards": 5}, "--cards: out of range for machine four; expected 1 to 4, found 5"),
    (4, {"cards": 0}, "--cards: out of range for machine four; expected 1 to 4, found 0"),
    (
        3,
        {"cards": 2},
        "--cards: the images cannot be shared out evenly; expected a divisor of the 3 images that the network takes at "
        "once, found 2",
    ),
    (
        1,
        {"images_per_cluster": 1},
        "--images-per-cluster: the network takes one image. Give more with --input-shape where the model leaves their "
        "number open, or leave the option out.",
    ),
    (
        4,
        {"images_per_cluster": 3, "cards": 2},
        "--images-per-cluster: a card does not have so many images; expected 1 to 2, found 3",
    ),
    (
        4,
        {"images_per_cluster": 0},
        "--images-per-cluster: a card does not have so many images; expected 1 to 4, found 0",
    ),
    (
        9,
        {"images_per_cluster": 1, "clusters": 4},
        "--images-per-cluster: the images of a card cannot be shared out evenly; expected clusters x images per "
        "cluster to divide the 9 images of a card, or to be no fewer, found 4 x 1 = 4",
    ),
]


def test_without_integers_there_is_no_machine_to_share_out() -> None:
    with pytest.raises(UsageError, match="--cards is for precision int8; in fp32 the whole network runs on the CPU"):
        tilewright.compile(network(1), cards=5)
    with pytest.raises(UsageError, match="--images-per-cluster is for precision int8; "):
        tilewright.compile(network(1), images_per_cluster=3)


@pytest.mark.parametrize(("images", "options", "message"), REFUSED)
def test_what_cannot_be_shared_out(images: int, options: dict[str, int], message: str, machine: str) -> None:
    with pytest.raises((UsageError, MachineError)) as caught:
        compiled(images, machine, **options)
    assert str(caught.value) == message


def test_shared_artifacts_are_checked_and_generated_anew(machine: str) -> None:
    """What a stage says of shares must fit its tensors; other weights keep cards and shares."""
    artifact = compiled(4, machine, cards=2)
    manifest = artifact.manifest
    (name,) = manifest.device_programs
    sections = [
        Section(entry.name, entry.kind, bytes(artifact.section(entry.name)))
        for entry in artifact.sections.values()
        if entry.name != MANIFEST_SECTION
    ]

    def with_shares(shares: int) -> bytes:
        stages = tuple(
            replace(stage, shares=shares) if isinstance(stage, DeviceStage) else stage
            for stage in manifest.engines["device"].stages
        )
        engines = {**manifest.engines, "device": replace(manifest.engines["device"], stages=stages)}
        return artifact_bytes(replace(manifest, engines=engines), sections)

    for shares in (1, 3, 4, 8):
        with pytest.raises(ArtifactError, match="does not match the tensors of its stage"):
            tilewright.load(with_shares(shares), engine="device")
    for shares in (0, 1 << 40):
        with pytest.raises(ArtifactError, match="shares' is out of range"):
            tilewright.load(with_shares(shares), engine="device")
    x = np.random.default_rng(4).standard_normal((4, 3, 9, 8)).astype(np.float32)
    again = with_parameters(artifact, "device", {})
    assert again.manifest.device_programs[name].cards == 2
    results = [tilewright.load(each, engine="device").run({"x": x})["y"] for each in (artifact, again, with_shares(2))]
    for found in results[1:]:
        np.testing.assert_array_equal(found, results[0])


def test_sample_machines_have_one_card() -> None:
    with pytest.raises(MachineError, match="--cards: out of range for machine M4096; expected 1, found 2"):
        compiled(4, "m4096", cards=2)


def test_only_for_int8() -> None:
    with pytest.raises(UsageError, match="--images-per-cluster is for precision int8"):
        tilewright.compile(network(2), precision="fp32", images_per_cluster=2)


def test_results_do_not_depend_on_where_images_are_computed(machine: str) -> None:
    x = np.random.default_rng(3).standard_normal((4, 3, 9, 8)).astype(np.float32)
    results: list[np.ndarray] = []
    reports: list[Simulation] = []
    summaries: list[Summary] = []
    modes: list[dict[str, int]] = [
        {},
        {"cards": 2},
        {"cards": 4},
        {"clusters": 4, "images_per_cluster": 1},
        {"clusters": 2, "images_per_cluster": 1, "cards": 2},
        {"images_per_cluster": 2},
    ]
    for options in modes:
        artifact = compiled(4, machine, **options)
        for engine in ("device", "software"):
            with tilewright.load(artifact, engine=engine) as session:
                results.append(session.run({"x": x})["y"])
        reports.append(simulate_artifact(artifact))
        summaries.append(summarize(artifact))
    for found in results:
        np.testing.assert_array_equal(found, results[0])
    totals = [report.total for report in reports]
    assert {total.macs for total in totals} == {totals[0].macs}
    assert [(total.cards, total.clusters) for total in totals] == [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2), (1, 1)]
    # What compile prints is what simulate finds.
    assert [(each.cards, each.clusters) for each in summaries] == [(total.cards, total.clusters) for total in totals]
    assert [each.schedules[0].images_per_cluster for each in summaries] == [0, 0, 0, 1, 1, 2]
    assert (
        "\n  accelerator      2 clusters of each of 2 cards, 1 image on each cluster at once; planned for the whole "
        "machine (effort normal), up to 94% of the maps scratchpad for maps that stay there\n"
    ) in summaries[4].to_text("m.twa")
    for report in reports:
        total = report.total
        assert sum(layer.macs for layer in report.layers) == total.macs
        assert abs(sum(layer.cycles for layer in report.layers) - total.cycles) <= len(report.layers)
        of_machine = total.mac_utilization * total.clusters * total.cards / 16
        np.testing.assert_allclose(total.machine_utilization, of_machine)
    one, two = totals[0], totals[1]
    # Each card computes half of the images; what it needs for itself are its own weights and instructions.
    assert one.cycles / 2 < two.cycles < one.cycles
    assert json.loads(json_text(reports[1]))["total"]["cards"] == 2
    assert "of the peak of one cluster of each of 2 cards, " in reports[1].to_text()


def test_the_same_program_on_every_card(machine: str) -> None:
    """A card more changes how often a program runs, not the program."""
    two, four = (compiled(n, machine, cards=n // 2) for n in (4, 8))
    (name,) = two.manifest.device_programs
    programs = [each.copy(each.manifest.device_programs[name].instructions) for each in (two, four)]
    assert programs[0] == programs[1]
    assert [each.manifest.device_programs[name].cards for each in (two, four)] == [2, 4]
