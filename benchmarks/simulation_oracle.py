"""Simulated quantisation by the formula in NumPy, each operator computed by onnxruntime alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
from encodings_files import Grid, asymmetric, symmetric

from tilewright.blocks import cached_property

WEIGHTS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0}
"""Operators whose second input are weights, and the dimension of the output channels; of Gemm with transB."""

Tensors = dict[str, np.ndarray]


class NodeByNode:
    """A model whose nodes are run one at a time."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        self.nodes: Sequence[onnx.NodeProto] = self.model.graph.node
        self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in self.model.graph.initializer}
        self.inputs = [i.name for i in self.model.graph.input if i.name not in self.constants]
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    @cached_property
    def weights(self) -> dict[str, int]:
        """Weights and the dimension of their output channels."""
        return {node.input[1]: WEIGHTS[node.op_type] for node in self.nodes if node.op_type in WEIGHTS}

    def compute(self, node: onnx.NodeProto, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The only output of a node, of tensors that it reads."""
        names = list(dict.fromkeys(name for name in node.input if name))
        session = self._sessions.get(node.output[0])
        if session is None:
            infos = [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(tensors[name].dtype), tensors[name].shape
                )
                for name in names
            ]
            result = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
            graph = onnx.helper.make_graph([node], "node", infos, [result])
            model = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=8)
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.intra_op_num_threads = 1
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
            self._sessions[node.output[0]] = session
        return np.asarray(session.run(None, {name: tensors[name] for name in names})[0])

    def run(self, feeds: Mapping[str, np.ndarray], grids: Mapping[str, Grid]) -> Tensors:
        """Every tensor as the operators after it read it: rounded where it has a grid."""
        tensors: Tensors = {}

        def define(name: str, array: np.ndarray) -> None:
            tensors[name] = grids[name].apply(array) if name in grids else array

        for name, array in (*self.constants.items(), *feeds.items()):
            define(name, array)
        for node in self.nodes:
            define(node.output[0], self.compute(node, tensors))
        return tensors

    def grids(
        self, samples: Sequence[Mapping[str, np.ndarray]], bits: int, *, per_channel: bool
    ) -> tuple[dict[str, Grid], dict[str, Grid]]:
        """Grids of all activations, by the ranges on samples, and of all weights."""
        low: dict[str, float] = {}
        high: dict[str, float] = {}
        for sample in samples:
            for name, array in self.run(sample, {}).items():
                if name not in self.constants:
                    low[name] = min(low.get(name, 0.0), float(array.min()))
                    high[name] = max(high.get(name, 0.0), float(array.max()))
        activations = {name: asymmetric(low[name], high[name], bits) for name in low}
        parameters = {
            name: symmetric(self.constants[name], bits, axis if per_channel else None)
            for name, axis in self.weights.items()
        }
        return activations, parameters


@dataclass(frozen=True)
class Differences:
    """Between what a session computed and the formula.

    Attributes:
        elements: compared.
        ties: of them those that differ by one step, because what was to be rounded lies at the middle between two steps
            but for the last bits that operators of floating point differ in.
        others: all others that differ.
    """

    elements: int = 0
    ties: int = 0
    others: int = 0

    def __add__(self, other: Differences) -> Differences:
        return Differences(self.elements + other.elements, self.ties + other.ties, self.others + other.others)


FLOAT_ERROR = 2.0**-21
"""How far results of an operator in floating point may lie apart, relative to the sum of magnitudes that it adds up."""


def compare(network: NodeByNode, found: Mapping[str, np.ndarray], grids: Mapping[str, Grid]) -> Differences:
    """Each tensor against what the formula makes of its operator's result, from operands as they were found."""
    total = Differences()
    for node in network.nodes:
        (name,) = node.output
        if name not in grids:
            continue
        before = network.compute(node, found)
        magnitudes = np.abs(before)
        if node.op_type in WEIGHTS:
            magnitudes = network.compute(node, {read: np.abs(found[read]) for read in node.input})
        total += _differences(found[name], before, magnitudes, grids[name])
    return total


def _differences(found: np.ndarray, before: np.ndarray, magnitudes: np.ndarray, grid: Grid) -> Differences:
    expected = grid.apply(before)
    scale, _ = (np.broadcast_to(array, before.shape) for array in grid.along(before))
    differs = found != expected
    one_step = np.rint(np.abs(found - expected) / scale) == 1
    steps = before.astype(np.float64) / scale
    from_tie = np.abs(steps - np.floor(steps) - 0.5) * scale
    ties = differs & one_step & (from_tie <= FLOAT_ERROR * magnitudes)
    return Differences(found.size, int(ties.sum()), int((differs & ~ties).sum()))
