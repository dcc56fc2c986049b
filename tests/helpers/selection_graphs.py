"""ONNX models whose outputs the data shorten, with operators behind that read what was selected."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper

Step = Callable[["Selections", str], str]


class Selections:
    """Nodes behind a graph; each step takes a vector of floats and gives one.

    Attributes:
        counts: the elements of each output that may be selected, by the name of the input that selects.
    """

    def __init__(self, graph: onnx.GraphProto, rng: np.random.Generator) -> None:
        self.graph, self.rng = graph, rng
        self.counts: dict[str, int] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"selection_{len(self.nodes)}"
        self.nodes.append(oh.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, *values: float, dtype: type[np.generic] = np.int64) -> str:
        name = f"selection_constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def select(self, output: onnx.ValueInfoProto) -> str:
        """The elements of an output that a further input says, f32[at most its elements]; by a mask or by positions."""
        shape = [dimension.dim_value for dimension in output.type.tensor_type.shape.dim]
        name = f"{output.name}_selected"
        self.counts[name] = math.prod(shape)
        single = self.node("Cast", output.name, to=onnx.TensorProto.FLOAT)
        flat = self.node("Reshape", single, self.constant(-1))
        if self.rng.integers(2):
            return self.node("Compress", flat, name, axis=0)
        return self.node("GatherND", flat, self.node("Transpose", self.node("NonZero", name)))


def _signs(s: Selections, x: str) -> str:
    zero = s.constant(0, dtype=np.float32)
    return s.node("Where", s.node("Greater", x, zero), x, s.node("Neg", x))


def _joined(s: Selections, x: str) -> str:
    return s.node("Concat", x, s.constant(1, -2, 3, dtype=np.float32), s.node("Neg", x), axis=0)


def _share(s: Selections, x: str) -> str:
    """Each less the mean of all; of no elements there is none."""
    return s.node("Sub", x, s.node("ReduceSum", s.node("Tanh", x), s.constant(0), keepdims=1))


def _rows(s: Selections, x: str) -> str:
    """A product for each of them."""
    column = s.node("Unsqueeze", x, s.constant(1))
    weights = s.constant(*np.linspace(-1, 1, 5), dtype=np.float32)
    row = s.node("Reshape", weights, s.constant(1, 5))
    product = s.node("MatMul", s.node("Tanh", column), row)
    return s.node("ReduceMax", product, s.constant(1), keepdims=0)


def _largest(s: Selections, x: str) -> str:
    count = s.node("Min", s.node("Shape", x), s.constant(4))
    first, position = f"selection_{len(s.nodes)}", f"selection_{len(s.nodes)}_at"
    s.nodes.append(oh.make_node("TopK", [x, count], [first, position]))
    return first


def _summed(s: Selections, x: str) -> str:
    return s.node("CumSum", s.node("Sigmoid", x), s.constant(0))


def _first_half(s: Selections, x: str) -> str:
    end = s.node("Div", s.node("Add", s.node("Shape", x), s.constant(1)), s.constant(2))
    return s.node("Slice", x, s.constant(0), end, s.constant(0))


def _backwards(s: Selections, x: str) -> str:
    length = s.node("Squeeze", s.node("Shape", x), s.constant(0))
    range_ = s.node("Range", *(_scalar(s, 0), length, _scalar(s, 1)))
    return s.node("Gather", x, s.node("Sub", s.node("Sub", length, _scalar(s, 1)), range_))


def _scalar(s: Selections, value: int) -> str:
    return s.node("Squeeze", s.constant(value), s.constant(0))


STEPS: tuple[Step, ...] = (_signs, _joined, _share, _rows, _largest, _summed, _first_half, _backwards)


def as_selections(model: onnx.ModelProto, rng: np.random.Generator) -> tuple[onnx.ModelProto, dict[str, int]]:
    """A model with what further inputs, bool[n], select of each output, and up to three operators behind.

    Returns:
        The model, and n by the name of the input.
    """
    graph = model.graph
    s = Selections(graph, rng)
    results: list[onnx.ValueInfoProto] = []
    for output in graph.output:
        x = s.select(output)
        for step in rng.choice(len(STEPS), rng.integers(4)):
            x = STEPS[step](s, x)
        name = f"{output.name}_rest"
        s.nodes.append(oh.make_node("Identity", [x], [name]))
        results.append(oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]))
    inputs = [oh.make_tensor_value_info(name, onnx.TensorProto.BOOL, [count]) for name, count in s.counts.items()]
    nodes, constants = [*graph.node, *s.nodes], [*graph.initializer, *s.constants]
    outer = oh.make_graph(nodes, "selections", [*graph.input, *inputs], results, constants)
    return oh.make_model(outer, opset_imports=model.opset_import, ir_version=model.ir_version), s.counts
