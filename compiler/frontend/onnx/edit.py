"""Other networks made of a model before it is imported: for inputs of other sizes, or of its first layers alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import onnx
from onnx import ModelProto

from tilewright.errors import ModelError, UsageError, resources

from .node_order import sorted_nodes
from .reader import extents, load_model
from .tensors import element_type

_NO_LAYERS = frozenset({"Constant", "Identity", "QuantizeLinear", "DequantizeLinear"})

DeclaredInput = tuple[str, str, "tuple[int | None, ...] | None"]
"""Name, element type and shape, in which an open extent is None; None instead of it where the rank is open."""


@resources("import")
def declared_inputs(source: str | os.PathLike[str] | bytes | ModelProto) -> list[DeclaredInput]:
    """The inputs that a model is to be given, in its order.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedError: an input is of a type that is not supported.
    """
    graph = load_model(source)[0].graph
    initialised = {tensor.name for tensor in graph.initializer}
    return [_declared(info) for info in graph.input if info.name not in initialised]


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

    Args:
        layers: how many there are to be at most.
        without_last: how many at the end there are not to be.

    Raises:
        ModelError: the model cannot be read.
        UsageError: no layer would be left.
    """
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
    return model.SerializeToString()


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
