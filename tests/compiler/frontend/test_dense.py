"""Initialisers that hold their elements that are not 0 alone, and outputs that are named twice."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx.helper
import pytest
from network_files import graph_model
from onnx import numpy_helper

import tilewright
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import TilewrightError


def sparse_model(places: object, shape: list[int], elements: tuple[float, ...] = (2.0, 3.0)) -> onnx.ModelProto:
    model = graph_model([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])])
    values = numpy_helper.from_array(np.array(elements, np.float32), "w")
    indices = numpy_helper.from_array(np.asarray(places))
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, shape))
    return model


@pytest.mark.parametrize("places", [[1, 4], [[0, 1], [2, 0]]])
def test_a_sparse_initialiser_is_made_dense(places: object) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    session = tilewright.load(tilewright.compile(sparse_model(places, [3, 2])))
    assert (session.run({"x": x})["y"] == x @ np.array([[0, 2], [0, 0], [3, 0]], np.float32)).all()


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
        ([0, 1, 2], [3, 2], "not where its shape has places for them"),
        ([0, 1], [3, 2**28], "those before it are too many; expected at most 268435648 bytes, found 3221225472"),
        ([0, 1], [3, 2**40], "a tensor is too large"),
    ],
)
def test_a_sparse_initialiser_that_does_not_fit(places: object, shape: list[int], message: str) -> None:
    with pytest.raises(TilewrightError, match=re.escape(message)):
        import_onnx(sparse_model(places, shape))


def test_an_output_that_is_named_twice_is_one() -> None:
    session = tilewright.load(
        tilewright.compile(graph_model([onnx.helper.make_node("Relu", ["x"], ["y"])], outputs=["y", "y"]))
    )
    x = np.array([[-1, 0, 1], [2, -2, 0]], np.float32)
    assert [spec.name for spec in session.outputs] == ["y"] and (session.run({"x": x})["y"] == np.maximum(x, 0)).all()
