"""What the letters of ``debug``, and the flags that print or write, give; nothing modelled is called measured."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import accelerator_networks as networks
import numpy as np
import pytest

import tilewright
from tilewright.compiler.demo import MODEL
from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.accelerator.debug_report import DebugReport
from tilewright.runtime.api.accelerator.debug_text import (
    comparison,
    error_text,
    expected_seconds,
    formats,
    gigabytes_per_second,
    layer_lines,
    layer_list,
    layers_of,
    results_text,
    strategy,
)
from tilewright.runtime.api.accelerator.errors import AcceleratorError, SaturationWarning
from tilewright.runtime.api.accelerator.facts import Facts, Network
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.machines.machine import load

SAMPLES = list(np.random.default_rng(0).random((4, 1, 8, 8), np.float32))
IMAGE = SAMPLES[0]

Load = Callable[..., MDLA]

DEVICE_LAYERS = 8
"""Of the digits network that run on the device."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network for the accelerator S256, with integers, as ``Compile`` writes it."""
    path = tmp_path_factory.mktemp("saved") / "save.bin"
    accelerator = MDLA()
    accelerator.SetFlag({"bitfile": "s256", "debug": ""})
    accelerator.Compile(str(MODEL), samples=SAMPLES, outfile=str(path))
    return path


@pytest.fixture
def loaded(saved: Path) -> Callable[..., MDLA]:
    """Loads that network."""

    def load(debug: str, **flags: object) -> MDLA:
        accelerator = MDLA()
        accelerator.SetFlag({"debug": debug, **flags})
        accelerator.Init(str(saved))
        return accelerator

    return load


@pytest.fixture
def floating(monkeypatch: pytest.MonkeyPatch) -> MDLA:
    """The digits network in floating point."""
    monkeypatch.setenv("TILEWRIGHT_CALIBRATION", "")
    accelerator = MDLA()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accelerator.Compile(str(MODEL))
    return accelerator


def test_a_line_for_each_layer(integer_network: Network) -> None:
    lines = layer_lines(integer_network).splitlines()
    assert lines[1] == "conv stem_relu id=1 in=(1,8,8,1) out=(1,8,8,16) k=3x3 stride=1x1 dilation=1x1 pad=1x1x1x1 0->1"
    assert lines[0] == "quantize image.1 id=0 in=(1,8,8,1) out=(1,8,8,1) input->0"
    assert lines[6] == "add residual_relu id=6 in=(1,4,4,32) in=(1,4,4,32) out=(1,4,4,32) 4,5->6"
    assert (
        lines[-1]
        == f"softmax probabilities id={len(lines) - 1} in=(1,1,1,10) out=(1,1,1,10) {len(lines) - 2}->{len(lines) - 1}"
    )


def test_layers_in_floating_point_are_told_as_well(float_network: Network) -> None:
    assert layer_lines(float_network).splitlines()[0] == (
        "conv stem_relu id=0 in=(1,8,8,1) out=(1,8,8,16) k=3x3 stride=1x1 dilation=1x1 pad=1x1x1x1 input->0"
    )


def test_a_layer_that_reorders_a_result_reads_what_it_is_named_after(tmp_path: Path) -> None:
    network = Network(tilewright.compile(networks.convolution(tmp_path / "net.onnx", 16, 16, outputs=16)))
    numbers = [line.split()[-1] for line in layer_lines(network).splitlines()]
    names = [line.split()[1] for line in layer_lines(network).splitlines()]
    assert (names[-1], numbers[-1]) == (names[-2], f"{len(names) - 2}->{len(names) - 1}")


def test_figures_of_the_manual() -> None:
    """The SDK's own example: a 3x3 convolution of 256 channels on 16x16, 256 multipliers at 250 MHz."""
    operations = 2 * 3 * 3 * 256 * 256 * 14 * 14
    assert operations == 231_211_008
    expected = expected_seconds(operations, load("s256"))
    assert f"{expected * 1e3:.4f}" == "1.8063"
    moved = 8_716_288 + 100_352
    assert f"{gigabytes_per_second(moved, expected):.3f} {gigabytes_per_second(moved, 1.9949e-3):.3f}" == "4.546 4.116"


