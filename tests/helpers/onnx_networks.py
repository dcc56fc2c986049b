"""Networks of ONNX with random weights, written node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


class OnnxNetwork:
    """Nodes in their order, whose weights and other numbers are initialisers; results have the names of values."""

    def __init__(self, rng: np.random.Generator, opset: int = 17) -> None:
        self.rng, self.opset = rng, opset
        self.nodes: list[NodeProto] = []
        self.known: list[TensorProto] = []

    def number(self, array: np.ndarray) -> str:
        self.known.append(numpy_helper.from_array(array, f"c{len(self.known)}"))
        return self.known[-1].name

    def some(self, *shape: int, by: float = 0.3, about: float = 0.0) -> str:
        return self.number((self.rng.normal(size=shape) * by + about).astype(np.float32))

    def op(self, kind: str, *operands: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, operands, [f"v{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def model(self, shape: list[int], last: str) -> bytes:
        """From the input ``x`` f32 of a shape to the value ``last``."""
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), (last, None))]
        graph = helper.make_graph(self.nodes, "g", ends[:1], ends[1:], self.known)
        opsets = [helper.make_opsetid(domain, version) for domain, version in (("", self.opset), ("com.microsoft", 1))]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
