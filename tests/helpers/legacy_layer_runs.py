"""Runs single layers of IR of versions 2 to 7, and what onnxruntime makes of a node that means the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from legacy_ir import LegacyIr, Tensor
from onnx_nodes import node_model

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.ir.verify import verify

_PRECISIONS = {"float32": "FP32", "int32": "I32", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


def imported(net: LegacyIr, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Module:
    """A network as a verified module."""
    module = import_model(read_document(net.xml.encode(), bytes(net.binary)), input_shapes)
    verify(module)
    return module


def layer_network(
    type: str,
    inputs: Sequence[np.ndarray],
    shapes: Sequence[Sequence[int]],
    attributes: Mapping[str, object] | None = None,
    blobs: Mapping[str, np.ndarray] | None = None,
    *,
    version: int = 3,
    constants: Sequence[int] = (),
    precision: str = "FP32",
) -> LegacyIr:
    """A network of one layer ``y`` whose inputs are ``x0``, ``x1`` …, or constants.

    Args:
        shapes: of the outputs.
        constants: positions of those inputs that are layers ``Const``.
        precision: of the layer.
    """
    net = LegacyIr("sample", version)
    tensors: list[Tensor] = []
    for index, array in enumerate(inputs):
        stated = _PRECISIONS[array.dtype.name]
        if index in constants:
            (tensor,) = net.layer("Const", f"x{index}", [], [array.shape], None, {"custom": array}, stated)
        else:
            tensor = net.input(f"x{index}", array.shape, stated)
        tensors.append(tensor)
    net.layer(type, "y", tensors, shapes, attributes, blobs, precision)
    return net


def run_layer(type: str, inputs: Sequence[np.ndarray], shapes: Sequence[Sequence[int]], *args: Any, **how: Any) -> Any:
    """The outputs of a layer as the reference computes them, an array where there is one; see `layer_network`."""
    module = imported(layer_network(type, inputs, shapes, *args, **how))
    fed = {p.name: inputs[int(p.name[1:])] for p in module.main.parameters}
    found = list(interp.run(module, fed).values())
    return found[0] if len(found) == 1 else found


def run_node(op_type: str, inputs: Sequence[np.ndarray | None], outputs: int = 1, **attributes: Any) -> Any:
    """The outputs of an ONNX node, an array where there is one."""
    model = node_model(op_type, inputs, opset=17, outputs=outputs, **attributes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    fed = {f"x{i}": array for i, array in enumerate(inputs) if array is not None}
    found = [np.asarray(array) for array in session.run(None, fed)]
    return found[0] if outputs == 1 else found
