"""Networks of a layer as today's exporters write them, and the error of what the accelerator makes of them."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def export(nodes, inputs, output, weights, opset):
    """Writes net.onnx, with the weights in net.onnx.data; ``inputs`` and ``output`` are pairs of name and shape."""
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in output],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    Path("net.onnx.data").unlink(missing_ok=True)
    onnx.save_model(model, "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=100)


def expected(inputs):
    """What onnxruntime makes of net.onnx: the first output."""
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def judge(inputs, result):
    """Prints the error in percent of the largest value, and ends the program where it is too large."""
    reference = expected(inputs)
    difference = np.abs(result.ravel() - reference.ravel()) / np.abs(reference).max() * 100
    print(f"mean error {difference.mean():.3f} % maximum error {difference.max():.3f} %")
    np.savez("layer.npz", result=result, **{f"input {name}": array for name, array in inputs.items()})
    if not (difference.mean() <= 2 and difference.max() <= 10):
        sys.exit("the error is too large")
