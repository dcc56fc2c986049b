"""A model that returns every tensor it computes, for other runtimes to be looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from .reader import load_model
from .tensor_roles import add_outputs

_SCALES: dict[str, int] = dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), 1)
_SCALES |= dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), 6)
_SCALES |= dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"), 3)
_SCALES |= dict.fromkeys(("QLinearGlobalAveragePool", "QLinearAveragePool"), 3) | {"QLinearConcat": 0, "QGemm": 7}
"""The input that is the scale of the result, with its zero point behind it, of operators whose results are integers or
stand for some."""

_PASSED_ON = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Gather")
"""Operators whose results are elements of their first input, whatever integers stand for."""


@dataclass(frozen=True)
class ComputedTensor:
    """A tensor that a node of the main graph computes.

    Attributes:
        name: of the tensor.
        op_type, node: of the node; "" where it has no name.
        inputs: the tensors that it reads which are no constants.
        scale, zero_point: of the integers that it holds or stands for, one or one for each index along ``axis``;
            ``None`` for all other tensors.
    """

    name: str
    op_type: str
    node: str
    inputs: tuple[str, ...]
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    axis: int = 1

    def real(self, array: np.ndarray) -> np.ndarray:
        """The numbers that its elements stand for."""
        if self.scale is None or self.zero_point is None or array.dtype.kind == "f":
            return array
        shape = [-1 if d == self.axis % array.ndim else 1 for d in range(array.ndim)] if self.scale.size > 1 else ()
        stored = array.astype(np.int32) - self.zero_point.astype(np.int32).reshape(shape)
        return stored.astype(np.float32) * self.scale.reshape(shape)


def with_every_tensor(path: str | os.PathLike[str]) -> tuple[bytes, list[str], list[ComputedTensor]]:
    """The contents of the model, the names of its own outputs, and its tensors in order.

    Raises:
        ModelError: the model cannot be read.
        OSError: a file that it keeps tensors in cannot be read.
    """
    model, _ = load_model(path)
    load_external_data_for_model(model, os.path.dirname(path) or ".")
    outputs = [output.name for output in model.graph.output]
    tensors = list(_tensors(model.graph))
    add_outputs(model, [each.name for each in tensors if each.name not in outputs])
    return model.SerializeToString(), outputs, tensors


def _tensors(graph: onnx.GraphProto) -> Iterator[ComputedTensor]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = {*constants}
    held: dict[str, tuple[np.ndarray | None, np.ndarray | None]] = {}
    for node in graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], attribute.t) for attribute in node.attribute)
        if known.issuperset(filter(None, node.input)) and not any(
            attribute.HasField("g") for attribute in node.attribute
        ):
            # Of constants alone, such as weights that are dequantised.
            known.update(node.output)
            continue
        inputs = tuple(name for name in dict.fromkeys(node.input) if name and name not in known)
        passed_on = held.get(node.input[0]) if node.op_type in _PASSED_ON else None
        scale, zero = passed_on or _parameters(node, constants)
        if node.op_type != "DequantizeLinear" and scale is not None and scale.size == 1:
            held[node.output[0]] = scale, zero
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        for number, name in enumerate(node.output):
            own = (scale, zero) if number == 0 else (None, None)
            if name:
                yield ComputedTensor(name, node.op_type, node.name, inputs, *own, axis)


def _parameters(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Scale and zero point of what a node makes; ``None`` where they are not known."""
    at = _SCALES.get(node.op_type)
    names = [*node.input[at : at + 2]] if at is not None else []
    if len(names) < 2 or not {*names} <= constants.keys():
        return None, None
    scale, zero = (onnx.numpy_helper.to_array(constants[name]) for name in names)
    return scale, zero
