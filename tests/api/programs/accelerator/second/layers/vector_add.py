"""The sum of two vectors, each an input of its own."""

import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(5)
planes = 128
shape = [1, planes, 1, 1]
node = helper.make_node("Add", ["left", "right"], ["output"])
export([node], [("left", shape), ("right", shape)], [("output", shape)], {}, 20)

left, right = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
ie = FWDNXT()
count = ie.Compile(f"1x1x{planes};1x1x{planes}", "net.onnx", "save.bin")
ie.Init("save.bin", "")
result = np.ndarray((1, 1, count), dtype=np.float32)
ie.Run((left, right), result)
ie.Free()
judge({"left": left, "right": right}, result)
