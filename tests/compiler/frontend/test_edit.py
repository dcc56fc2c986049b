"""Models for inputs of other sizes, and their first layers alone, before they are imported."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from network_files import graph_model
from onnx import TensorProto, helper

from tilewright.compiler.frontend.onnx.edit import declared_inputs, edited
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import ModelError, UsageError

FLOAT = TensorProto.FLOAT


def chain(*types: str, inputs: tuple = (("x", FLOAT, [2, 3]),)) -> onnx.ModelProto:
    """``x -> 1 -> 2 -> … -> y`` of operators with one operand."""
    names = ["x", *map(str, range(1, len(types))), "y"]
    nodes = [helper.make_node(each, [names[i]], [names[i + 1]], name=f"n{i}") for i, each in enumerate(types)]
    return graph_model(nodes, inputs)


def outputs(model: bytes) -> list[str]:
    return [each.name for each in onnx.load_from_string(model).graph.output]


def test_inputs_as_they_are_declared() -> None:
    inputs = (("x", FLOAT, [2, "n", None, 0]), ("i", TensorProto.INT64, None), ("s", TensorProto.BOOL, []))
    model = graph_model([helper.make_node("Identity", ["x"], ["y"])], inputs)
    assert declared_inputs(model) == [("x", "f32", (2, None, None, None)), ("i", "i64", None), ("s", "bool", ())]


def test_initialisers_among_the_inputs_are_none() -> None:
    model = graph_model(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [("x", FLOAT, [2]), ("w", FLOAT, [2])],
        initializers={"w": np.ones(2, np.float32)},
    )
    assert declared_inputs(model) == [("x", "f32", (2,))]


def test_other_shapes_replace_those_that_are_declared() -> None:
    model = chain("Relu", "Neg")
    model.graph.value_info.append(helper.make_tensor_value_info("1", FLOAT, [2, 3]))
    before = model.SerializeToString()
    module = import_onnx(edited(model, input_shapes={"x": (5, 7)}))
    assert module.main.results[0].type.shape == (5, 7)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("layers", "without_last", "output", "nodes"),
    [
        (1, 0, "1", 1),
        (2, 0, "2", 2),
        (3, 0, "y", 3),
        (9, 0, "y", 3),
        (None, 1, "2", 2),
        (None, 2, "1", 1),
        (3, 2, "1", 1),
    ],
)
def test_the_first_layers(layers: int | None, without_last: int, output: str, nodes: int) -> None:
    model = edited(chain("Relu", "Neg", "Abs"), layers=layers, without_last=without_last)
    assert outputs(model) == [output]
    assert len(onnx.load_from_string(model).graph.node) == nodes
    import_onnx(model)


@pytest.mark.parametrize("without_last", [3, 4])
def test_no_layer_is_left(without_last: int) -> None:
    with pytest.raises(UsageError, match=f"no layer is left; expected fewer than 3 removed, found {without_last}"):
        edited(chain("Relu", "Neg", "Abs"), without_last=without_last)


def test_copies_constants_and_number_formats_are_no_layers() -> None:
    one = onnx.numpy_helper.from_array(np.ones((), np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=one),
        helper.make_node("Neg", ["c"], ["scale"]),
        helper.make_node("Identity", ["x"], ["copy"]),
        helper.make_node("QuantizeLinear", ["copy", "c"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "c"], ["d"]),
        helper.make_node("Mul", ["d", "scale"], ["first"], name="first"),
        helper.make_node("Relu", ["first"], ["y"]),
    ]
    assert outputs(edited(graph_model(nodes), layers=1)) == ["first"]


def test_a_layer_of_several_outputs_and_one_out_of_order() -> None:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["y"]),
        helper.make_node("Split", ["x"], ["a", "b"], axis=0, num_outputs=2),
    ]
    assert outputs(edited(graph_model(nodes, opset=18), layers=1)) == ["a", "b"]


def test_a_layer_that_nothing_reads() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["unused"], name="dead"), helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(ModelError, match="node 'dead': nothing reads the layer that is to be the last"):
        edited(graph_model(nodes), layers=1)
