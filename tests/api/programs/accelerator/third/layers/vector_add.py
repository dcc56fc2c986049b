"""The sum of two vectors, each an input of its own."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(5)
planes = 128
shape = [1, planes, 1, 1]
node = helper.make_node("Add", ["left", "right"], ["output"])
export([node], [("left", shape), ("right", shape)], [("output", shape)], {}, 20)

left, right = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
ie = microndla.MDLA()
ie.Compile("net.onnx")
result = ie.Run((left, right))
ie.Free()
judge({"left": left, "right": right}, result)
