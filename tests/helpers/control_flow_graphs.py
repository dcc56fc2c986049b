"""ONNX models as branches and as steps of loops of others."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper


def renamed(info: onnx.ValueInfoProto, suffix: str, *leading: int) -> onnx.ValueInfoProto:
    """A tensor like another one, with further dimensions before its own."""
    tensor = info.type.tensor_type
    shape = [*leading, *(dimension.dim_value for dimension in tensor.shape.dim)]
    return oh.make_tensor_value_info(info.name + suffix, tensor.elem_type, shape)


def as_branches(model: onnx.ModelProto, owns: bool) -> onnx.ModelProto:
    """Its graph in one branch, with squares of its outputs in the other.

    Args:
        owns: whether the branches hold the initialisers, or the graph around them does.
    """
    graph = model.graph
    held = [*graph.initializer] if owns else []
    then = oh.make_graph(graph.node, "then", [], graph.output, held)
    squares = [oh.make_node("Mul", [each.name, each.name], [f"{each.name}_square"]) for each in graph.output]
    results = [renamed(each, "_square") for each in graph.output]
    other = oh.make_graph([*graph.node, *squares], "else", [], results, held)
    results = [renamed(each, "_out") for each in graph.output]
    node = oh.make_node("If", ["is_then"], [each.name for each in results], then_branch=then, else_branch=other)
    inputs = [*graph.input, oh.make_tensor_value_info("is_then", onnx.TensorProto.BOOL, [])]
    outer = oh.make_graph([node], "outer", inputs, results, [] if owns else graph.initializer)
    return oh.make_model(outer, opset_imports=model.opset_import, ir_version=model.ir_version)


def as_steps(model: onnx.ModelProto, owns: bool, steps: int) -> onnx.ModelProto:
    """Its graph in each step of a loop, which stacks all outputs and adds the first one up."""
    graph = model.graph
    first = graph.output[0]
    state = [renamed(first, "_sum"), renamed(first, "_sums")]
    nodes = [
        oh.make_node("Identity", ["going"], ["goes_on"]),
        *graph.node,
        oh.make_node("Add", [state[0].name, first.name], [state[1].name]),
    ]
    counter = oh.make_tensor_value_info("step", onnx.TensorProto.INT64, [])
    going, goes_on = (oh.make_tensor_value_info(name, onnx.TensorProto.BOOL, []) for name in ("going", "goes_on"))
    held = [*graph.initializer] if owns else []
    body = oh.make_graph(nodes, "body", [counter, going, state[0]], [goes_on, state[1], *graph.output], held)
    results = [renamed(first, "_total"), *(renamed(each, "_all", steps) for each in graph.output)]
    start = np.zeros([d.dim_value for d in first.type.tensor_type.shape.dim], np.float32)
    outside = [onnx.numpy_helper.from_array(np.array(steps), "steps"), onnx.numpy_helper.from_array(start, "start")]
    node = oh.make_node("Loop", ["steps", "", "start"], [each.name for each in results], body=body)
    outer = oh.make_graph([node], "outer", graph.input, results, [*outside, *([] if owns else graph.initializer)])
    return oh.make_model(outer, opset_imports=model.opset_import, ir_version=model.ir_version)
