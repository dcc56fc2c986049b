"""A fully connected layer."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(2)
inputs, outputs = 128, 48
weights = {
    "weight": rng.uniform(-0.09, 0.09, (outputs, inputs)).astype(np.float32),
    "bias": rng.uniform(-0.09, 0.09, outputs).astype(np.float32),
    "shape": np.array([1, inputs]),
}
nodes = [
    helper.make_node("Reshape", ["input", "shape"], ["flat"]),
    helper.make_node("Gemm", ["flat", "weight", "bias"], ["output"], transB=1),
]
export(nodes, [("input", [1, 1, 1, inputs])], [("output", [1, outputs])], weights, 20)

vector = rng.standard_normal((1, 1, 1, inputs)).astype(np.float32)
ie = microndla.MDLA()
ie.Compile("net.onnx")
result = ie.Run(vector)
ie.Free()
judge({"input": vector}, result)
