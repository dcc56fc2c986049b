"""Detection layers in ONNX under OpenVINO's domain: openvino, where installed, computes the same of the same model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from operators.detection_output import predictions

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import ModelError
from tilewright.ir import interp
from tilewright.ir.ops.detection.detection_output import DetectionOutput

DOMAIN = "org.openvinotoolkit"
FLOAT = onnx.TensorProto.FLOAT


def model_of(op_type: str, arrays: dict[str, np.ndarray], **attributes: Any) -> onnx.ModelProto:
    """A model of one node; arrays whose names begin with a capital are constants."""
    node = onnx.helper.make_node(op_type, list(arrays), ["y"], name="node", domain=DOMAIN, **attributes)
    inputs = [onnx.helper.make_tensor_value_info(n, FLOAT, a.shape) for n, a in arrays.items() if n.islower()]
    constants = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items() if not n.islower()]
    graph = onnx.helper.make_graph([node], "net", inputs, [onnx.helper.make_empty_tensor_value_info("y")], constants)
    opsets = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    return model


def check(op_type: str, arrays: dict[str, np.ndarray], **attributes: Any) -> np.ndarray:
    """What we compute, which openvino must compute as well where it is installed."""
    model = model_of(op_type, arrays, **attributes)
    inputs = {name: array for name, array in arrays.items() if name.islower()}
    found = interp.run(import_onnx(model), inputs)["y"]
    try:
        import openvino  # pyright: ignore[reportMissingImports]
    except ImportError:
        return found
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    network = core.read_model(model.SerializeToString())
    network.outputs[0].get_node().set_friendly_name("result")
    expected = core.compile_model(network, "CPU", settings)(list(inputs.values()))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    return found


def test_priors() -> None:
    arrays = {"x": np.zeros((1, 4, 3, 2), np.float32), "image": np.zeros((1, 3, 48, 64), np.float32)}
    common = {"clip": 0, "offset": 0.5, "variance": [0.1, 0.1, 0.2, 0.2]}
    y = check("PriorBox", arrays, min_size=[12.0], max_size=[20.0], aspect_ratio=[2.0], flip=1, step=16.0, **common)
    assert y.shape == (1, 2, 3 * 2 * 4 * 4)
    np.testing.assert_allclose(y[0, 0, :4], [2 / 64, 2 / 48, 14 / 64, 14 / 48], rtol=1e-6)
    y = check("PriorBoxClustered", arrays, width=[9.0, 30.0], height=[12.0, 7.0], step_w=16.0, step_h=8.0, **common)
    np.testing.assert_allclose(y[0, 0, :4], [3.5 / 64, -2 / 48, 12.5 / 64, 10 / 48], rtol=1e-6)


def test_detection_output(rng: np.random.Generator) -> None:
    operator = DetectionOutput(0.45, code_type="center_size")
    location, confidence, priors = predictions(rng, operator, 2, 15, 3)
    attributes = {"nms_threshold": 0.45, "confidence_threshold": 0.3, "top_k": 10, "keep_top_k": 6}
    arrays = {"location": location, "confidence": confidence, "priors": priors}
    for code in ("CENTER_SIZE", "caffe.PriorBoxParameter.CORNER"):
        y = check("DetectionOutput", arrays, code_type=code, **attributes)
        assert y.shape == (1, 1, 12, 7)
        assert y[0, 0, 0, 1] == 1


def test_normalize(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((2, 3, 4, 5)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    y = check("Normalize", {"x": x, "W": w}, eps=1e-3, across_spatial=0, channel_shared=0)
    norm = np.sqrt((x * x).sum(1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(y, x / norm * w.reshape(-1, 1, 1), rtol=1e-5, atol=1e-6)
    check("Normalize", {"x": x, "W": w[:1]}, eps=1e-3, across_spatial=1, channel_shared=1)


def test_damaged_nodes_are_refused() -> None:
    x = np.zeros((1, 4, 3, 2), np.float32)
    with pytest.raises(ModelError, match="node 'node': attribute 'nms_threshold' is missing"):
        import_onnx(model_of("DetectionOutput", {"x": x[0, 0], "y_": x[0, 0], "z": x[0]}))
    with pytest.raises(ModelError, match="feature map and image need four dimensions"):
        import_onnx(model_of("PriorBox", {"x": x[0], "image": x}, min_size=[1.0]))
