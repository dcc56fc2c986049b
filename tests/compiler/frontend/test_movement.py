"""Slices of ONNX whose ends lie outside, and pads by values that are computed."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from network_files import graph_model
from onnx import TensorProto, helper

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.ir import interp


@pytest.mark.parametrize(
    "part", [(-8, -7, -3), (-8, -9, -1), (9, 8, -1), (7, 0, -3), (-8, 2, 1), (3, -20, -2), (4, 9, 1), (-1, -8, -1)]
)
def test_slices_reach_as_far_as_those_of_onnxruntime(part: tuple[int, int, int]) -> None:
    start, end, step = (np.array([value]) for value in part)
    node = helper.make_node("Slice", ["x", "start", "end", "axis", "step"], ["y"])
    arrays = {"start": start, "end": end, "axis": np.array([0]), "step": step}
    model = graph_model([node], [("x", TensorProto.FLOAT, [6, 2])], ["y"], arrays)
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["y"], {"x": x})
    np.testing.assert_array_equal(interp.run(import_onnx(model), {"x": x})["y"], np.asarray(expected))


@pytest.mark.parametrize("pads", [(0, 0, 1, 2), (-1, 1, 1, -1)])
def test_padding_values_may_be_computed(pads: tuple[int, ...]) -> None:
    nodes = [helper.make_node("ReduceMax", ["x"], ["v"], keepdims=0), helper.make_node("Pad", ["x", "p", "v"], ["y"])]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [2, 3])], ["y"], {"p": np.array(pads)})
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["y"], {"x": x})
    np.testing.assert_array_equal(interp.run(import_onnx(model), {"x": x})["y"], np.asarray(expected))
