"""Max pooling alone: a network without a weight."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(3)
planes, height, width = 24, 12, 16
node = helper.make_node("MaxPool", ["input"], ["output"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0)
shapes = [1, planes, height, width], [1, planes, height // 2, width // 2]
export([node], [("input", shapes[0])], [("output", shapes[1])], {}, 19)

image = rng.standard_normal((1, planes, height, width)).astype(np.float32)
ie = microndla.MDLA()
ie.Compile("net.onnx")
result = ie.Run(image)
ie.Free()
judge({"input": image}, result)
