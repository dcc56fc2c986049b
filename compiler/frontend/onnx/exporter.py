"""What exporters of operators to ONNX are given to work with, and where they register."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tilewright.errors import UnsupportedError

from ....ir.core import Constant, Op, OperatorT, Value
from ....ir.names import Names
from ....ir.op import Operator, QuantizationRule
from ....ir.types import DType, TensorType

MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators, used for integer operators that the standard lacks."""

Export = Callable[[Op[OperatorT], "Exporter"], None]

Exports = Mapping[tuple[type[Operator], bool], Export[Any]]
EXPORTS: dict[tuple[type[Operator], bool], Export[Any]] = {}
"""Exporters by operator class and whether tensors are quantised, filled by the module ``families``."""

_ON_INTEGERS = (QuantizationRule.PRESERVE, QuantizationRule.UNIFY, QuantizationRule.CONVERT)
"""Rules of operators that are written in the same way for quantised tensors."""


def exports(*operators: type[OperatorT], quantized: bool = False) -> Callable[[Export[OperatorT]], Export[OperatorT]]:
    """Register the exporter of these operator classes; with ``quantized``, of their form on quantised tensors."""

    def register(function: Export[OperatorT]) -> Export[OperatorT]:
        EXPORTS.update(((cls, quantized), function) for cls in operators)
        return function

    return register


class Exporter:
    """State of one export. Tensors are named by ONNX name (a string) or by the value that they stand for."""

    def __init__(self, exporters: Exports) -> None:
        self.exporters = exporters
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._names: dict[Value, str] = {}
        self._taken = Names(separator="_")

    def write(self, op: Op) -> None:
        """Write an op as nodes; one on quantised tensors that ONNX has in floating point only, between conversions.

        Raises:
            UnsupportedError: the operator has no ONNX form.
        """
        cls = type(op.operator)
        quantized = any(value.type.quant is not None for value in (*op.inputs, *op.results))
        plain = self.exporters.get((cls, False))
        form = self.exporters.get((cls, True)) if quantized else plain
        if form is not None:
            form(op, self)
        elif plain is None:
            raise UnsupportedError(f"operator {op.name} has no ONNX form", stage="export", node=op.node)
        elif cls.QUANTIZATION in _ON_INTEGERS:
            plain(op, self)
        else:
            self._write_between_conversions(op, plain)

    def _write_between_conversions(self, op: Op, write: Export) -> None:
        """The float form of ``op``, with operands dequantised before it and results quantised after it."""
        floats: list[Value | None] = []
        for value in op.operands:
            if value is None or value.type.quant is None:
                floats.append(value)
                continue
            inner = Value(value.name, TensorType(value.type.shape, DType.F32))
            self.bind(inner, self.dequantize(value))
            floats.append(inner)
        types = [TensorType(value.type.shape, DType.F32) for value in op.results]
        detached = Op(op.operator, floats, types, loc=op.loc)
        write(detached, self)
        pairs = zip(detached.results, op.results, strict=True)
        self.define(op, *(self.quantize(inner, outer.type) for inner, outer in pairs))

    def name(self, value: Value) -> str:
        """ONNX name of a value; a constant becomes an initialiser."""
        if value not in self._names:
            self._names[value] = self._taken.take(value.name)
            if isinstance(value, Constant):
                name = self._names[value]
                self.initializers[name] = onnx.numpy_helper.from_array(np.asarray(value.array, order="C"), name)
        return self._names[value]

    def constant(self, array: np.ndarray, hint: str = "constant") -> str:
        """A new initialiser; its name."""
        name = self._taken.take(hint)
        self.initializers[name] = onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def integers(self, values: Sequence[int], hint: str) -> str:
        """A new initialiser of int64, such as axes or a shape; its name."""
        return self.constant(np.asarray(values, np.int64), hint)

    def _node(
        self, op_type: str, inputs: Sequence[Value | str | None], outputs: int, domain: str, attributes: dict[str, Any]
    ) -> list[str]:
        names = [i if isinstance(i, str) else self.name(i) if i is not None else "" for i in inputs]
        while names and not names[-1]:
            names.pop()
        results = [self._taken.take(op_type.lower()) for _ in range(outputs)]
        present = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(
            onnx.helper.make_node(
                op_type, names, results, name=self._taken.take(f"{op_type}_node"), domain=domain, **present
            )
        )
        return results

    def node(self, op_type: str, inputs: Sequence[Value | str | None], domain: str = "", **attributes: Any) -> str:
        """Write a node of one output; its name. Attributes of ``None`` are left out."""
        return self._node(op_type, inputs, 1, domain, attributes)[0]

    def write_as(
        self, op: Op, op_type: str, inputs: Sequence[Value | str | None], domain: str = "", **attributes: Any
    ) -> None:
        """Write the one node, with as many outputs, that ``op`` is."""
        self.define(op, *self._node(op_type, inputs, len(op.results), domain, attributes))

    def define(self, op: Op, *names: str) -> None:
        """Say which tensors are the results of ``op``."""
        for value, name in zip(op.results, names, strict=True):
            self._names[value] = name

    def bind(self, value: Value, name: str) -> None:
        """Say which tensor a value is."""
        self._names[value] = name

    def output(self, value: Value, name: str) -> str:
        """Give a result of the network a tensor of its own, called ``name`` if that is free; its name."""
        inner = self.name(value)
        if name == inner:
            return inner
        outer = self._taken.take(name)
        self.nodes.append(onnx.helper.make_node("Identity", [inner], [outer]))
        return outer

    def parameters(self, type: TensorType) -> tuple[str, str]:
        """Initialisers with scale and zero point of a quantised type, scalars or one for each channel; their names."""
        assert type.quant is not None
        scale = np.asarray(type.quant.scale, np.float32)
        zero = np.asarray(type.quant.zero_point, type.dtype.numpy)
        if type.quant.axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        return self.constant(scale, "scale"), self.constant(zero, "zero_point")

    def with_parameters(self, value: Value) -> list[Value | str]:
        """A quantised tensor as nodes take it: stored integers, scale, zero point."""
        return [value, *self.parameters(value.type)]

    def quantize(self, x: Value | str, type: TensorType) -> str:
        """Write the conversion of real numbers to a quantised type; the name of the result."""
        axis = type.quant.axis if type.quant is not None else None
        return self.node("QuantizeLinear", [x, *self.parameters(type)], axis=axis)

    def dequantize(self, x: Value) -> str:
        """Write the conversion of a quantised tensor to real numbers; the name of the result."""
        axis = x.type.quant.axis if x.type.quant is not None else None
        return self.node("DequantizeLinear", self.with_parameters(x), axis=axis)
