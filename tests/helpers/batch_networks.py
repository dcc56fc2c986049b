"""A small network of any number of images, as ONNX."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def network(images: int) -> bytes:
    """Two convolutions and a product, of so many images of 3x9x8."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) / 4).astype(np.float32), name)
        for name, shape in (("v", (20, 3, 3, 3)), ("w", (40, 20, 3, 3)), ("m", (40, 7)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [images, 3, 9, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [images, 7])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model.SerializeToString()
