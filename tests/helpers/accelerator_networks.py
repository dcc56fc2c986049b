"""Small models as files, and what they compute, for the tests of the Accelerator API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from network_files import graph_model, write_model
from onnx import TensorProto, helper

FLOAT = TensorProto.FLOAT


def random_weights(shape: tuple[int, ...]) -> np.ndarray:
    """The same numbers for the same shape."""
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def convolution(
    path: Path, height: int | str = 4, width: int | str = 6, batch: int | str = 1, outputs: int = 2
) -> Path:
    """``y = relu(conv(x))``, 3x3 with padding: [batch, 3, height, width] to [batch, outputs, height, width];
    height and width may be open."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    inputs = [("x", FLOAT, [batch, 3, height, width])]
    return write_model(path, graph_model(nodes, inputs, initializers={"w": random_weights((outputs, 3, 3, 3))}))


def classifier(path: Path, features: int = 96, classes: int = 5) -> Path:
    """``y = softmax(flatten(x)·w)`` of [1, 3, 4, 8]: of no other size."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w"], ["g"], name="gemm"),
        helper.make_node("Softmax", ["g"], ["y"], name="softmax"),
    ]
    weights = {"w": random_weights((features, classes))}
    return write_model(path, graph_model(nodes, [("x", FLOAT, [1, 3, 4, 8])], initializers=weights))


def addition(path: Path) -> Path:
    """``y = a + b``, [1, 8, 1, 1] each."""
    inputs = [(name, FLOAT, [1, 8, 1, 1]) for name in "ab"]
    return write_model(path, graph_model([helper.make_node("Add", ["a", "b"], ["y"])], inputs))


def joined(path: Path) -> Path:
    """``y`` is a, [1, 1, 4], followed by b, [1, 1, 8]."""
    inputs = [("a", FLOAT, [1, 1, 4]), ("b", FLOAT, [1, 1, 8])]
    return write_model(path, graph_model([helper.make_node("Concat", ["a", "b"], ["y"], axis=2)], inputs))


def two_outputs(path: Path) -> Path:
    """``y = 2x`` [1, 4] and ``s = Σx`` [1]."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0),
    ]
    model = graph_model(nodes, [("x", FLOAT, [1, 4])], ["y", "s"], {"axes": np.array([1], np.int64)})
    return write_model(path, model)


def doubling(path: Path, code: int = FLOAT) -> Path:
    """``y = x + x``, [1, 4] of an element type."""
    model = graph_model([helper.make_node("Add", ["x", "x"], ["y"])], [("x", code, [1, 4])])
    model.graph.output[0].type.tensor_type.elem_type = code
    return write_model(path, model)


def array(returned: object) -> np.ndarray:
    """What a call of the third generation returned for a network of one output."""
    assert isinstance(returned, np.ndarray)
    return returned


def arrays(returned: object) -> list[np.ndarray]:
    """What a call of the third generation returned for several outputs."""
    assert isinstance(returned, list)
    return [array(each) for each in returned]


def pair(taken: object) -> tuple[object, object]:
    """What ``GetResult`` of the third generation returned."""
    assert isinstance(taken, tuple)
    result, userobj = taken
    return result, userobj
