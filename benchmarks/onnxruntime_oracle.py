"""onnxruntime as the judge of floating-point results.

Models that bring their own quantisation are edited first into what they mean in real numbers (see
``docs/decisions/0040-float-meaning-of-quantised-models.md``), on the ONNX file and without Tilewright's code: pairs on
activations become Clip, weights become floats.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper


class Oracle:
    """A model in onnxruntime, on one thread.

    Args:
        optimize: whether onnxruntime may rewrite the network; some of its rewrites approximate.
        integers: whether it is to take signed integers for quantised operators everywhere. On x86 it converts them to
            unsigned ones by default, and computes in floating point where two ops read one of them.
        exact: whether sums of products of integers are to be exact on processors without VNNI, too, where onnxruntime
            lets pairs of them saturate by default.
    """

    def __init__(
        self, model: onnx.ModelProto, *, optimize: bool = True, integers: bool = False, exact: bool = False
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        if integers:
            options.add_session_config_entry("session.qdqisint8allowed", "1")
        if exact:
            options.add_session_config_entry("session.x64quantprecision", "1")
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        results = self._session.run(None, dict(inputs))
        return {name: np.asarray(array) for name, array in zip(self._names, results, strict=True)}


def real_meaning(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` without rounding; ``model`` itself where it is not quantised.

    Raises:
        ValueError: it quantises in a way that has no such meaning.
    """
    if not any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return model
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    graph = edited.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantizers = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            continue
        if node.op_type != "DequantizeLinear":
            nodes.append(node)
        elif node.input[0] in arrays:
            graph.initializer.append(numpy_helper.from_array(_dequantized(node, arrays), node.output[0]))
        else:
            source = quantizers[node.input[0]]
            parameters = [arrays[name] for name in source.input[1:]]
            others = [arrays[name] for name in node.input[1:]]
            if not all(map(np.array_equal, parameters, others)) or parameters[0].size != 1 or len(parameters) != 2:
                raise ValueError(f"{node.name}: not a pair of equal parameters")
            scale, zero = np.float32(parameters[0]), parameters[1]
            limits = np.iinfo(zero.dtype)
            bounds = []
            for limit in (limits.min, limits.max):
                bounds.append(f"{node.output[0]}.{limit}")
                bound = np.asarray(np.float32(limit - int(zero)) * scale, np.float32).reshape(())
                graph.initializer.append(numpy_helper.from_array(bound, bounds[-1]))
            nodes.append(helper.make_node("Clip", [source.input[0], *bounds], [node.output[0]], name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
    return edited


def _dequantized(node: onnx.NodeProto, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    stored, scale = arrays[node.input[0]], arrays[node.input[1]]
    zero = arrays[node.input[2]] if len(node.input) > 2 else np.zeros(scale.shape, stored.dtype)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    if scale.size > 1:
        shape = [-1 if index == axis % stored.ndim else 1 for index in range(stored.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    return ((stored.astype(np.int32) - zero.astype(np.int32)).astype(np.float32) * scale).astype(np.float32)


def relative_difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The worst output's max |difference| / max |expected|.

    Raises:
        ValueError: outputs differ in name, shape or element type.
    """
    if found.keys() != expected.keys():
        raise ValueError(f"outputs {list(found)} where {list(expected)} were expected")
    worst = 0.0
    for name, array in expected.items():
        if (found[name].shape, found[name].dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"output {name!r} is {found[name].dtype}{found[name].shape}, not {array.dtype}{array.shape}"
            )
        scale = float(np.abs(array).max(initial=0.0)) or 1.0
        difference = np.abs(found[name].astype(np.float64) - array.astype(np.float64))
        worst = max(worst, float(difference.max(initial=0.0)) / scale)
        if not np.isfinite(difference).all():
            return float("inf")
    return worst
