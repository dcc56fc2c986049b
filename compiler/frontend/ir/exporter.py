"""Modules to IR documents: what exporters of operators are given to work with, and where they register.

A document of version 11 is made, each operator in the version of the operator set that says what ours means.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tilewright.errors import UnsupportedError
from tilewright.immutable import Immutable

from ....ir.core import Constant, Module, Op, OperatorT, Value
from ....ir.op import Operator
from ....ir.text.literals import digest_of
from ....ir.text.names import Names
from ....ir.types import DType, TensorType
from ..control_flow import hint_of_export, unrolled
from .document import ELEMENT_TYPES, PRECISIONS, Document, Edge, Layer, Port

VERSION = 11
"""Version of the documents that are made."""

Export = Callable[[Op[OperatorT], "IrExporter"], None]

EXPORTS: dict[type[Operator], Export[Any]] = {}
"""Exporters by operator class, filled by the module ``families``."""

_ELEMENT_TYPES = {DType.of(PRECISIONS[precision]): name for name, precision in ELEMENT_TYPES.items()}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def exports(*operators: type[OperatorT]) -> Callable[[Export[OperatorT]], Export[OperatorT]]:
    """Register the exporter of these operator classes."""

    def register(function: Export[OperatorT]) -> Export[OperatorT]:
        EXPORTS.update(dict.fromkeys(operators, function))
        return function

    return register


def exports_as(
    cls: type[Operator],
    type: str,
    *attributes: str,
    opset: int = 1,
    inputs: Mapping[str, str] | None = None,
    **constants: Any,
) -> None:
    """Register the exporter of an operator that is one layer.
    ``attributes``: what IR calls the fields of ``cls``, in order; by default what they are called here.
    ``inputs``: what IR calls those fields that the layer takes as inputs after the operands.
    ``constants``: attributes that the layer has beside the fields."""
    given = inputs or {}
    fields = [field.name for field in dataclasses.fields(cls) if field.name not in given]

    def write(op: Op, exporter: IrExporter) -> None:
        values = {name: getattr(op.operator, field) for name, field in zip(attributes or fields, fields, strict=True)}
        tensors = [exporter.integers(getattr(op.operator, field), name) for field, name in given.items()]
        exporter.write_as(op, type, [*op.inputs, *tensors], opset=opset, **values, **constants)

    exports(cls)(write)


class Tensor(Immutable):
    """An output of a layer."""

    layer: int
    port: int
    type: TensorType


class IrExporter:
    """State of one export.

    The layer whose output is the result of an op has the op's name, which is that of its node in the source model, or
    that of the output of the network if it is one. Further layers of the op are named after it."""

    def __init__(self, module: Module) -> None:
        self.document = Document(xml_text(module.name), VERSION)
        self._function = module.main
        self._tensors: dict[Value, Tensor] = {}
        self._constants: dict[tuple[TensorType, str], Tensor] = {}
        self._layer_names = Names(separator="_")
        self._tensor_names = Names(separator="_")
        self._op_names: dict[Op, str] = {}
        self._result_names: list[str] = []
        self._result_tensors: dict[Value, str] = {}
        self._name = ""
        self._begin = 0

    def run(self) -> None:
        """Export the function."""
        function = self._function
        self._take_names()
        for parameter in function.parameters:
            type = parameter.type
            attributes = {"shape": ",".join(map(str, type.shape)), "element_type": element_type(type.dtype)}
            layer = self._add("Parameter", xml_text(parameter.name), 1, attributes)
            self._tensors[parameter] = self._output(layer, type, parameter.name)
        for op in function.ops:
            self._write(op)
        for value, name in zip(function.results, self._result_names, strict=True):
            self._write_result(value, name)
        self._gather()

    def tensor(self, value: Value | Tensor) -> Tensor:
        """The output that stands for a value; a constant becomes a ``Const``."""
        if isinstance(value, Tensor):
            return value
        if value not in self._tensors and isinstance(value, Constant):
            self._tensors[value] = self._constant(value.array, value.digest, value.name)
        return self._tensors[value]

    def constant(self, array: np.ndarray, name: str = "") -> Tensor:
        """A ``Const``, one for all that are equal."""
        array = np.asarray(array)
        return self._constant(array, digest_of(array), name or f"{self._name}/constant")

    def integers(self, values: Sequence[int] | np.ndarray | int, name: str = "") -> Tensor:
        """A ``Const`` of I64: one dimension for a sequence, a scalar for a number."""
        return self.constant(np.asarray(values, np.int64), name and f"{self._name}/{name}")

    def layer(
        self, type: str, inputs: Sequence[Value | Tensor], result: TensorType, *, opset: int = 1, **attributes: Any
    ) -> Tensor:
        """A layer of one output.
        ``opset``: the operator set whose version of the layer it is.
        ``attributes``: those of ``None`` are left out."""
        return self.layers(type, inputs, [result], opset=opset, **attributes)[0]

    def layers(
        self,
        type: str,
        inputs: Sequence[Value | Tensor],
        results: Sequence[TensorType],
        *,
        opset: int = 1,
        **attributes: Any,
    ) -> list[Tensor]:
        """A layer of several outputs; see :meth:`layer`."""
        sources = [self.tensor(value) for value in inputs]
        present = {key: attribute_text(value) for key, value in attributes.items() if value is not None}
        layer = self._add(type, self._layer_names.take(f"{self._name}/{type}"), opset, present)
        for source in sources:
            port = Port(len(layer.inputs), source.type.shape, precision(source.type.dtype))
            layer.inputs.append(port)
            self.document.edges.append(Edge((source.layer, source.port), (layer.id, port.id)))
        return [self._output(layer, result) for result in results]

    def write_as(
        self, op: Op, type: str, inputs: Sequence[Value | Tensor], *, opset: int = 1, **attributes: Any
    ) -> None:
        """The one layer that ``op`` is, with as many outputs; see :meth:`layer`."""
        results = [value.type for value in op.results]
        self.define(op, *self.layers(type, inputs, results, opset=opset, **attributes))

    def define(self, op: Op, *tensors: Tensor) -> None:
        """Say which outputs are the results of ``op``."""
        for value, tensor in zip(op.results, tensors, strict=True):
            self._tensors[value] = tensor
            port = self._port(tensor)
            name = self._result_tensors.get(value) or self._tensor_names.take(xml_text(value.name))
            port.names = port.names or (name,)
        layer = self.document.layers[tensors[0].layer]
        if layer.id >= self._begin:
            layer.name = self._name

    def identity(self, value: Value | Tensor) -> Tensor:
        """A layer that gives what it is given."""
        tensor = self.tensor(value)
        return self.layer("Convert", [tensor], tensor.type, destination_type=element_type(tensor.type.dtype))

    def _take_names(self) -> None:
        """Names that must be as they are come first, those of nodes next: their last ops have them."""
        function = self._function
        for parameter in function.parameters:
            self._layer_names.take(xml_text(parameter.name))
            self._tensor_names.take(xml_text(parameter.name))
        for value, name in zip(function.results, function.result_names, strict=True):
            op, name = value.producer, xml_text(name)
            is_input = value in function.parameters and name == xml_text(value.name)
            if not is_input:
                name = self._layer_names.take(name)
                self._tensor_names.take(name)
            self._result_names.append(name)
            if op is not None and len(op.results) == 1 and op not in self._op_names:
                self._op_names[op] = self._result_tensors[value] = name
        last = {op.node or op.results[0].name: op for op in function.ops}
        for op in (*last.values(), *function.ops):
            if op not in self._op_names:
                self._op_names[op] = self._layer_names.take(xml_text(op.node or op.results[0].name))

    def _write(self, op: Op) -> None:
        exporter = EXPORTS.get(type(op.operator))
        quantized = next((value for value in (*op.inputs, *op.results) if value.type.quant is not None), None)
        if exporter is None or quantized is not None:
            what = f"operator {op.name}" + ("" if quantized is None else " on quantised tensors")
            hint = hint_of_export(op)
            raise UnsupportedError(f"{what} has no IR form", stage="export", op=op.name, node=op.node, hint=hint)
        self._name, self._begin = self._op_names[op], len(self.document.layers)
        exporter(op, self)

    def _write_result(self, value: Value, name: str) -> None:
        """IR calls an output of the network by the layer that gives it, if that has no other outputs."""
        self._name = name
        tensor = self.tensor(value)
        layer = self.document.layers[tensor.layer]
        if layer.name != name or len(layer.outputs) > 1 or layer.type == "Const":
            tensor = self.identity(tensor)
            self._port(tensor).names = (name,)
            layer = self.document.layers[tensor.layer]
            layer.name = name
        result = self._add("Result", self._layer_names.take(f"{name}/sink_port_0"), 1, {})
        result.inputs.append(Port(0, tensor.type.shape, precision(tensor.type.dtype)))
        self.document.edges.append(Edge((tensor.layer, tensor.port), (result.id, 0)))

    def _constant(self, array: np.ndarray, digest: str, name: str) -> Tensor:
        type = TensorType.of(array)
        if (type, digest) not in self._constants:
            attributes = {"element_type": element_type(type.dtype), "shape": ", ".join(map(str, type.shape))}
            layer = self._add("Const", self._layer_names.take(xml_text(name)), 1, attributes)
            layer.blobs["custom"] = array
            self._constants[type, digest] = self._output(layer, type)
        return self._constants[type, digest]

    def _add(self, type: str, name: str, opset: int, attributes: dict[str, str]) -> Layer:
        layer = Layer(len(self.document.layers), name, type, f"opset{opset}", attributes=attributes)
        self.document.layers[layer.id] = layer
        return layer

    def _output(self, layer: Layer, type: TensorType, name: str = "") -> Tensor:
        """Another output of a layer; ports of IR are counted over inputs and outputs."""
        names = (xml_text(name),) if name else ()
        port = Port(len(layer.inputs) + len(layer.outputs), type.shape, precision(type.dtype), names)
        layer.outputs.append(port)
        return Tensor(layer.id, port.id, type)

    def _port(self, tensor: Tensor) -> Port:
        layer = self.document.layers[tensor.layer]
        return layer.outputs[tensor.port - len(layer.inputs)]

    def _gather(self) -> None:
        """Let the constants be views of one array, as they are in a document that was read."""
        layers = [layer for layer in self.document.layers.values() if layer.blobs]
        places: list[int] = []
        end = 0
        for layer in layers:
            array = layer.blobs["custom"]
            places.append(-(-end // array.itemsize) * array.itemsize)
            end = places[-1] + array.nbytes
        weights = np.zeros(end, np.uint8)
        for layer, place in zip(layers, places, strict=True):
            array = layer.blobs["custom"]
            view = weights[place : place + array.nbytes].view(array.dtype)
            view[:] = array.reshape(-1)
            layer.blobs["custom"] = view
        self.document.weights = weights


def export_document(module: Module) -> Document:
    """The function ``main`` as an IR document of version 11.

    Inputs and outputs of the network keep their names, and layers have those of the nodes that they come from."""
    exporter = IrExporter(unrolled(module))
    exporter.run()
    exporter.document.images = module.metadata.get("images", "")
    return exporter.document


def precision(dtype: DType) -> str:
    """What ports call an element type."""
    return ELEMENT_TYPES[element_type(dtype)]


def element_type(dtype: DType) -> str:
    """What attributes call an element type."""
    return _ELEMENT_TYPES[dtype]


def attribute_text(value: Any) -> str:
    """An attribute as files spell it: truth values as words, lists with commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    return ", ".join(map(attribute_text, value))


def xml_text(text: str) -> str:
    """A name without the characters that XML has no form for."""
    return _NOT_IN_XML.sub("_", text)
