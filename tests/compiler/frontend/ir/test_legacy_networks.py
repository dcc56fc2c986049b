"""Networks in IR of versions 2 to 7: the float engine makes of them what onnxruntime makes of the same in ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from legacy_detectors import mobilenet_ssd_like
from legacy_layers import LegacyNetwork
from legacy_networks import fcn_like, resnet_like
from random_seeds import in_turn

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.exporter import export_document
from tilewright.compiler.frontend.ir.writer import write_document
from tilewright.ir import interp

NETWORKS: dict[str, Callable[[int, str], LegacyNetwork]] = {"prob": resnet_like, "score": fcn_like}


@pytest.mark.parametrize("output", NETWORKS)
@pytest.mark.parametrize("version", [2, 3, 5, 7])
@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_networks_agree_with_onnxruntime(output: str, version: int, precision: str, tmp_path: Path) -> None:
    network = NETWORKS[output](version, precision)
    inputs = network.random_inputs()
    expected = network.expected(inputs, output)[output]
    assert expected.max() > expected.min() + 0.05
    path = network.write(tmp_path)
    found = interp.run(import_model(path), inputs)
    assert list(found) == [output]
    np.testing.assert_allclose(found[output], expected, atol=2e-6)
    if (version, precision) in ((2, "FP32"), (3, "FP16")):
        with tilewright.load(tilewright.compile(path)) as session:
            np.testing.assert_allclose(session.run(inputs)[output], expected, atol=1e-5)


@pytest.mark.parametrize(("version", "precision"), in_turn([2, 3, 5, 7], ["FP32", "FP16"]))
def test_a_detector_agrees_with_plain_loops(version: int, precision: str, tmp_path: Path) -> None:
    network = mobilenet_ssd_like(version, precision)
    inputs = network.random_inputs()
    expected = network.expected(inputs, "detection_out")["detection_out"]
    rows = expected[0, 0]
    assert -1 in rows[:, 0]
    assert set(rows[rows[:, 2] > 0, 1]) == {1, 2}
    path = network.write(tmp_path)
    found = interp.run(import_model(path), inputs)
    assert list(found) == ["detection_out"]
    np.testing.assert_allclose(found["detection_out"], expected, atol=2e-6)
    if (version, precision) in ((2, "FP32"), (3, "FP16")):
        with tilewright.load(tilewright.compile(path)) as session:
            np.testing.assert_allclose(session.run(inputs)["detection_out"], expected, atol=1e-5)


@pytest.mark.parametrize("make", [resnet_like, fcn_like, mobilenet_ssd_like])
def test_openvino_agrees_on_the_same_in_version_11(make: Callable[[int, str], LegacyNetwork], tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    network = make(4, "FP16")
    inputs = network.random_inputs()
    module = import_model(network.write(tmp_path))
    write_document(export_document(module), tmp_path / "later.xml")
    found = openvino.Core().compile_model(tmp_path / "later.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)
    (expected,) = interp.run(module, inputs).values()
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