def test_the_report_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    accelerator = MDLA()
    accelerator.SetFlag({"bitfile": "s256", "debug": "b", "imgs_per_cluster": 2})
    accelerator.Compile(str(MODEL), samples=SAMPLES)
    shown = capsys.readouterr().out
    assert "conv stem_relu id=1 in=(1,8,8,1)" in shown
    assert re.search(r"^compile: [\d.]+ ms, measured on this host$", shown, re.MULTILINE)
    assert re.search(r"^init: [\d.]+ ms, measured on this host$", shown, re.MULTILINE)
    accelerator.Run(IMAGE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "inputs: 64 elements an image, batch 2",
        "cards: 1 of 64, clusters of each: 1 of 1",
    ]
    assert re.fullmatch(r"host: [\d.]+ ms for the call, measured on this host, which stands in for the card", lines[2])
    hwtime = accelerator.GetInfo("hwtime")
    assert isinstance(hwtime, float)
    operations = 2 * 2 * 198_976
    expected = expected_seconds(operations, load("s256")) * 1e3
    moved = int(lines[4].split()[3])
    assert lines[3:9] == [
        "main memory to device: 128 bytes, back: 20 bytes",
        f"device: {operations} ops, {moved} bytes of its memory on each cluster",
        f"time: expected {expected:.4f} ms at 128.0 Gop/s, modelled {hwtime:.4f} ms",
        f"bandwidth: expected {moved / expected * 1e3 / 2**30:.3f} GB/s, "
        f"modelled {moved / hwtime * 1e3 / 2**30:.3f} GB/s",
        f"efficiency: {expected / hwtime:.3f}, expected / modelled",
        lines[8],
    ]
    table = "\n".join(lines[8:])
    assert "expected (ms)  modelled (ms)  expected (GB/s)  modelled (GB/s)  efficiency" in table
    assert len(lines[8:]) == 2 + DEVICE_LAYERS
    assert "measured" not in table


def test_a_network_in_floating_point_has_no_device_times(floating: MDLA, capsys: pytest.CaptureFixture[str]) -> None:
    floating.SetFlag("debug", "b")
    floating.Run(IMAGE)
    assert capsys.readouterr().out.splitlines()[3:] == ["nothing of this network runs on the accelerator"]
    floating.SetFlag({"debug": "", "breaklayer": 1})
    floating.Compile(str(MODEL))
    assert capsys.readouterr().out == "nothing of this network runs on the accelerator\n"


