"""A transposed convolution that doubles height and width."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(4)
planes, filters, height, width = 16, 8, 6, 7
weights = {
    "weight": rng.uniform(-0.1, 0.1, (planes, filters, 3, 3)).astype(np.float32),
    "bias": rng.uniform(-0.1, 0.1, filters).astype(np.float32),
}
node = helper.make_node(
    "ConvTranspose",
    ["input", "weight", "bias"],
    ["output"],
    kernel_shape=[3, 3],
    strides=[2, 2],
    pads=[1, 1, 1, 1],
    output_padding=[1, 1],
)
shapes = [1, planes, height, width], [1, filters, 2 * height, 2 * width]
export([node], [("input", shapes[0])], [("output", shapes[1])], weights, 20)

image = rng.standard_normal((1, planes, height, width)).astype(np.float32)
ie = microndla.MDLA()
ie.Compile("net.onnx")
result = ie.Run(image)
ie.Free()
judge({"input": image}, result)
