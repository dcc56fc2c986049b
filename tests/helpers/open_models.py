"""ONNX models with extents that the data decide, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.helper import make_node as node

import tilewright
from tilewright.runtime.session import Session

Arrays = Mapping[str, np.ndarray]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Arrays,
    outputs: Sequence[str],
    constants: Mapping[str, Any],
    opset: int = 18,
) -> onnx.ModelProto:
    of = onnx.helper.np_dtype_to_tensor_dtype
    graph = onnx.helper.make_graph(
        nodes,
        "open",
        [onnx.helper.make_tensor_value_info(name, of(array.dtype), array.shape) for name, array in inputs.items()],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 9
    return onnx.shape_inference.infer_shapes(model)


def check(
    nodes: Sequence[onnx.NodeProto], cases: Sequence[Arrays], outputs: Sequence[str], **constants: Any
) -> Session:
    """Compile for the first of several inputs, and compare with onnxruntime for all of them."""
    model = model_of(nodes, cases[0], outputs, constants)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session = tilewright.load(tilewright.compile(model))
    assert all(step.kernel for program in session.artifact.manifest.cpu_programs.values() for step in program.steps)
    for inputs in cases:
        found = session.run(inputs)
        assert list(found) == list(outputs)
        for name, array in zip(outputs, oracle.run(list(outputs), dict(inputs)), strict=True):
            expected = np.asarray(array)
            assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), name
            np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    return session


REPEATED = [
    node("ReduceSum", ["often"], ["n"], keepdims=0),
    node("Range", ["zero", "n", "one"], ["places"]),
    node("CumSum", ["often", "zero"], ["ends"]),
    node("Unsqueeze", ["places", "last"], ["columns"]),
    node("GreaterOrEqual", ["columns", "ends"], ["behind"]),
    node("Cast", ["behind"], ["numbers"], to=onnx.TensorProto.INT64),
    node("ReduceSum", ["numbers", "last"], ["rows"], keepdims=0),
    node("Gather", ["x", "rows"], ["repeated"]),
    node("Transpose", ["repeated"], ["y"], perm=[1, 0]),
]
"""As many copies of each row as a model finds, such as of the sounds that speech is made of."""


def check_lines(
    layers: Sequence[onnx.NodeProto],
    x: np.ndarray,
    counts: Sequence[Sequence[int]],
    outputs: Sequence[str],
    constants: Mapping[str, Any],
    rtol: float = 1e-5,
) -> None:
    """Layers that read ``line``, [1, channels, n], of the rows of ``x``, [rows, channels], each as many times as counts
    say: the same as onnxruntime for all of these."""
    nodes = [*REPEATED, node("Unsqueeze", ["y", "zeros"], ["line"]), *layers]
    known = {"zero": 0, "one": 1, "last": [1], "zeros": [0], **constants}
    model = model_of(nodes, {"often": np.zeros(len(x), np.int64), "x": x}, outputs, known)
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tilewright.load(tilewright.compile(model, bounds={"n": 20})) as session:
        for often in counts:
            given = {"often": np.array(often), "x": x}
            found = session.run(given)
            for name, expected in zip(outputs, oracle.run(outputs, given), strict=True):
                np.testing.assert_allclose(found[name], np.asarray(expected), rtol=rtol, atol=1e-5, err_msg=name)
