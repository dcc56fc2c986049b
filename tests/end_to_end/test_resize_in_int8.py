"""Networks with interpolation are quantised around it, which stays in floating point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from network_files import graph_model
from onnx import TensorProto, helper

import tilewright
from tilewright.runtime.report.details import details_of


def resizing_model(rng: np.random.Generator, mode: str) -> bytes:
    """A convolution, a map of twice the size, and another one."""
    weights = {name: rng.standard_normal((16, 16, 1, 1)).astype(np.float32) / 4 for name in ("w1", "w2")}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["before"]),
        helper.make_node("Resize", ["before", "", "scales"], ["resized"], mode=mode),
        helper.make_node("Conv", ["resized", "w2"], ["after"]),
    ]
    constants = {**weights, "scales": np.array([1, 1, 2, 2], np.float32)}
    return graph_model(nodes, [("x", TensorProto.FLOAT, [1, 16, 6, 6])], ["after"], constants).SerializeToString()


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_linear_interpolation_is_on_the_device_and_cubic_stays_in_floating_point_with_a_reason(mode: str) -> None:
    rng = np.random.default_rng(5)
    model = resizing_model(rng, mode)
    samples = rng.standard_normal((4, 16, 6, 6)).astype(np.float32)
    artifact = tilewright.compile(model, engines="device,software,float", calibration=samples)
    records = {record.name: record for record in details_of(artifact).placement}
    assert (records["before"].on, records["after"].on) == ("device", "device")
    assert records["resized"].on == ("device" if mode == "linear" else "cpu")
    assert mode == "linear" or records["resized"].why == (
        "resize %before: Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor; "
        "found f32: resize has no integer form"
    )
    results = {}
    for engine in ("device", "software", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            results[engine] = session.run({"x": samples[:1]})["after"]
    assert results["device"].tobytes() == results["software"].tobytes()
    np.testing.assert_allclose(results["device"], results["float"], rtol=0, atol=0.05 * np.abs(results["float"]).max())


@pytest.mark.parametrize("form", ["qdq", "qlinear"])
def test_an_exported_network_interpolates_the_same_integers(form: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    model, samples = resizing_model(rng, "linear"), rng.standard_normal((4, 16, 6, 6)).astype(np.float32)
    tilewright.export(model, tmp_path / "q.onnx", quantized=form, calibration=samples)
    found = []
    for artifact in (
        tilewright.compile(model, engines="device,software,float", calibration=samples),
        tilewright.compile(tmp_path / "q.onnx"),
    ):
        with tilewright.load(artifact, engine="software") as session:
            found.append(session.run({"x": samples[:1]})["after"])
    np.testing.assert_array_equal(*found)
