"""Two LSTM layers in a row. The states that they begin with are inputs of the network."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from onnx import helper
from single_layer import export, judge

rng = np.random.default_rng(7)
steps, features, hidden = 3, 20, 16
weights, nodes, inputs = {}, [], [("input", [steps, 1, features])]
before, width = "input", features
for layer in range(2):
    for name, shape in (
        ("W", (1, 4 * hidden, width)),
        ("R", (1, 4 * hidden, hidden)),
        ("B", (1, 8 * hidden)),
    ):
        weights[f"{name}{layer}"] = rng.uniform(-0.25, 0.25, shape).astype(np.float32)
    inputs += [(f"h{layer}", [1, 1, hidden]), (f"c{layer}", [1, 1, hidden])]
    operands = [before, f"W{layer}", f"R{layer}", f"B{layer}", "", f"h{layer}", f"c{layer}"]
    nodes.append(helper.make_node("LSTM", operands, [f"y{layer}"], hidden_size=hidden))
    weights[f"axis{layer}"] = np.array([1])
    after = "output" if layer else "between"
    nodes.append(helper.make_node("Squeeze", [f"y{layer}", f"axis{layer}"], [after]))
    before, width = after, hidden
export(nodes, inputs, [("output", [steps, 1, hidden])], weights, 20)

arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in inputs}
ie = microndla.MDLA()
ie.Compile("net.onnx")
result = ie.Run(list(arrays.values()))
assert result.shape == (steps, 1, hidden), result.shape
ie.Free()
judge(arrays, result)
