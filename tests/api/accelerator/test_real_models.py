"""Real networks through both generations: without calibration as onnxruntime, in integers as sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import tilewright
from tilewright.runtime.api.accelerator import FWDNXT, MDLA

pytestmark = pytest.mark.filterwarnings("ignore::tilewright.errors.TilewrightWarning")

FLOATING = ["ad01_float", "kws_float", "mnist_cntk", "resnet8_float", "mobilenet_v1_0.25_128_f32", "yunet_n_320_320"]
QUANTIZED = ["kws_int8_qdq", "ad01_int8_qdq", pytest.param("resnet8_int8_qdq", marks=pytest.mark.sweep)]


def inputs_of(session: onnxruntime.InferenceSession, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random inputs; what is open is 1."""
    found: dict[str, np.ndarray] = {}
    for each in session.get_inputs():
        shape = [extent if isinstance(extent, int) else 1 for extent in each.shape]
        if each.type == "tensor(float)":
            found[each.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            found[each.name] = rng.integers(0, 2, shape).astype(each.type[7:-1])
    return found


def size_of(array: np.ndarray) -> str:
    """``WxHxP`` of an input, 1 for what it does not have."""
    return "x".join(map(str, (*[1] * (4 - array.ndim), *array.shape[:0:-1])))


def runs_of(model: Path, inputs: Sequence[np.ndarray], folder: Path) -> list[list[np.ndarray]]:
    """What Run of the third generation and Run, Run_sw and Run_th of the second give, as flat arrays."""
    third, second = MDLA(), FWDNXT()
    names = third.Compile(str(model))
    returned = third.Run([each.astype(np.float32) for each in inputs])
    found = [[each.reshape(-1) for each in (returned if isinstance(returned, list) else [np.asarray(returned)])]]
    counts = second.Compile(";".join(map(size_of, inputs)), str(model), str(folder / "save.bin"))
    assert second.Init(str(folder / "save.bin"), "") == counts
    assert second.GetInfo("outnames") == third.GetInfo("outnames")
    assert isinstance(names, list)
    for run in (second.Run, second.Run_sw, second.Run_th):
        results = tuple(np.zeros(n, np.float32) for n in (counts if isinstance(counts, tuple) else (counts,)))
        run(tuple(each.astype(np.float32) for each in inputs), results)
        found.append(list(results))
    third.Free()
    second.Free()
    return found


@pytest.mark.parametrize("name", [*FLOATING, "magika_v3_3", "minilm_l6_wint8"])
def test_without_calibration_it_is_onnxruntime(
    name: str, data_folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    model = data_folder / "models" / f"{name}.onnx"
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = inputs_of(session, rng)
    expected = [np.asarray(each, np.float32).reshape(-1) for each in session.run(None, inputs)]
    third, run, run_sw, run_th = runs_of(model, list(inputs.values()), tmp_path)
    for outputs in (third, run, run_sw, run_th):
        for found, each in zip(outputs, expected, strict=True):
            assert np.abs(found - each).max() <= 0.03 * np.abs(each).max()
            assert found.argmax() == each.argmax()
    assert [each.tobytes() for each in run] == [each.tobytes() for each in run_sw] == [each.tobytes() for each in third]


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_quantised_network_is_computed_in_its_integers(
    name: str, data_folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    model = data_folder / "models" / f"{name}.onnx"
    artifact = tilewright.compile(model, engines="device,software,float")
    spec = artifact.manifest.inputs[0]
    image = rng.standard_normal(spec.shape).astype(np.float32)
    third, run, run_sw, run_th = runs_of(model, [image], tmp_path)
    found = {}
    for engine in ("device", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            (found[engine],) = session.run({spec.name: image}).values()
    assert third[0].tobytes() == run[0].tobytes() == run_sw[0].tobytes() == found["device"].tobytes()
    assert run_th[0].tobytes() == found["float"].tobytes()


def test_another_size_of_a_real_network(data_folder: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    model = data_folder / "models" / "resnet20_cifar10.onnx"
    ie = FWDNXT()
    assert ie.Compile("48x40x3", str(model), str(tmp_path / "save.bin")) == 10
    ie.Init(str(tmp_path / "save.bin"), "")
    result = np.zeros(10, np.float32)
    ie.Run(rng.standard_normal((3, 40, 48)).astype(np.float32), result)
    assert np.isfinite(result).all()
    assert ie.GetInfo("inshapes") == "1x3x40x48"
