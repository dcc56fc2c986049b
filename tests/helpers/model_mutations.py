"""Nonsensical models: small networks, and one thing changed in them at random."""

from __future__ import annotations

from collections.abc import Callable, Sized

import numpy as np
import onnx
from network_files import digits_model, graph_model, partly_quantized_model
from onnx import TensorProto, helper

KINDS = (
    onnx.AttributeProto.FLOAT,
    onnx.AttributeProto.INT,
    onnx.AttributeProto.STRING,
    onnx.AttributeProto.TENSOR,
    onnx.AttributeProto.GRAPH,
    onnx.AttributeProto.INTS,
    onnx.AttributeProto.SPARSE_TENSOR,
)

NUMBERS = (-(2**31), -7, -1, 0, 1, 2, 3, 5, 64, 2**20, 2**40)


def windows_model() -> onnx.ModelProto:
    """Convolution, pooling, normalisation, resizing, padding."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], group=1
        ),
        helper.make_node("BatchNormalization", ["c", "b", "b", "b", "v"], ["n"], epsilon=1e-5),
        helper.make_node("LeakyRelu", ["n"], ["l"], alpha=0.1),
        helper.make_node("MaxPool", ["l"], ["m"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        helper.make_node("AveragePool", ["m"], ["a"], kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1),
        helper.make_node("Pad", ["a", "pads"], ["p"], mode="reflect"),
        helper.make_node(
            "Resize", ["p", "", "scales"], ["r"], mode="linear", coordinate_transformation_mode="half_pixel"
        ),
        helper.make_node("ConvTranspose", ["r", "w2"], ["t"], strides=[2, 2], output_padding=[1, 1]),
        helper.make_node("LRN", ["t"], ["o"], size=3),
        helper.make_node("DepthToSpace", ["o"], ["y"], blocksize=2, mode="CRD"),
    ]
    arrays = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "v": np.ones(4, np.float32),
        "w2": rng.standard_normal((4, 8, 2, 2)).astype(np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    return graph_model(nodes, [("x", TensorProto.FLOAT, [1, 3, 8, 8])], initializers=arrays)


def shapes_model() -> onnx.ModelProto:
    """Shape arithmetic, movement of elements, indexing, reductions."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["s0"], axis=0),
        helper.make_node("Concat", ["s0", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[1, 0]),
        helper.make_node("Split", ["t"], ["u", "v"], axis=0, num_outputs=2),
        helper.make_node("Slice", ["u", "zero", "minus", "zero", "one"], ["w"]),
        helper.make_node("Unsqueeze", ["w", "zero"], ["q"]),
        helper.make_node("Expand", ["q", "big"], ["e"]),
        helper.make_node("Tile", ["v", "repeats"], ["ti"]),
        helper.make_node("ReduceMean", ["e"], ["r"], axes=[0], keepdims=0),
        helper.make_node("Softmax", ["r"], ["so"], axis=-1),
        helper.make_node("TopK", ["so", "one"], ["values", "indices"], axis=0),
        helper.make_node("Cast", ["indices"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["ti", "c2"], ["mm"]),
        helper.make_node("Add", ["c", "values"], ["y"]),
        helper.make_node("Where", ["flag", "mm", "mm"], ["z"]),
    ]
    arrays = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "minus": np.array([-1], np.int64),
        "big": np.array([3, 11, 2], np.int64),
        "repeats": np.array([2, 1], np.int64),
        "c2": np.ones((2, 3), np.float32),
        "flag": np.array([True]),
    }
    return graph_model(nodes, [("x", TensorProto.FLOAT, [2, 3, 2, 4])], ("y", "z"), arrays)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "digits": digits_model,
    "windows": windows_model,
    "shapes": shapes_model,
    "quantized": partly_quantized_model,
}


def pick(rng: np.random.Generator, things: Sized) -> int:
    """Index of one of them."""
    return int(rng.integers(len(things)))


def mutate(graph: onnx.GraphProto, rng: np.random.Generator) -> None:
    """Change one thing at random."""
    node = graph.node[pick(rng, graph.node)]
    kind = rng.integers(8)
    if kind == 0 and node.attribute:
        _mutate_attribute(node.attribute[pick(rng, node.attribute)], rng)
    elif kind == 1 and node.attribute:
        del node.attribute[pick(rng, node.attribute)]
    elif kind == 2 and node.input:
        names = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output] + ["x", "", "nothing"]
        node.input[pick(rng, node.input)] = names[pick(rng, names)]
    elif kind == 3 and node.input:
        del node.input[-1]
    elif kind == 4:
        node.op_type = graph.node[pick(rng, graph.node)].op_type
    elif kind == 5 and graph.initializer:
        _mutate_tensor(graph.initializer[pick(rng, graph.initializer)], rng)
    elif kind == 6 and graph.input and (dimension := graph.input[0].type.tensor_type.shape.dim):
        dimension[pick(rng, dimension)].dim_value = int(rng.integers(0, 5))
    else:
        del graph.node[pick(rng, graph.node)]


def _mutate_attribute(attribute: onnx.AttributeProto, rng: np.random.Generator) -> None:
    number = int(rng.choice(NUMBERS))
    if attribute.ints:
        if rng.random() < 0.3:
            del attribute.ints[-1]
        else:
            attribute.ints[pick(rng, attribute.ints)] = number
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = number
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = float(rng.choice([np.nan, np.inf, -1.0, 0.0, 1e30]))
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = b"nonsense\xff"
    if rng.random() < 0.2:
        attribute.type = KINDS[pick(rng, KINDS)]


def _mutate_tensor(tensor: onnx.TensorProto, rng: np.random.Generator) -> None:
    array = onnx.numpy_helper.to_array(tensor).copy()
    kind = rng.integers(4)
    if kind == 0 and array.size:
        array.reshape(-1)[rng.integers(array.size)] = array.dtype.type(rng.integers(0, 100))
    elif kind == 1:
        array = array.reshape(-1)[: rng.integers(0, array.size + 1)]
    elif kind == 2:
        array = array[np.newaxis]
    else:
        array = array.astype([np.float64, np.int32, np.uint8, np.float16][rng.integers(4)])
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
