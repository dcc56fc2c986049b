"""Module to ONNX: to look at a network in other tools, and to let other runtimes run what we run."""

from collections.abc import Mapping, Sequence

import onnx
import onnx.defs
import onnx.helper

from ....ir.annotations import EXTENTS
from ....ir.core import Function, Module
from ....ir.types import TensorType
from ..control_flow import unrolled
from .exporter import MICROSOFT, OTHERS, Exporter
from .families import EXPORTS
from .reader import IMAGES

OPSET = 20
"""Version of the standard operator set that is written, unless an operator is newer. With 21 onnxruntime does not load
what quantises activations as signed bytes and moves them: what it adds beside a movement contradicts itself.
"""

_NEWER = 21
"""Version of what has words, integers of 4 bits, blocks, and the groups of GroupNormalization channel by channel."""


def export_onnx(module: Module, *, is_qdq: bool = False) -> onnx.ModelProto:
    """The function ``main`` as an ONNX model; fused operators become several nodes.
    ``is_qdq``: operators on quantised tensors become those on real numbers between DequantizeLinear and QuantizeLinear,
    instead of QLinear operators where there are such."""
    module = unrolled(module)
    function = module.main
    exporter = Exporter(EXPORTS, function, is_qdq)
    inputs = [_info(exporter.name(p), p.type, p.type.shape) for p in function.parameters]
    for op in function.ops:
        exporter.write(op)
    outputs = _outputs(function, exporter)
    graph = onnx.helper.make_graph(exporter.nodes, module.name, inputs, outputs)
    for tensor in exporter.initializers.values():
        # What is appended is a message on its way, and none holds a tensor of 2 GiB.
        graph.initializer.add().CopyFrom(tensor)
    types = {name: tensor.data_type for name, tensor in exporter.initializers.items()}
    types |= {info.name: info.type.tensor_type.elem_type for info in inputs}
    version = max([OPSET, *(_first_version(node, types) for node in exporter.nodes if not node.domain)])
    opsets = [onnx.helper.make_opsetid("", version), onnx.helper.make_opsetid(MICROSOFT, 1)]
    used = {node.domain for node in exporter.nodes}
    opsets += [onnx.helper.make_opsetid(domain, number) for domain, number in OTHERS.items() if domain in used]
    model = onnx.helper.make_model(graph, opset_imports=opsets, producer_name="tilewright")
    # onnxruntime releases lag behind onnx in the file version they read.
    model.ir_version = min(model.ir_version, 10)
    if images := module.metadata.get("images"):
        model.metadata_props.add(key=IMAGES, value=images)
    return model


def _first_version(node: onnx.NodeProto, types: Mapping[str, int]) -> int:
    """The first version of the standard operator set that has the operator with its attributes and operands, of these
    types by name, from `OPSET` on. Some operators that onnxruntime adds to the standard domain are in none."""
    if not onnx.defs.has(node.op_type):
        return OPSET
    if not onnx.defs.has(node.op_type, OPSET):
        return onnx.defs.get_schema(node.op_type).since_version
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    operands = ((schema.inputs[min(at, len(schema.inputs) - 1)], name) for at, name in enumerate(node.input))
    is_known = all(
        f"tensor({onnx.TensorProto.DataType.Name(types[name]).lower()})" in formal.types
        for formal, name in operands
        if name in types
    )
    is_known &= all(each.name in schema.attributes for each in node.attribute)
    return OPSET if is_known and node.op_type != "GroupNormalization" else _NEWER


def _outputs(function: Function, exporter: Exporter) -> list[onnx.ValueInfoProto]:
    """The results that users see, those of open extents cut to them."""
    extents = EXTENTS.get(function) or ()
    counts = {each.said_by for each in extents}
    outputs: list[onnx.ValueInfoProto] = []
    for index, (value, name) in enumerate(zip(function.results, function.result_names, strict=True)):
        axes = {each.axis: function.results[each.said_by] for each in extents if each.result == index}
        if index in counts:
            continue
        shape: list[int | str] = list(value.type.shape)
        if not axes:
            outputs.append(_info(exporter.output(value, name), value.type, shape))
            continue
        starts = exporter.integers([0] * len(axes), "starts")
        ends = [exporter.node("Reshape", [count, exporter.integers([1], "line")]) for count in axes.values()]
        bounds = [starts, exporter.node("Concat", ends, axis=0), exporter.integers(list(axes), "axes")]
        cut = exporter.node("Slice", [value, *bounds])
        for axis, count in axes.items():
            shape[axis] = exporter.name(count)
        outputs.append(_info(exporter.renamed(cut, name), value.type, shape))
    return outputs


def _info(name: str, type: TensorType, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(type.dtype.numpy), shape)
