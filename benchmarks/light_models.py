"""The nine networks of the onnx package's backend tests: full size, with weights made by constant nodes.

The package stores one output for each; its test runner feeds a ramp from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tilewright.runtime.artifact.manifest import TensorSpec

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def light_models() -> list[Path]:
    """Their files, in order of name."""
    return sorted(FOLDER.glob("light_*.onnx"))


def ramp(inputs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """The inputs of the package's test runner."""
    return {
        spec.name: (np.arange(np.prod(spec.shape)).reshape(spec.shape) / np.prod(spec.shape)).astype(np.float32)
        for spec in inputs
    }


def stored_outputs(model: Path, outputs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """The outputs that the package stores, by name."""
    found: dict[str, np.ndarray] = {}
    for index, spec in enumerate(outputs):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(model.with_name(f"{model.stem}_output_{index}.pb").read_bytes())
        found[spec.name] = numpy_helper.to_array(tensor)
    return found


def with_random_weights(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """A copy whose constant weights are random instead, so that an output depends on every one of them.

    Matrices and kernels are scaled to keep the magnitude of what they are applied to, vectors lie between 0.5 and 1.5:
    those of normalisations, variances among them, must be positive. A softmax at the end goes: it would answer all such
    networks with a one among zeros.
    """
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    graph = edited.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        shape = shapes.get(node.input[0]) if node.op_type == "ConstantOfShape" else None
        if shape is None:
            nodes.append(node)
            continue
        if len(shape) > 1:
            array = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            array = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    if nodes[-1].op_type == "Softmax":
        graph.output[0].name = nodes.pop().input[0]
    del graph.node[:]
    graph.node.extend(nodes)
    return edited
