"""A fully connected layer. Its input is [1, 1, 1, 128], which the size string gives as a vector of 128 planes."""

import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
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
ie = FWDNXT()
count = ie.Compile(f"1x1x{inputs}", "net.onnx", "save.bin")
ie.Init("save.bin", "")
result = np.ndarray((1, 1, count), dtype=np.float32)
ie.Run(vector, result)
ie.Free()
judge({"input": vector}, result)
