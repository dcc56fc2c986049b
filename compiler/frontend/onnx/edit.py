"""Other networks made of a model before it is imported: for inputs of other sizes, of its first layers alone, or with
every tensor that it computes returned, for other runtimes to be looked at.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import ModelProto
from onnx.external_data_helper import load_external_data_for_model

from tilewright.errors import ModelError, UsageError, resources
from tilewright.immutable import Immutable

from .large_models import serialized
from .node_order import sorted_nodes
from .reader import extents, load_model
from .tensor_roles import add_outputs
from .tensors import element_type, inputs_of

_NO_LAYERS = frozenset({"Constant", "Identity", "QuantizeLinear", "DequantizeLinear"})

DeclaredInput = tuple[str, str, "tuple[int | None, ...] | None"]
"""Name, element type and shape, in which an open extent is None; None instead of it where the rank is open."""


@resources("import")
def declared_inputs(source: str | os.PathLike[str] | bytes | ModelProto) -> list[DeclaredInput]:
    """The inputs that a model is to be given, in its order.
    Raises ModelError: the model cannot be read; UnsupportedError: an input is of a type that is not supported."""
    return [_declared(info) for info in inputs_of(load_model(source)[0].graph)]


def _declared(info: onnx.ValueInfoProto) -> DeclaredInput:
    tensor = info.type.tensor_type
    dtype = element_type(tensor.elem_type, info.name).value
    shape = tuple(each if isinstance(each, int) else None for each in extents(tensor))
    return info.name, dtype, shape if tensor.HasField("shape") else None


@resources("import")
def edited(
    source: str | os.PathLike[str] | bytes | ModelProto,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    layers: int | None = None,
    without_last: int = 0,
) -> bytes:
    """The contents of a model with inputs of these shapes, whatever it declares, cut off after so many layers.

    A layer is a node that computes something of the inputs; constants, copies and changes between floating point and
    integers are none. What the last layer computes are the outputs then.
    ``layers``: how many there are to be at most.
    ``without_last``: how many at the end there are not to be.
    Raises ModelError: the model cannot be read; UsageError: no layer would be left."""
    model = ModelProto()
    model.CopyFrom(load_model(source)[0])
    for info in model.graph.input:
        if info.name in (input_shapes or {}):
            shape = onnx.TensorShapeProto(
                dim=[onnx.TensorShapeProto.Dimension(dim_value=extent) for extent in (input_shapes or {})[info.name]]
            )
            info.type.tensor_type.shape.CopyFrom(shape)
    # They are those of the inputs as they were.
    del model.graph.value_info[:]
    if layers is not None or without_last:
        _cut(model.graph, layers, without_last)
    return serialized(model, "import")


def _cut(graph: onnx.GraphProto, layers: int | None, without_last: int) -> None:
    known = {tensor.name for tensor in graph.initializer}
    nodes = sorted_nodes(graph, known)
    found: list[onnx.NodeProto] = []
    computed = {info.name for info in graph.input} - known
    for node in nodes:
        if computed.intersection(node.input):
            computed.update(node.output)
            if node.op_type not in _NO_LAYERS:
                found.append(node)
    count = len(found) - without_last
    count = count if layers is None else min(layers, count)
    if count < 1:
        raise UsageError("no layer is left", expected=f"fewer than {len(found)} removed", found=without_last)
    if count == len(found):
        return
    last = found[count - 1]
    end = next(index for index, node in enumerate(nodes) if node is last) + 1
    read = {name for node in graph.node for name in node.input} | {info.name for info in graph.output}
    names = [name for name in last.output if name in read]
    if not names:
        raise ModelError("nothing reads the layer that is to be the last", stage="import", node=last.name)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes[:end]]
    del graph.node[:], graph.output[:]
    graph.node.extend(kept)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)


_SCALES: dict[str, int] = dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), 1)
_SCALES |= dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), 6)
_SCALES |= dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"), 3)
_SCALES |= dict.fromkeys(("QLinearGlobalAveragePool", "QLinearAveragePool"), 3) | {"QLinearConcat": 0, "QGemm": 7}
"""The input that is the scale of the result, with its zero point behind it, of operators whose results are integers or
stand for some."""

_PASSED_ON = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Gather")
"""Operators whose results are elements of their first input, whatever integers stand for."""


class ComputedTensor(Immutable):
    """A tensor that a node of the main graph computes.
    ``op_type``, ``node``: of the node; "" where it has no name.
    ``inputs``: the tensors that it reads which are no constants.
    ``scale``, ``zero_point``: of the integers that it holds or stands for, one or one for each index along ``axis``;
    ``None`` for all other tensors."""

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

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The elements that stand for numbers."""
        if self.scale is None or self.zero_point is None:
            return array
        shape = [-1 if d == self.axis % array.ndim else 1 for d in range(array.ndim)] if self.scale.size > 1 else ()
        return np.rint(array / self.scale.reshape(shape)) + self.zero_point.astype(np.int32).reshape(shape)


def with_every_tensor(path: str | os.PathLike[str]) -> tuple[ModelProto, list[str], list[ComputedTensor]]:
    """The model, the names of its own outputs, and its tensors in order."""
    model, _ = load_model(path)
    load_external_data_for_model(model, os.path.dirname(path) or ".")
    outputs = [output.name for output in model.graph.output]
    maps = {node.output[0] for node in model.graph.node if node.op_type == "ZipMap"}
    for node in model.graph.node:
        if node.op_type == "ZipMap":
            # Its columns, as the import has them, and not a dictionary for each row.
            node.CopyFrom(onnx.helper.make_node("Identity", node.input, node.output, node.name))
    for output in model.graph.output:
        if output.name in maps:
            output.ClearField("type")
    tensors = list(_tensors(model.graph))
    add_outputs(model, [each.name for each in tensors if each.name not in outputs])
    return model, outputs, tensors


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