@pytest.mark.parametrize(
    ("letter", "expected"),
    [
        ("n", "layers:\n0 image.1 quantize\n1 stem_relu conv\n"),
        ("s", "strategy:\n  layer "),
        ("s", r"device  \d+x\d+x1x1  (weights|inputs ) +supported"),
        ("Q", "number formats:\n  layer "),
        ("Q", "\n  probabilities  "),
        ("p", r"instructions:\ndevice_0: \d+ instructions\n  "),
        ("p", r"\n  stem_relu: \d+ CONV, \d+ LDM, 1 LDP, 1 LDW, \d+ RQ\n"),
        ("a", "memory traffic:\ndevice_0: bytes of whole bursts\n  stem_relu: "),
        ("S", "instructions in modelled time:\ndevice_0 L[DW]0 0 "),
        ("d", "units:\ndevice_0: busy cycles of "),
        ("d", ", modelled: LD0 "),
    ],
)
def test_what_a_letter_tells_of_a_network(
    letter: str,
    expected: str,
    integer_network: Network,
    facts_of: Callable[..., Facts],
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = facts_of()
    facts.flags.set("debug", letter)
    DebugReport(facts).compiled(integer_network.artifact)
    # How tiles are cut is the search's to say, and its tests'.
    assert re.search(expected, capsys.readouterr().out)


def test_letters_of_init(loaded: Load, capsys: pytest.CaptureFixture[str]) -> None:
    loaded("cC")
    shown = capsys.readouterr().out
    assert shown.startswith("addresses:\ndevice_0 constants (constant): 0x0, 11712 bytes\n")
    # How long it takes is the cycle model's to say, and its tests'.
    assert re.search(r"\nwork of clusters:\ncluster 0: 1 images, 397952 ops, \d+ bytes, 0\.", shown)
    assert shown.endswith(" ms modelled\n")


def test_passes_of_the_compiler(capsys: pytest.CaptureFixture[str]) -> None:
    accelerator = MDLA()
    accelerator.SetFlag("debug", "I")
    accelerator.Compile(str(MODEL), samples=SAMPLES)
    assert "tile_device" in capsys.readouterr().err


def test_nothing_is_printed_without_letters(loaded: Load, capsys: pytest.CaptureFixture[str]) -> None:
    accelerator = loaded("")
    accelerator.Run(IMAGE)
    assert capsys.readouterr() == ("", "")


def test_clusters_that_share_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    accelerator = MDLA()
    accelerator.SetFlag({"nclusters": 2, "nobatch": 1, "firstcluster": 2, "debug": "C"})
    accelerator.Compile(str(MODEL), samples=SAMPLES)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[1:3]] == ["cluster 2", "cluster 3"]
    assert lines[3] == "all of them together work on one image"
    work = [re.search(r"1 images, (\d+) ops", line) for line in lines[1:3]]
    # 397952 in all, half of them on each.
    assert [found and found[1] for found in work] == ["198976", "198976"]


