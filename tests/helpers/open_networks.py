"""Small networks whose models leave extents open."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Info = tuple[str, list[int | str | None]]


def open_model(
    nodes: list[onnx.NodeProto], inputs: list[Info], outputs: list[str], weights: dict[str, np.ndarray]
) -> bytes:
    """A model of float inputs, whose outputs have any shape."""
    graph = helper.make_graph(
        nodes,
        "open",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, extents) for name, extents in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


def convolutional(channels: int = 8, features: int = 12) -> bytes:
    """Two convolutions and a product: ``x`` f32[batch, 3, 8, 8] to ``y`` f32[batch, features]."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / 8).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"]),
    ]
    arrays = {
        "w0": weights(channels, 3, 3, 3),
        "b0": weights(channels),
        "w1": weights(channels, channels, 3, 3),
        "w2": weights(channels, features),
        "b2": weights(features),
    }
    return open_model(nodes, [("x", ["batch", 3, 8, 8])], ["y"], arrays)


def recurrent(features: int = 6, units: int = 8) -> bytes:
    """An LSTM and attention over its steps: ``x`` f32[sequence, batch, features] to ``y`` f32[batch, sequence, units]
    and the LSTM's last state ``h``."""
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["steps", "h"], hidden_size=units),
        helper.make_node("Squeeze", ["steps", "one"], ["s"]),
        helper.make_node("Transpose", ["s"], ["q"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["s"], ["k"], perm=[1, 2, 0]),
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "q"], ["y"]),
    ]
    arrays = {
        "w": rng.standard_normal((1, 4 * units, features)).astype(np.float32),
        "r": rng.standard_normal((1, 4 * units, units)).astype(np.float32),
        "one": np.array([1], np.int64),
    }
    return open_model(nodes, [("x", ["sequence", "batch", features])], ["y", "h"], arrays)
