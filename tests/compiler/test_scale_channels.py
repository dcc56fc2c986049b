"""How far channels are to reach that get scales of their own."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.methods import Choices
from tilewright.compiler.quantization.quantize import quantize_module

F32 = onnx.TensorProto.FLOAT


def reaches(peaks: np.ndarray) -> np.ndarray:
    """How far each channel reaches that only a depthwise convolution reads, of the largest numbers of samples."""
    channels = peaks.shape[1]
    arrays = {"w": np.eye(channels).reshape(channels, channels, 1, 1), "d": np.ones((channels, 1, 1, 1))}
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["c"]),
            onnx.helper.make_node("Relu", ["c"], ["r"]),
            onnx.helper.make_node("Conv", ["r", "d"], ["y"], group=channels),
        ],
        "depthwise",
        [onnx.helper.make_tensor_value_info("x", F32, [1, channels, 2, 1])],
        [onnx.helper.make_tensor_value_info("y", F32, [1, channels, 2, 1])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    samples = np.stack([peaks, peaks / 2], 2)[..., None].astype(np.float32)
    choices = Choices()
    options = CompileOptions(calibration=samples, methods="channels")
    quantize_module(import_model(model.SerializeToString()), options, None, choices)
    (scales,) = choices.scales.values()
    return scales.factors * scales.range[1]


def test_channels_have_room_for_what_more_samples_show() -> None:
    rng = np.random.default_rng(0)
    centres, spreads = np.asarray([10.0, 10.0, 1.0]), np.asarray([0.3, 2.0, 1.0])
    found = reaches(np.maximum(rng.gumbel(centres, spreads, (75, 3)), 0))
    shown = np.mean([rng.gumbel(centres, spreads, (750, 3)).max(0) for _ in range(20)], 0)
    np.testing.assert_allclose(found[1:], shown[1:], rtol=0.25)
    # At least a quarter more than what was shown.
    assert 1.1 * shown[0] < found[0] < 1.3 * shown[0]


def test_what_few_samples_show_has_more_room() -> None:
    peaks = np.full((25, 2), 1.0)
    peaks[1:, 1] = 0.1
    always, once = reaches(peaks)
    np.testing.assert_allclose(always, 1.25, rtol=1e-5)
    np.testing.assert_allclose(once, 1 + np.log(10) * np.sqrt(6) / np.pi * peaks[:, 1].std(), rtol=1e-5)
