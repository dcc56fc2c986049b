"""One-operator models run by onnxruntime, the outside oracle of the quantised arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

_TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32}


def run(
    operator: str,
    inputs: Mapping[str, NDArray | None],
    output: str,
    attributes: Mapping[str, Any] | None = None,
    domain: str = "",
) -> NDArray:
    """Run one operator.

    Args:
        operator: its name.
        inputs: in order, scalars and weights as they are; an entry of None is an omitted input. The first is fed, the
            others are initializers.
        output: name of the element type of the result.
        attributes: of the node.
        domain: ``com.microsoft`` for contributed operators.
    """
    names = [name if value is not None else "" for name, value in inputs.items()]
    node = helper.make_node(operator, names, ["y"], domain=domain, **(attributes or {}))
    fed, *rest = [(name, value) for name, value in inputs.items() if value is not None]
    feed = helper.make_tensor_value_info(fed[0], _TYPES[str(fed[1].dtype)], fed[1].shape)
    result = helper.make_tensor_value_info("y", _TYPES[output], None)
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in rest]
    graph = helper.make_graph([node], "oracle", [feed], [result], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {fed[0]: fed[1]})[0])


def limits(dtype: type) -> tuple[int, int]:
    """Lowest and highest value of an integer type."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)
