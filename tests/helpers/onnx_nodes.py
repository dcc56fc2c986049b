"""ONNX models of one node, to test importers against onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.ir.verify import verify


def node_model(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    *,
    opset: int = 21,
    constants: Sequence[int] = (),
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node with inputs ``x0``, ``x1`` … (initialisers where in ``constants``), outputs ``y0`` …"""
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = onnx.helper.make_node(op_type, names, results, name=f"{op_type}_0", domain=domain, **attributes)
    given = [(n, a) for n, a in zip(names, inputs, strict=True) if a is not None]
    graph = onnx.helper.make_graph(
        [node],
        "sample",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in given
            if int(n[1:]) not in constants
        ],
        [onnx.helper.make_empty_tensor_value_info(name) for name in results],
        initializer=[onnx.numpy_helper.from_array(a, n) for n, a in given if int(n[1:]) in constants],
    )
    domains = {"": opset, "com.microsoft": 1, "ai.onnx.ml": 3}
    opsets = [onnx.helper.make_opsetid(each, version) for each, version in domains.items()]
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    model.ir_version = min(model.ir_version, 10)
    return model


def import_checked(model: onnx.ModelProto) -> Module:
    """The model as a verified module."""
    module = import_onnx(model)
    verify(module)
    return module


def assert_imports_like_onnxruntime(model: onnx.ModelProto, inputs: Sequence[np.ndarray | None]) -> Module:
    """Import the model and compare its reference run with onnxruntime; the module."""
    module = import_checked(model)
    fed = {p.name: array for p in module.main.parameters if (array := inputs[int(p.name[1:])]) is not None}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = interp.run(module, fed)
    for info, expected in zip(session.get_outputs(), session.run(None, fed), strict=True):
        expected = np.asarray(expected)
        assert found[info.name].dtype == expected.dtype
        assert found[info.name].shape == expected.shape
        np.testing.assert_allclose(found[info.name], expected, rtol=1e-5, atol=1e-5)
    return module
