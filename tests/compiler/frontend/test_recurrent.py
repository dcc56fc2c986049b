"""Recurrent layers, against onnxruntime, on the CPU kernels; the onnx package's own cases of them run elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from network_files import graph_model
from onnx import TensorProto, helper
from onnxruntime_oracle import Oracle, relative_difference

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.exporter import export_document
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.errors import ModelError, UnsupportedError
from tilewright.ir import interp

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
    attributes = {"direction": direction, **attributes}
    model = recurrent_model(kind, rng, directions=directions, attributes=attributes)
    with tilewright.load(compile_to_memory(model.SerializeToString(), CompileOptions())) as session:
        inputs = {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in session.inputs}
        found = session.run(inputs)
    assert relative_difference(found, Oracle(model).run(inputs)) <= 1e-5


VARIANTS: list[tuple[str, dict[str, Any], bool, bool]] = [
    ("LSTM", {"clip": 0.3}, True, False),
    ("LSTM", {"input_forget": 1, "clip": 0.2}, False, True),
    ("LSTM", {}, True, True),
    ("LSTM", {"activations": ["Softsign", "LeakyRelu", "Softplus"]}, False, False),
    ("GRU", {"clip": 0.3, "linear_before_reset": 1}, True, False),
    ("GRU", {"activations": ["HardSigmoid", "Elu"], "activation_alpha": [0.3], "activation_beta": [0.4]}, False, False),
    ("RNN", {"clip": 0.3}, True, False),
    ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [0.3], "activation_beta": [0.4]}, False, False),
    ("RNN", {"activations": ["Affine"], "activation_alpha": [0.3], "activation_beta": [0.4]}, True, False),
    ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.3]}, False, False),
]
"""Kind, attributes of a direction, whether sequences have lengths of their own, and peepholes."""


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("kind", "attributes", "has_lengths", "has_peepholes"), VARIANTS)
def test_variants(
    kind: str,
    attributes: dict[str, Any],
    has_lengths: bool,
    has_peepholes: bool,
    directions: int,
    steps: int,
    rng: np.random.Generator,
) -> None:
    repeated = {key: value * directions if isinstance(value, list) else value for key, value in attributes.items()}
    repeated["direction"] = "bidirectional" if directions == 2 else "reverse"
    model = recurrent_model(kind, rng, steps=steps, directions=directions, attributes=repeated)
    given: dict[str, np.ndarray] = {}
    if has_lengths:
        model.graph.node[0].input[4] = "lengths"
        model.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [2]))
        given["lengths"] = np.array([-(-steps // 2), steps], np.int32)
    if has_peepholes:
        model.graph.node[0].input.extend([""] * (7 - len(model.graph.node[0].input)) + ["p"])
        weights = rng.uniform(-0.5, 0.5, (directions, 18)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "p"))
    assert_runs_like_onnxruntime(model, rng, given)


def assert_runs_like_onnxruntime(
    model: onnx.ModelProto, rng: np.random.Generator, given: Mapping[str, np.ndarray], tolerance: float = 1e-5
) -> None:
    module = import_onnx(model)
    inputs = {
        parameter.name: given.get(parameter.name, rng.standard_normal(parameter.type.shape).astype(np.float32))
        for parameter in module.main.parameters
    }
    assert relative_difference(interp.run(module, inputs), Oracle(model).run(inputs)) <= tolerance


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("columns", [1, 24])
def test_dynamically_quantized(directions: int, columns: int, steps: int, rng: np.random.Generator) -> None:
    """A batch of one: of more, onnxruntime quantises parts of the rows on their own. Small weights: without VNNI it
    saturates sums of two products."""
    scales = (directions, columns) if columns > 1 else (directions,)
    arrays = {
        "w": rng.integers(-64, 64, (directions, 5, 24)).astype(np.int8),
        "r": rng.integers(-64, 64, (directions, 6, 24)).astype(np.int8),
        "b": rng.uniform(-0.5, 0.5, (directions, 48)).astype(np.float32),
        "scale": rng.uniform(0.002, 0.006, scales).astype(np.float32),
        "zero": np.zeros(scales, np.int8),
    }
    names = ["x", "w", "r", "b", "", "", "", "", "scale", "zero", "scale", "zero"]
    attributes = {"hidden_size": 6, "direction": "bidirectional" if directions == 2 else "forward"}
    node = helper.make_node("DynamicQuantizeLSTM", names, ["y", "y_h", "y_c"], domain="com.microsoft", **attributes)
    model = graph_model([node], [("x", TensorProto.FLOAT, [steps, 1, 5])], ["y", "y_h", "y_c"], arrays)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert_runs_like_onnxruntime(model, rng, {}, 1e-3)


def test_what_is_not_supported(rng: np.random.Generator) -> None:
    with pytest.raises(UnsupportedError, match="these activations are not supported"):
        import_onnx(recurrent_model("LSTM", rng, attributes={"activations": ["Sigmoid", "Gelu", "Tanh"]}))
    with pytest.raises(ModelError, match=r"there are too few activations; expected 3 a direction, found \['tanh'\]"):
        import_onnx(recurrent_model("LSTM", rng, attributes={"activations": ["Tanh"]}))


def test_lengths_of_sequences_that_make_no_sense(rng: np.random.Generator) -> None:
    model = recurrent_model("LSTM", rng)
    model.graph.node[0].input[4] = "lengths"
    lengths = onnx.numpy_helper.from_array(np.array([3, 3, 3], np.int32), "lengths")
    model.graph.initializer.append(lengths)
    with pytest.raises(ModelError, match="there is to be one length for each sequence"):
        import_onnx(model)


def test_steps_are_as_many_as_they_are(rng: np.random.Generator) -> None:
    """Code does not grow with them: the weights are constants of one body."""
    model = recurrent_model("LSTM", rng, steps=5000)
    artifact = compile_to_memory(model.SerializeToString(), CompileOptions())
    with tilewright.load(artifact) as session:
        inputs = {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in session.inputs}
        found = session.run(inputs)
    assert relative_difference(found, Oracle(model).run(inputs)) <= 1e-5


@pytest.mark.parametrize(
    ("operand", "shape", "message"),
    [
        ("w", [1, 24, 5], r"the shape of W does not fit; expected [2, 24, 5], found [1, 24, 5]"),
        ("r", [1, 24, 6], r"the shape of R does not fit; expected [2, 24, 6], found [1, 24, 6]"),
        ("r", [24, 6], r"R has the wrong number of dimensions; expected 3, found [24, 6]"),
        ("b", [1, 48], r"the shape of B does not fit; expected [2, 48], found [1, 48]"),
        ("h", [1, 2, 6], r"the shape of initial_h does not fit; expected [2, 2, 6], found [1, 2, 6]"),
        ("c", [2, 1, 6], r"the shape of initial_c does not fit; expected [2, 2, 6], found [2, 1, 6]"),
    ],
)
def test_operands_of_other_shapes_are_refused(
    operand: str, shape: list[int], message: str, rng: np.random.Generator
) -> None:
    """They could be cut into parts that fit, as one direction's state would be that of both."""
    model = recurrent_model("LSTM", rng, directions=2, attributes={"direction": "bidirectional"})
    graph = model.graph
    for index, tensor in enumerate(graph.initializer):
        if tensor.name == operand:
            graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), operand))
    for index, value in enumerate(graph.input):
        if value.name == operand:
            graph.input[index].CopyFrom(helper.make_tensor_value_info(operand, TensorProto.FLOAT, shape))
    with pytest.raises(ModelError, match=re.escape(message)):
        import_onnx(model)


