"""Initialisers that hold their elements that are not 0 alone, and outputs that are named twice."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest
from network_files import graph_model
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data

import tilewright
from tilewright import limits
from tilewright.compiler.frontend.onnx.edit import declared_inputs, edited
from tilewright.compiler.frontend.onnx.reader import digest_of_onnx, import_onnx, load_model
from tilewright.compiler.onnx_backend import TilewrightBackend
from tilewright.errors import ModelError, TilewrightError
from tilewright.ir.text.printer import print_module


def sparse_tensor(
    places: object, shape: list[int], elements: object = (2.0, 3.0), name: str = "w"
) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.array(elements, np.float32), name)
    return onnx.helper.make_sparse_tensor(values, numpy_helper.from_array(np.asarray(places)), shape)


def sparse_model(
    places: object, shape: list[int], elements: object = (2.0, 3.0), name: str = "w", op: str = "MatMul"
) -> onnx.ModelProto:
    model = graph_model([onnx.helper.make_node(op, ["x", "w"], ["y"])])
    model.graph.sparse_initializer.append(sparse_tensor(places, shape, elements, name))
    return model


X = np.arange(6, dtype=np.float32).reshape(2, 3)
DENSE = np.array([[0, 2], [0, 0], [3, 0]], np.float32)


@pytest.mark.parametrize("places", [[1, 4], [[0, 1], [2, 0]], np.array([1, 4], np.int32)])
def test_a_sparse_initialiser_is_made_dense(places: object) -> None:
    model = sparse_model(places, [3, 2])
    content = model.SerializeToString()
    session = tilewright.load(tilewright.compile(model))
    assert (session.run({"x": X})["y"] == X @ DENSE).all() and model.SerializeToString() == content


@pytest.mark.parametrize("in_function", [False, True])
def test_a_sparse_constant_is_made_dense(in_function: bool) -> None:
    make, sparse = onnx.helper.make_node, sparse_tensor([1, 4], [3, 2], name="")
    nodes = [make("Constant", [], ["w"], sparse_value=sparse), make("MatMul", ["x", "w"], ["y"])]
    model = graph_model(nodes)
    if in_function:
        opsets = [onnx.helper.make_opsetid("", 18)]
        model = graph_model([make("product", ["x"], ["y"], domain="own")])
        model.functions.append(onnx.helper.make_function("own", "product", ["x"], ["y"], nodes, opsets))
        model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    assert (tilewright.load(tilewright.compile(model)).run({"x": X})["y"] == X @ DENSE).all()


def test_a_sparse_initialiser_without_dimensions_is_made_dense() -> None:
    session = tilewright.load(tilewright.compile(sparse_model([0], [], [2.0], op="Mul")))
    assert (session.run({"x": X})["y"] == X * 2).all()


def test_a_sparse_initialiser_among_the_inputs_is_none_of_them() -> None:
    model = sparse_model([1, 4], [3, 2])
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [3, 2]))
    session = tilewright.load(tilewright.compile(model))
    assert [spec.name for spec in session.inputs] == ["x"] and (session.run({"x": X})["y"] == X @ DENSE).all()
    assert (TilewrightBackend.prepare(model).run(X)[0] == X @ DENSE).all()
    assert [name for name, _, _ in declared_inputs(model)] == ["x"]
    assert [each.name for each in load_model(edited(model))[0].graph.initializer] == ["w"]


def test_a_sparse_initialiser_of_a_body_is_made_dense() -> None:
    body = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Identity", ["go"], ["on"]),
            onnx.helper.make_node("Add", ["state", "w"], ["next"]),
        ],
        "body",
        [
            onnx.helper.make_tensor_value_info("step", onnx.TensorProto.INT64, []),
            onnx.helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            onnx.helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, [2, 3]),
            onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [2, 3]),
        ],
        [onnx.ValueInfoProto(name="on"), onnx.ValueInfoProto(name="next")],
        sparse_initializer=[sparse_tensor([1, 4], [2, 3])],
    )
    model = graph_model(
        [onnx.helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)],
        initializers={"n": np.array(3)},
    )
    session = tilewright.load(tilewright.compile(model))
    assert (session.run({"x": X})["y"] == X + np.array([[0, 6, 0], [0, 9, 0]], np.float32)).all()


def test_zeros_of_a_sparse_initialiser_make_no_room_for_folding() -> None:
    module = import_onnx(sparse_model([0, 1], [3, 2**20]))
    assert module.folding is not None and module.folding[0] <= limits.FOLDED + 8 * 24


def test_the_digest_is_also_of_sparse_elements_in_other_files(tmp_path: Path) -> None:
    model = sparse_model([1, 4], [3, 2])
    values = model.graph.sparse_initializer[0].values
    set_external_data(values, "elements.bin")
    values.ClearField("raw_data")
    values.data_location = onnx.TensorProto.EXTERNAL
    (tmp_path / "network.onnx").write_bytes(model.SerializeToString())
    digests = set()
    for elements in ([2, 3], [4, 5]):
        (tmp_path / "elements.bin").write_bytes(np.array(elements, np.float32).tobytes())
        digests.add(digest_of_onnx(tmp_path / "network.onnx", None))
    assert len(digests) == 2


def test_an_initialiser_that_is_written_twice_is_one() -> None:
    model = sparse_model([1, 4], [3, 2])
    for _ in range(2):
        model.graph.initializer.append(numpy_helper.from_array(DENSE, "w2"))
    model.graph.node.add(op_type="MatMul", input=["w2", "y"], output=["z"])
    model.graph.output[0].name = "z"
    twice = import_onnx(model)
    del model.graph.initializer[-1]
    once = import_onnx(model)
    twice.metadata, once.metadata = {}, {}
    assert print_module(twice) == print_module(once)
    model.graph.initializer.append(numpy_helper.from_array(DENSE + 1, "w2"))
    message = "two initialisers are named 'w2' and differ. Remove the one that is not meant, or rename it"
    with pytest.raises(ModelError, match=message):
        import_onnx(model)


@pytest.mark.parametrize("dense, name", [(False, "w"), (True, "w"), (False, "y")])
def test_a_sparse_initialiser_has_its_name_alone(dense: bool, name: str) -> None:
    model = sparse_model([1, 4], [3, 2])
    more = sparse_tensor([1], [2, 2], [1.0], name)
    if dense:
        model.graph.initializer.append(numpy_helper.from_array(DENSE, name))
    else:
        model.graph.sparse_initializer.append(more)
    message = "two initialisers are named 'w' and differ" if name == "w" else "tensor 'y' is produced twice"
    with pytest.raises(ModelError, match=message):
        import_onnx(model)


@pytest.mark.parametrize(
    "places, shape, message",
    [
        ([1, 6], [3, 2], "not where its shape has places for them; expected places in [3, 2]"),
        ([1, -1], [3, 2], "not where its shape has places for them"),
        ([[0, 1], [0, -1]], [3, 2], "not where its shape has places for them"),
        ([[0, 1], [3, 1]], [3, 2], "not where its shape has places for them"),
        ([[0], [1]], [3, 2], "not where its shape has places for them"),
        ([[0, 1, 0], [1, 1, 0]], [3, 2], "not where its shape has places for them"),
        ([0.0, 1.0], [3, 2], "not where its shape has places for them"),
        ([True, False], [3, 2], "not where its shape has places for them"),
        ([[[0], [1]], [[0], [1]]], [3, 2], "not where its shape has places for them"),
        ([0, 1, 2], [3, 2], "not where its shape has places for them"),
        ([0, 1], [3, 2**28], "those before it are too many; expected at most 268435648 bytes, found 3221225472"),
        ([0, 1], [3, 2**40], "a tensor is too large"),
    ],
)
def test_a_sparse_initialiser_that_does_not_fit(places: object, shape: list[int], message: str) -> None:
    with pytest.raises(TilewrightError, match=re.escape(message)):
        import_onnx(sparse_model(places, shape))


@pytest.mark.parametrize("elements", [2.0, [2.0], [[2.0, 3.0]], [[2.0], [3.0]]])
def test_a_sparse_initialiser_has_an_element_for_each_place(elements: object) -> None:
    with pytest.raises(ModelError, match="not where its shape has places for them"):
        import_onnx(sparse_model([1, 4], [3, 2], elements))


def test_a_sparse_initialiser_without_a_name() -> None:
    with pytest.raises(ModelError, match="a sparse initialiser has no name that is text; found ''"):
        import_onnx(sparse_model([1, 4], [3, 2], name=""))


def test_an_output_that_is_named_twice_is_one() -> None:
    session = tilewright.load(
        tilewright.compile(graph_model([onnx.helper.make_node("Relu", ["x"], ["y"])], outputs=["y", "y"]))
    )
    x = np.array([[-1, 0, 1], [2, -2, 0]], np.float32)
    assert [spec.name for spec in session.outputs] == ["y"] and (session.run({"x": x})["y"] == np.maximum(x, 0)).all()
