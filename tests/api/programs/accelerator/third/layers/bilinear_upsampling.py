"""Bilinear upsampling: height by 2, width by 3."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(6)
planes, height, width = 16, 5, 7
node = helper.make_node(
    "Resize",
    ["input", "", "scales"],
    ["output"],
    mode="linear",
    coordinate_transformation_mode="pytorch_half_pixel",
    cubic_coeff_a=-0.75,
)
scales = {"scales": np.array([1, 1, 2, 3], dtype=np.float32)}
shapes = [1, planes, height, width], [1, planes, 2 * height, 3 * width]
export([node], [("input", shapes[0])], [("output", shapes[1])], scales, 18)

image = rng.standard_normal((1, planes, height, width)).astype(np.float32)
ie = microndla.MDLA()
ie.Compile("net.onnx")
result = ie.Run(image)
assert result.shape == (1, planes, 2 * height, 3 * width), result.shape
ie.Free()
judge({"input": image}, result)