def test_hidden_size_is_that_of_the_weights(rng: np.random.Generator) -> None:
    model = recurrent_model("GRU", rng, attributes={"hidden_size": 7})
    with pytest.raises(ModelError, match="hidden_size is not that of R; expected 6, found 7"):
        import_onnx(model)


@pytest.mark.parametrize("kind", GATES)
def test_they_are_written_as_steps_one_after_the_other(kind: str, rng: np.random.Generator) -> None:
    model = recurrent_model(kind, rng, directions=2, attributes={"direction": "bidirectional"})
    module = import_onnx(model)
    inputs = {p.name: rng.standard_normal(p.type.shape).astype(np.float32) for p in module.main.parameters}
    wanted = Oracle(model).run(inputs)
    assert relative_difference(Oracle(export_onnx(module)).run(inputs), wanted) <= 1e-5
    written = import_model(export_document(module))
    assert relative_difference(interp.run(written, inputs), wanted) <= 1e-5
    assert [op.name for op in module.main.ops].count("loop") == 2


def test_more_steps_are_not_written(rng: np.random.Generator) -> None:
    module = import_onnx(recurrent_model("RNN", rng, steps=20000))
    for form, export in (("ONNX", export_onnx), ("IR", export_document)):
        said = rf"loop has no {form} form\. A loop is written .* its steps are 65536 ops at most: freeze inputs"
        with pytest.raises(UnsupportedError, match=said):
            export(module)
