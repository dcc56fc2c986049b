"""A convolution of 3 x 3."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(1)
planes, filters, height, width = 16, 32, 10, 14
weights = {
    "weight": rng.uniform(-0.08, 0.08, (filters, planes, 3, 3)).astype(np.float32),
    "bias": rng.uniform(-0.08, 0.08, filters).astype(np.float32),
}
node = helper.make_node("Conv", ["input", "weight", "bias"], ["output"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
shapes = [1, planes, height, width], [1, filters, height, width]
export([node], [("input", shapes[0])], [("output", shapes[1])], weights, 18)

image = rng.standard_normal((1, planes, height, width)).astype(np.float32)
ie = microndla.MDLA()
ie.Compile("net.onnx")
result = ie.Run(np.ascontiguousarray(image))
ie.Free()
judge({"input": image}, result)
