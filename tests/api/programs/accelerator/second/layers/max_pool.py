"""Max pooling alone: a network without a weight."""

import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(3)
planes, height, width = 24, 12, 16
node = helper.make_node("MaxPool", ["input"], ["output"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0)
shapes = [1, planes, height, width], [1, planes, height // 2, width // 2]
export([node], [("input", shapes[0])], [("output", shapes[1])], {}, 19)

image = rng.standard_normal((1, planes, height, width)).astype(np.float32)
ie = FWDNXT()
count = ie.Compile(f"{width}x{height}x{planes}", "net.onnx", "save.bin")
ie.Init("save.bin", "")
result = np.ndarray((1, 1, count), dtype=np.float32)
ie.Run(image, result)
ie.Free()
judge({"input": image}, result)
