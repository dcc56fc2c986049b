"""Module to ONNX: to look at a network in other tools, and to let onnxruntime run what we run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tilewright.errors import UnsupportedError

from ...ir.core import Constant, Module, Op, Value
from ...ir.types import DType, TensorType
from .registry import EXPORTS

OPSET = 21
"""Version of the standard operator set that is written."""

MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators, used for integer operators that the standard lacks."""


class Exporter:
    """State of one export. Tensors are named by ONNX name (a string) or by the value that they stand for."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()

    def name(self, value: Value) -> str:
        """ONNX name of a value; a constant becomes an initialiser."""
        if value not in self._names:
            self._names[value] = self.fresh(value.name)
            if isinstance(value, Constant):
                name = self._names[value]
                self.initializers[name] = onnx.numpy_helper.from_array(np.asarray(value.array, order="C"), name)
        return self._names[value]

    def fresh(self, hint: str) -> str:
        """A tensor name that is not taken yet."""
        name, count = hint, 0
        while name in self._taken:
            count += 1
            name = f"{hint}_{count}"
        self._taken.add(name)
        return name

    def constant(self, array: np.ndarray, hint: str = "constant") -> str:
        """A new initialiser; its name."""
        name = self.fresh(hint)
        self.initializers[name] = onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def integers(self, values: Sequence[int], hint: str) -> str:
        """A new initialiser of int64, such as axes or a shape; its name."""
        return self.constant(np.asarray(values, np.int64), hint)

    def nodes_of(
        self, op_type: str, inputs: Sequence[Value | str | None], outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Write a node of several outputs; their names. Attributes of ``None`` are left out."""
        names = [i if isinstance(i, str) else self.name(i) if i is not None else "" for i in inputs]
        while names and not names[-1]:
            names.pop()
        results = [self.fresh(op_type.lower()) for _ in range(outputs)]
        present = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(
            onnx.helper.make_node(op_type, names, results, name=self.fresh(f"{op_type}_node"), domain=domain, **present)
        )
        return results

    def node(self, op_type: str, inputs: Sequence[Value | str | None], domain: str = "", **attributes: Any) -> str:
        """Write a node of one output; its name."""
        return self.nodes_of(op_type, inputs, 1, domain, **attributes)[0]

    def define(self, op: Op, *names: str) -> None:
        """Say which tensors are the results of ``op``."""
        for value, name in zip(op.results, names, strict=True):
            self._names[value] = name

    def bind(self, value: Value, name: str) -> None:
        """Say which tensor a value is."""
        self._names[value] = name

    def activation(self, x: str, name: str, args: tuple[float, ...], dtype: DType = DType.F32) -> str:
        """Write a fused activation of a tensor of element type ``dtype`` as nodes of its own."""
        from .activation import export_activation

        return export_activation(self, x, name, args, dtype)


def export_onnx(module: Module) -> onnx.ModelProto:
    """The function ``main`` as an ONNX model; fused operators become several nodes.

    Raises:
        UnsupportedError: an operator has no ONNX counterpart.
    """
    from . import families  # noqa: F401  # fills the registry
    from .quantized import export_quantized

    exporter = Exporter()
    function = module.main
    inputs = [_info(exporter.name(p), p.type) for p in function.parameters]
    for op in function.ops:
        if any(value.type.quant is not None for value in (*op.inputs, *op.results)):
            export_quantized(op, exporter)
            continue
        write = EXPORTS.get(type(op.operator))
        if write is None:
            raise UnsupportedError(f"operator {op.name} has no ONNX form", stage="export", node=op.node)
        write(op, exporter)
    outputs = []
    for name, value in zip(function.result_names, function.results, strict=True):
        inner = exporter.name(value)
        outer = name if name not in exporter._taken or name == inner else exporter.fresh(name)
        exporter._taken.add(outer)
        if outer != inner:
            exporter.nodes.append(onnx.helper.make_node("Identity", [inner], [outer]))
        outputs.append(_info(outer, value.type))
    graph = onnx.helper.make_graph(
        exporter.nodes, module.name, inputs, outputs, initializer=list(exporter.initializers.values())
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(MICROSOFT, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, producer_name="tilewright")
    # onnxruntime releases lag behind onnx in the file version they read.
    model.ir_version = min(model.ir_version, 10)
    return model


def _info(name: str, type: TensorType) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(
        name, onnx.helper.np_dtype_to_tensor_dtype(type.dtype.numpy), list(type.shape)
    )
