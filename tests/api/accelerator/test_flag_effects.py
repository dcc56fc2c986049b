"""Flags that change what is compiled: the program or its precision, and never what a network means."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from network_files import tiled_model, write_model

from tilewright.runtime.api.accelerator import FWDNXT
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.report.details import details_of
from tilewright.runtime.report.simulation import device_programs

IMAGE = np.random.default_rng(3).standard_normal((128, 14, 14)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several tiles on S256 in each layer; with samples beside."""
    path = write_model(tmp_path_factory.mktemp("flags") / "network.onnx", tiled_model("GlobalMaxPool", divisor=34))
    rng = np.random.default_rng(7)
    np.save(path.with_name("samples.npy"), rng.standard_normal((2, 128, 14, 14)).astype(np.float32))
    return path


def compiled(model: Path, folder: Path, **flags: object) -> tuple[Artifact, np.ndarray, np.ndarray]:
    """The artifact, the results of ``Run`` and those in floating point."""
    accelerator, path = FWDNXT(), str(folder / "save.bin")
    accelerator.SetFlag({"bitfile": "s256", **flags})
    result, reference = np.empty((2, 10), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert accelerator.Compile("14x14x128", str(model), path) == 10
        accelerator.Init(path, "")
        accelerator.Run(IMAGE, result)
    accelerator.Run_th(IMAGE, reference)
    return Artifact.open(path), result, reference


@pytest.fixture(autouse=True)
def samples(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_CALIBRATION", str(model.with_name("samples.npy")))


def test_convalgo_changes_the_program_and_no_result(model: Path, tmp_path: Path) -> None:
    found = {value: compiled(model, tmp_path, convalgo=value) for value in range(4)}
    programs = {
        value: [each.disassemble() for (each,) in device_programs(artifact, "test").values()]
        for value, (artifact, _, _) in found.items()
    }
    assert programs[1] == programs[3] != programs[2]
    assert programs[0] in (programs[1], programs[2])
    assert len({result.tobytes() for _, result, _ in found.values()}) == 1
    by_letter, _, _ = compiled(model, tmp_path, options="r")
    assert [each.disassemble() for (each,) in device_programs(by_letter, "test").values()] == programs[2]


def test_hwlinear_keeps_the_linear_layer_in_floating_point(model: Path, tmp_path: Path) -> None:
    on_device, coarse, reference = compiled(model, tmp_path)
    on_host, precise, same = compiled(model, tmp_path, hwlinear="0")
    np.testing.assert_array_equal(reference, same)
    assert "matmul" not in {op.op for op in details_of(on_device).placement}
    assert {op.op: op.on for op in details_of(on_host).placement}["matmul"] == "cpu"
    assert np.abs(precise - reference).mean() < np.abs(coarse - reference).mean()