def test_files(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    accelerator = MDLA()
    flags = {"debug": "iJ", "dumpdir": str(folder), "breaklayer": 1, "temporary_save": "1"}
    accelerator.SetFlag({"bitfile": "s256", **flags})
    accelerator.Compile(str(MODEL), samples=SAMPLES)
    result = accelerator.Run(IMAGE)
    assert sorted(path.name for path in folder.iterdir()) == [
        "input0.npy",
        "instr0_0_0.txt",
        "layers.csv",
        "output0.npy",
        "partition.json",
    ]
    assert (folder / "instr0_0_0.txt").read_text().startswith("stream LD0\n")
    partition = json.loads((folder / "partition.json").read_text())
    assert [op["on"] for op in partition].count("device") == DEVICE_LAYERS
    with open(folder / "layers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == DEVICE_LAYERS
    assert 0 < float(rows[0]["efficiency"]) < 1
    np.testing.assert_array_equal(np.load(folder / "input0.npy"), IMAGE)
    np.testing.assert_array_equal(np.load(folder / "output0.npy").reshape(-1), np.asarray(result).reshape(-1))


def test_files_go_to_the_current_folder_by_default(
    integer_network: Network, facts_of: Callable[..., Facts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = facts_of()
    facts.flags.set("debug", "J")
    DebugReport(facts).compiled(integer_network.artifact)
    assert (tmp_path / "partition.json").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    accelerator = FWDNXT()
    accelerator.SetFlag({"debug": "J", "dumpdir": str(tmp_path / "file" / "folder")})
    with pytest.raises(AcceleratorError, match=r"cannot make the folder|Not a directory"):
        accelerator.Compile("8x8x1", str(MODEL), str(tmp_path / "save.bin"))


def test_breaklayer_prints_the_layers(loaded: Load, capsys: pytest.CaptureFixture[str]) -> None:
    loaded("", breaklayer=2)
    assert len(capsys.readouterr().out.splitlines()) == 2 + DEVICE_LAYERS


def test_initmeasure(loaded: Load, capsys: pytest.CaptureFixture[str]) -> None:
    loaded("", options="i")
    assert re.fullmatch(r"init: [\d.]+ ms, measured on this host\n", capsys.readouterr().out)


def test_comparison_with_software_and_floating_point(loaded: Load, capsys: pytest.CaptureFixture[str]) -> None:
    accelerator = loaded("R", options="s")
    accelerator.Run(IMAGE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "probabilities: Run and Run_sw are equal in all 10 elements"
    software, reference = accelerator.Run_sw(IMAGE), accelerator.Run_th(IMAGE)
    assert isinstance(software, np.ndarray)
    assert isinstance(reference, np.ndarray)
    largest = np.abs(reference).max()
    error = np.abs(software.astype(np.float64) - reference) / largest * 100
    assert lines[1] == (
        f"probabilities: Run_sw against Run_th: mean error {error.mean():.3f} %, largest {error.max():.3f} % "
        f"of max|ref| = {largest:.6g}"
    )
    assert len(lines) == 12
    assert lines[2].startswith("probabilities image 0 [0]: ")
    accelerator.SetFlag("debug", "r")
    accelerator.Run(IMAGE)
    assert capsys.readouterr().out.splitlines()[-1] == "no result differs"


def test_runsw_computes_with_the_engine_it_names(loaded: Load, capsys: pytest.CaptureFixture[str]) -> None:
    accelerator = loaded("")
    expected = {0: accelerator.Run_sw(IMAGE), 1: accelerator.Run_sw(IMAGE), 2: accelerator.Run_th(IMAGE)}
    for value, result in expected.items():
        accelerator.SetFlag("runsw", value)
        np.testing.assert_array_equal(accelerator.Run(IMAGE), result)
    assert capsys.readouterr().out.splitlines()[0].startswith("probabilities: Run_sw against Run_th: mean error ")


def test_differences_are_counted_and_told() -> None:
    spec = TensorSpec("y", "f32", (2,))
    run, software, floating = ([[np.array(values, np.float32)]] for values in ([1, 3], [1, 2], [0, 4]))
    assert comparison([spec], run, software, floating).splitlines() == [
        "y: Run and Run_sw differ in 1 of 2 elements",
        "y: Run_sw against Run_th: mean error 37.500 %, largest 50.000 % of max|ref| = 4",
    ]
    assert results_text([spec], run, software, only_wrong=True) == "y image 0 [1]: 3 2"
    assert error_text(np.zeros(2), np.zeros(2)) == "mean error 0.000 %, largest 0.000 % of max|ref| = 0"


def test_inputs_that_do_not_fit_are_told_once(loaded: Load) -> None:
    accelerator = loaded("w")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SaturationWarning)
        accelerator.Run(IMAGE)
    with pytest.warns(SaturationWarning) as caught:
        accelerator.Run(IMAGE + 5)
        accelerator.Run(IMAGE + 5)
        accelerator.PutInput(IMAGE + 5, None)
        accelerator.GetResult()
    told = [str(each.message) for each in caught if each.category is SaturationWarning]
    assert len(told) == 1
    assert re.fullmatch(
        r"64 of 64 numbers of input 'image' are outside the range of its number format, -?[\d.e-]+ to [\d.]+, and are "
        r"cut off",
        told[0],
    )


def test_the_warning_can_be_silenced(loaded: Load) -> None:
    accelerator = loaded("")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SaturationWarning)
        accelerator.Run(IMAGE + 5)


def test_the_warning_can_be_asked_for_later(loaded: Load) -> None:
    accelerator = loaded("")
    accelerator.SetFlag("debug", "w")
    with pytest.warns(SaturationWarning):
        accelerator.Run(IMAGE + 5)


def test_names_of_strangers_do_not_reach_the_terminal_as_they_are(integer_network: Network) -> None:
    layer = layers_of(integer_network)[1]
    hostile = replace(layer, name="a\n\x1b[2J", op="b\x07", operands=("c\n",))
    details = {**integer_network.artifact.manifest.details, "layers": [asdict(hostile)]}
    network = Network(integer_network.artifact)
    told = replace(integer_network.artifact.manifest, details=details)
    with mock.patch.object(Artifact, "manifest", told):
        for tell in (layer_lines, layer_list, strategy, formats):
            text = tell(network)
            assert "\x1b" not in text
            assert "\x07" not in text
            assert "a\n" not in text
