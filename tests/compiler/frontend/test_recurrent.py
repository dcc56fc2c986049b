"""Recurrent layers, against onnxruntime, on the CPU kernels; the onnx package's own cases of them run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from network_files import graph_model
from onnx import TensorProto, helper
from onnxruntime_oracle import Oracle, relative_difference

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.errors import ResourceError, UnsupportedError

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent_model(
    kind: str,
    rng: np.random.Generator,
    steps: int = 3,
    directions: int = 1,
    attributes: Mapping[str, object] | None = None,
) -> onnx.ModelProto:
    """One layer of a batch of 2, whose first states are inputs, and every output of it."""
    features, hidden, rows = 5, 6, GATES[kind] * 6
    arrays = {
        "w": rng.uniform(-0.5, 0.5, (directions, rows, features)).astype(np.float32),
        "r": rng.uniform(-0.5, 0.5, (directions, rows, hidden)).astype(np.float32),
        "b": rng.uniform(-0.5, 0.5, (directions, 2 * rows)).astype(np.float32),
    }
    state = [directions, 2, hidden]
    inputs = [("x", TensorProto.FLOAT, [steps, 2, features]), ("h", TensorProto.FLOAT, state)]
    outputs = ["y", "y_h"]
    if kind == "LSTM":
        inputs.append(("c", TensorProto.FLOAT, state))
        outputs.append("y_c")
    names = ["x", "w", "r", "b", "", *(name for name, _, _ in inputs[1:])]
    node = helper.make_node(kind, names, outputs, name="layer")
    for name, value in {"hidden_size": hidden, **(attributes or {})}.items():
        node.attribute.append(helper.make_attribute(name, value))
    return graph_model([node], inputs, outputs, arrays)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {}), ("RNN", {"activations": ["Relu"]})],
    ids=["LSTM", "GRU", "GRU of torch", "RNN", "RNN with relu"],
)
def test_layers(kind: str, attributes: dict[str, object], direction: str, rng: np.random.Generator) -> None:
    directions = 2 if direction == "bidirectional" else 1
    if "activations" in attributes:
        attributes = {"activations": ["Relu"] * directions}
    model = recurrent_model(kind, rng, directions=directions, attributes={"direction": direction, **attributes})
    with tilewright.load(compile_to_memory(model.SerializeToString(), CompileOptions())) as session:
        inputs = {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in session.inputs}
        found = session.run(inputs)
    assert relative_difference(found, Oracle(model).run(inputs)) <= 1e-5


def test_sequences_of_one_length_are_no_obstacle(rng: np.random.Generator) -> None:
    model = recurrent_model("LSTM", rng)
    model.graph.node[0].input[4] = "lengths"
    lengths = onnx.numpy_helper.from_array(np.array([3, 3], np.int32), "lengths")
    model.graph.initializer.append(lengths)
    import_onnx(model)
    model.graph.initializer[-1].CopyFrom(onnx.numpy_helper.from_array(np.array([3, 2], np.int32), "lengths"))
    with pytest.raises(UnsupportedError, match="sequences of different lengths are not supported"):
        import_onnx(model)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"clip": 1.0}, "attribute 'clip' is not supported"),
        ({"activations": ["Sigmoid", "Affine", "Tanh"]}, "these activations are not supported"),
    ],
)
def test_what_is_not_supported(attributes: dict[str, object], message: str, rng: np.random.Generator) -> None:
    with pytest.raises(UnsupportedError, match=message):
        import_onnx(recurrent_model("LSTM", rng, attributes=attributes))


def test_a_model_takes_so_many_steps(rng: np.random.Generator) -> None:
    with pytest.raises(ResourceError, match="the node takes too many steps in time"):
        import_onnx(recurrent_model("RNN", rng, steps=4097))
