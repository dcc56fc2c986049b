"""Flags that change what is compiled: the program or its precision, and never what a network means."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from tilewright.runtime.api.accelerator import FWDNXT
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.report.details import details_of
from tilewright.runtime.report.simulation import device_programs

IMAGE = np.random.default_rng(3).standard_normal((128, 14, 14)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution whose weights and maps both take several tiles on S256, and a linear layer; with samples beside."""
    rng = np.random.default_rng(5)
    weights = {
        "w": (rng.standard_normal((128, 128, 3, 3)) / 34).astype(np.float32),
        "matrix": rng.standard_normal((10, 128)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalMaxPool", ["y"], ["largest"], "largest"),
        helper.make_node("Flatten", ["largest"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "matrix"], ["classes"], "classifier", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 128, 14, 14])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path = tmp_path_factory.mktemp("flags") / "network.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
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
        value: [each.disassemble() for each in device_programs(artifact, "test").values()]
        for value, (artifact, _, _) in found.items()
    }
    assert programs[1] == programs[3] != programs[2]
    assert programs[0] in (programs[1], programs[2])
    assert len({result.tobytes() for _, result, _ in found.values()}) == 1
    by_letter, _, _ = compiled(model, tmp_path, options="r")
    assert [each.disassemble() for each in device_programs(by_letter, "test").values()] == programs[2]


def test_hwlinear_keeps_the_linear_layer_in_floating_point(model: Path, tmp_path: Path) -> None:
    on_device, coarse, reference = compiled(model, tmp_path)
    on_host, precise, same = compiled(model, tmp_path, hwlinear="0")
    np.testing.assert_array_equal(reference, same)
    assert "matmul" not in {op.op for op in details_of(on_device).placement}
    assert {op.op: op.on for op in details_of(on_host).placement}["matmul"] == "cpu"
    assert np.abs(precise - reference).mean() < np.abs(coarse - reference).mean()
