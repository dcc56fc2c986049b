"""A model as onnxruntime computes it, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tilewright.errors import TilewrightError

from ...compiler import NotInstalledError, compiler_for
from ..simulator.input_data import Feeds, NodeArg
from .party import ONNXRUNTIME, Party, Value

if TYPE_CHECKING:
    from ....compiler.frontend.onnx.every_tensor import ComputedTensor


class OnnxruntimeParty(Party):
    """All tensors of the main graph, computed without any optimisation of the graph, so that each is one node's."""

    def __init__(self, path: str) -> None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
        except ModuleNotFoundError:
            raise NotInstalledError("comparing with onnxruntime", "onnxruntime") from None
        with compiler_for("comparing with onnxruntime"):
            from ....compiler.frontend.onnx.every_tensor import with_every_tensor

        self.label = f"{ONNXRUNTIME}{path}"
        content, self.outputs, self._tensors = with_every_tensor(path)
        self.values = [*map(_value, self._tensors)]
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        except Exception as error:
            raise TilewrightError(f"onnxruntime refuses {path!r}: {error}", stage="compare") from None

    def get_inputs(self) -> list[NodeArg]:
        return [NodeArg(each.name, each.type, [*each.shape]) for each in self._session.get_inputs()]

    def run(self, feeds: Feeds) -> Mapping[str, np.ndarray]:
        names = [each.name for each in self._tensors]
        try:
            arrays = self._session.run(names, dict(feeds))
        except Exception as error:
            raise TilewrightError(f"onnxruntime cannot run {self.label!r}: {error}", stage="compare") from None
        pairs = zip(self._tensors, arrays, strict=True)
        return {tensor.name: tensor.real(array) for tensor, array in pairs if isinstance(array, np.ndarray)}

    def close(self) -> None:
        del self._session


def _value(tensor: ComputedTensor) -> Value:
    nodes, scale, zero = (tensor.node,) if tensor.node else (), tensor.scale, tensor.zero_point
    if scale is None or zero is None or scale.size != 1:
        return Value(tensor.name, tensor.op_type, nodes, tensor.inputs)
    bounds = np.iinfo(zero.dtype)
    low, high = (float(scale.item()) * (end - int(zero.item())) for end in (bounds.min, bounds.max))
    return Value(tensor.name, tensor.op_type, nodes, tensor.inputs, (low, high), float(scale.item()))
