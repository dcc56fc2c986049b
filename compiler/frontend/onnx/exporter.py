"""What exporters of operators to ONNX are given to work with, and where they register."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tilewright.errors import UnsupportedError

from ....ir.annotations import EXTENTS
from ....ir.core import Constant, Function, Op, OperatorT, Value, is_op, types_of
from ....ir.op import Operator, QuantizationRule
from ....ir.ops.convolution import Conv
from ....ir.ops.matmul import MatMul
from ....ir.ops.quantization import Dequantize, Requantize
from ....ir.quantized import is_redundant, is_wide
from ....ir.text.names import Names
from ....ir.types import DType, Quantization, TensorType
from ..control_flow import hint_of_export

MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators, used for integer operators that the standard lacks."""

OPENVINO = "org.openvinotoolkit"
"""Domain of the operators that OpenVINO's converter keeps in ONNX models, used for those of detection."""

MACHINE_LEARNING = "ai.onnx.ml"
"""Domain of decision trees and linear models."""

OTHERS = {OPENVINO: 1, MACHINE_LEARNING: 3}
"""Versions of the domains that a file names where it uses them."""

Export = Callable[[Op[OperatorT], "Exporter"], None]

Exports = Mapping[tuple[type[Operator], bool], Export[Any]]
EXPORTS: dict[tuple[type[Operator], bool], Export[Any]] = {}
"""Exporters by operator class and whether tensors are quantised, filled by the module ``families``."""

_ON_INTEGERS = (QuantizationRule.PRESERVE, QuantizationRule.UNIFY, QuantizationRule.CONVERT)
"""Rules of operators that are written in the same way for quantised tensors, unless between conversions."""

_BEFORE, _INTEGERS, _AFTER = "_QuantizeLinear_Input", "_QuantizeLinear_Output", "_DequantizeLinear_Output"
"""What onnxruntime's quantiser adds to the name of a tensor before its conversions, between and after them: tools find
tensors by that. The first is for outputs of the network, whose name the tensor after them has.
"""


_ROUNDED = ("Conv", "ConvTranspose", "Gemm")
"""Operators whose real constant weights onnxruntime rounds to 8 bits unasked, where DequantizeLinear makes what they
read. A sum of that alone in front of them is the same number, and no optimiser of it sees through that."""


def exports(*operators: type[OperatorT], quantized: bool = False) -> Callable[[Export[OperatorT]], Export[OperatorT]]:
    """Register the exporter of these operator classes; with ``quantized``, of their form on quantised tensors."""

    def register(function: Export[OperatorT]) -> Export[OperatorT]:
        EXPORTS.update(((cls, quantized), function) for cls in operators)
        return function

    return register


class Exporter:
    """State of one export. Tensors are named by ONNX name (a string) or by the value that they stand for.
    ``function``: what is exported; its parameters and results keep their names.
    ``is_qdq``: what computes with quantised tensors is written in floating point, between conversions."""

    def __init__(self, exporters: Exports, function: Function, is_qdq: bool) -> None:
        self.exporters = exporters
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._is_qdq = is_qdq
        self._defined = 0
        self._node_name = ""
        self._node_names = Names(separator="_")
        self._names: dict[Value, str] = {}
        self._bases: dict[Value, str] = {}
        self._reals: dict[tuple[Value, TensorType], str] = {}
        self._parameters: dict[tuple[str, TensorType], tuple[str, str]] = {}
        self._tensors = Names(separator="_")
        self._sources = {value.origin for op in function.ops for value in op.results}
        inputs = {self.name(parameter) for parameter in function.parameters}
        results = zip(function.results, function.result_names, strict=True)
        self._outputs = {self._tensors.take(name): value for value, name in results if name not in inputs}
        cut = {function.results[each.result] for each in EXTENTS.get(function) or ()}
        self._output_names = {value: name for name, value in self._outputs.items() if value not in cut}

    def write(self, op: Op) -> None:
        """Write an op as nodes; one on quantised tensors as ONNX has it for integers, or between conversions.
        Raises UnsupportedError: the operator has no ONNX form."""
        cls, rule = type(op.operator), op.operator.QUANTIZATION
        self._node_name = op.node or ""
        quantized = any(value.type.quant is not None for value in (*op.inputs, *op.results))
        plain, integer = self.exporters.get((cls, False)), self.exporters.get((cls, True))
        if self._is_qdq and is_op(op, Requantize) and all(map(_unifies, op.result.users)) and not op.result.is_returned:
            return
        # Operators on integers are of 8 bits, as onnxruntime has them.
        has_none = is_wide(*types_of((*op.inputs, *op.results)))
        is_between = quantized and (self._is_qdq or has_none) and rule is not QuantizationRule.CONVERT
        if quantized and integer is not None and not is_between:
            integer(op, self)
        elif plain is None:
            hint = hint_of_export(op)
            raise UnsupportedError(f"operator {op.name} has no ONNX form", stage="export", node=op.node, hint=hint)
        elif not is_between and (not quantized or rule in _ON_INTEGERS):
            plain(op, self)
        else:
            self.write_between_conversions(op, plain)

    def write_between_conversions(self, op: Op, write: Export) -> None:
        """The float form of ``op``, with operands dequantised before it and results quantised after it.

        An activation that saturation does already is left out: runtimes recognise what remains."""
        operator = op.operator
        if isinstance(operator, (Conv, MatMul)):
            type = op.result.type
            if type.quant is not None and is_redundant(type, operator.act, operator.act_args):
                operator = replace(operator, act="none", act_args=())
        types = [value.type if value.type.quant is None else value.type.with_dtype(DType.F32) for value in op.results]
        names = [f"{value.name}{_BEFORE if value.name in self._outputs else ''}" for value in op.results]
        operands = [self._real(op, value) for value in op.operands]
        detached = Op(operator, operands, types, names=names if self._is_qdq else (), loc=op.loc)
        for inner, outer in zip(detached.results, op.results, strict=True):
            inner.origin = outer.origin
        write(detached, self)
        for inner, outer in zip(detached.results, op.results, strict=True):
            if outer.type.quant is None:
                self._names[outer] = self.name(inner)
            else:
                self.quantize(inner, outer)

    def _real(self, op: Op, value: Value | None) -> Value | None:
        """An operand of ``op`` in real numbers."""
        if value is None:
            return None
        if self._is_qdq and _unifies(op) and is_op(value.producer, Requantize):
            # The conversion of the result does as much.
            value = value.producer.operands.x
        type = value.type
        if type.quant is None and type.dtype is DType.I32 and op.operator.QUANTIZATION is QuantizationRule.ACCUMULATE:
            # A bias, which is at the scale of the accumulators.
            x, w = (operand.type.quant for operand in op.inputs[:2])
            assert x is not None and w is not None
            scales = np.float32(x.scale[0]) * np.asarray(w.scale, np.float32)
            quant = Quantization.per_tensor(scales[0]) if w.axis is None else Quantization.per_channel(scales, 0)
            type = type.with_quant(quant)
            if isinstance(value, Constant) and value not in self._names:
                self._names[value] = self.constant(value.array, f"{value.base}_quantized")
        if type.quant is None:
            return value
        inner = Value(value.name, type.with_dtype(DType.F32))
        self._names[inner] = self.dequantize(value, type)
        return inner

    def name(self, value: Value) -> str:
        """ONNX name of a value; a constant becomes an initialiser."""
        if value not in self._names and isinstance(value, Constant):
            suffix = "_quantized" if value.type.quant is not None else ""
            self._names[value] = self.constant(value.array, f"{value.base}{suffix}")
        elif value not in self._names:
            self._names[value] = self._tensors.take(self._title(value))
        return self._names[value]

    def _title(self, value: Value) -> str:
        """The name of a value; one that passes made does not have that of a tensor of the source."""
        op = value.producer
        if op is None or value.origin is not None or value.name not in self._sources:
            return value.name
        return f"{value.name}_{op.name}"

    def constant(self, array: np.ndarray, hint: str = "constant") -> str:
        """A new initialiser; its name."""
        name = self._tensors.take(hint, self._sources)
        self.initializers[name] = onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def integers(self, values: Sequence[int] | np.ndarray, hint: str) -> str:
        """A new initialiser of int64, such as axes or a shape; its name."""
        return self.constant(np.asarray(values, np.int64), hint)

    def nodes_of(
        self, op_type: str, inputs: Sequence[Value | str | None], outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Write a node of several outputs; their names. Attributes of ``None`` are left out."""
        names = [i if isinstance(i, str) else self.name(i) if i is not None else "" for i in inputs]
        while names and not names[-1]:
            names.pop()
        if op_type in _ROUNDED and names[1] in self.initializers and names[0] in self._reals.values():
            alone = self._tensors.take("sum", self._sources)
            self.nodes.append(onnx.helper.make_node("Sum", [names[0]], [alone]))
            names[0] = alone
        results = [self._tensors.take(op_type.lower(), self._sources) for _ in range(outputs)]
        present = {key: value for key, value in attributes.items() if value is not None}
        name = self._node_names.take(self._node_name or op_type)
        self.nodes.append(onnx.helper.make_node(op_type, names, results, name=name, domain=domain, **present))
        return results

    def node(self, op_type: str, inputs: Sequence[Value | str | None], domain: str = "", **attributes: Any) -> str:
        """Write a node of one output; its name. Attributes of ``None`` are left out."""
        return self.nodes_of(op_type, inputs, 1, domain, **attributes)[0]

    def write_as(
        self, op: Op, op_type: str, inputs: Sequence[Value | str | None], domain: str = "", **attributes: Any
    ) -> None:
        """Write the one node, with as many outputs, that ``op`` is."""
        self.define(op, *self.nodes_of(op_type, inputs, len(op.results), domain, **attributes))

    def define(self, op: Op, *names: str) -> None:
        """Say which tensors are the results of ``op``; those of the node just written take the names of the values."""
        outputs = self.nodes[-1].output if len(self.nodes) > self._defined else []
        self._defined = len(self.nodes)
        for value, name in zip(op.results, names, strict=True):
            self._names[value] = name
            if name in outputs:
                self._names[value] = self._output_names.get(value) or self._tensors.take(self._title(value))
                outputs[list(outputs).index(name)] = self._names[value]

    def output(self, value: Value, name: str) -> str:
        """Give a result of the network a tensor of its own, called ``name`` if that is free; its name."""
        inner = self.name(value)
        return inner if name == inner else self.renamed(inner, name)

    def renamed(self, inner: str, name: str) -> str:
        """A tensor as one of its own, called ``name`` if that is free; its name."""
        outer = name if name in self._outputs else self._tensors.take(name)
        self.nodes.append(onnx.helper.make_node("Identity", [inner], [outer]))
        return outer

    def _base(self, value: Value) -> str:
        """What names of a quantised tensor begin with."""
        return self._bases.get(value, value.base if isinstance(value, Constant) else value.name)

    def parameters(self, value: Value, type: TensorType | None = None) -> tuple[str, str]:
        """Initialisers with scale and zero point of a quantised tensor, scalars or one for each channel; their names.
        ``type``: how it is quantised, if not as its own type says."""
        type, base = type or value.type, self._base(value)
        assert type.quant is not None
        if (base, type) not in self._parameters:
            scale = np.asarray(type.quant.scale, np.float32)
            zero = np.asarray(type.quant.zero_point, type.dtype.numpy)
            if type.quant.axis is None:
                scale, zero = scale.reshape(()), zero.reshape(())
            names = self.constant(scale, f"{base}_scale"), self.constant(zero, f"{base}_zero_point")
            self._parameters[base, type] = names
        return self._parameters[base, type]

    def with_parameters(self, value: Value) -> list[Value | str]:
        """A quantised tensor as nodes take it: stored integers, scale, zero point."""
        return [value, *self.parameters(value)]

    def quantize(self, x: Value | str, value: Value) -> None:
        """Write the conversion of real numbers that makes a quantised value."""
        base = value.name
        if self._is_qdq and isinstance(x, Value):
            base = self._bases[value] = self.name(x).removesuffix(_BEFORE)
        title = f"{base}{_INTEGERS}" if self._is_qdq else base
        self._names[value] = self._output_names.get(value) or self._tensors.take(title)
        self._convert("QuantizeLinear", x, self._names[value], self.parameters(value), value.type)

    def dequantize(self, x: Value, type: TensorType | None = None) -> str:
        """Write the conversion of a tensor, quantised as ``type`` says, to real numbers once; the name of the result.

        That is an output of the network if one is the same."""
        key = x, type or x.type
        if key not in self._reals:
            base = self._base(x)
            results = [self._output_names.get(user.result) for user in x.users if is_op(user, Dequantize)]
            self._reals[key] = next(filter(None, results), None) or self._tensors.take(f"{base}{_AFTER}")
            self._convert("DequantizeLinear", x, self._reals[key], self.parameters(x, type), key[1])
        return self._reals[key]

    def _convert(self, op_type: str, x: Value | str, result: str, parameters: Sequence[str], type: TensorType) -> None:
        assert type.quant is not None
        source = x if isinstance(x, str) else self.name(x)
        suffix = _INTEGERS if op_type == "QuantizeLinear" else _AFTER
        name = self._node_names.take(f"{result.removesuffix(suffix)}_{op_type}")
        node = onnx.helper.make_node(op_type, [source, *parameters], [result], name=name)
        if type.quant.axis is not None:
            node.attribute.append(onnx.helper.make_attribute("axis", type.quant.axis))
        self.nodes.append(node)
        self._defined = len(self.nodes)


def _unifies(op: Op) -> bool:
    return op.operator.QUANTIZATION is QuantizationRule.UNIFY
