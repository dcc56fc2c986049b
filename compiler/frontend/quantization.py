"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear of ONNX, and the typed forms written with them."""

from __future__ import annotations

import onnx

from ...ir.core import Op, Value
from ...ir.ops.quantization import (
    AssumeQuantized,
    Dequantize,
    DequantizeLinear,
    DynamicQuantizeLinear,
    Quantize,
    QuantizeLinear,
    Requantize,
    StoredIntegers,
)
from ...ir.types import DType
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, element_type, imports
from .shape import normalize_axis


def quantized_axis(node: Node, x: Value, scale: Value) -> int | None:
    """The dimension that the scales run along, ``None`` where there is one for the whole tensor."""
    if node.int("block_size", 0):
        raise node.unsupported("scales of blocks are not supported", found=f"block_size {node.int('block_size')}")
    # The axis means nothing for a single scale, and files hold any number there.
    if scale.type.elements == 1 or not x.type.rank:
        return None
    return normalize_axis(node, node.int("axis", 1), x.type.rank)


@imports("QuantizeLinear")
def import_quantize_linear(node: Node, importer: Importer) -> Value:
    x, scale, zero = node.input(0), node.input(1), node.optional(2)
    axis = quantized_axis(node, x, scale)
    if zero is not None:
        to = zero.type.dtype
    else:
        code = node.int("output_dtype", 0)
        to = element_type(code, node.name) if code else DType.U8
    return importer.emit_one(QuantizeLinear(to, axis), x, scale, zero)


@exports(QuantizeLinear)
def export_quantize_linear(op: Op, exporter: Exporter) -> None:
    quantize = op.operator
    assert isinstance(quantize, QuantizeLinear)
    has_zero = len(op.inputs) == 3
    code = onnx.helper.np_dtype_to_tensor_dtype(quantize.to.numpy)
    y = exporter.node("QuantizeLinear", op.operands, axis=quantize.axis, output_dtype=None if has_zero else code)
    exporter.define(op, y)


@imports("DequantizeLinear")
def import_dequantize_linear(node: Node, importer: Importer) -> Value:
    """Never folded here: passes read the scales of weights from the op."""
    x, scale, zero = node.input(0), node.input(1), node.optional(2)
    axis = quantized_axis(node, x, scale)
    return importer.emit_one(DequantizeLinear(axis), x, scale, zero, fold=False)


@exports(DequantizeLinear)
def export_dequantize_linear(op: Op, exporter: Exporter) -> None:
    dequantize = op.operator
    assert isinstance(dequantize, DequantizeLinear)
    exporter.define(op, exporter.node("DequantizeLinear", op.operands, axis=dequantize.axis))


@imports("DynamicQuantizeLinear")
def import_dynamic_quantize_linear(node: Node, importer: Importer) -> list[Value]:
    return list(importer.emit(DynamicQuantizeLinear(), node.input(0)))


@exports(DynamicQuantizeLinear)
def export_dynamic_quantize_linear(op: Op, exporter: Exporter) -> None:
    exporter.define(op, *exporter.nodes_of("DynamicQuantizeLinear", op.operands, 3))


@exports(Quantize)
def export_quantize(op: Op, exporter: Exporter) -> None:
    exporter.define(op, exporter.quantize(op.inputs[0], op.result.type))


@exports(Dequantize)
def export_dequantize(op: Op, exporter: Exporter) -> None:
    exporter.define(op, exporter.dequantize(op.inputs[0]))


@exports(Requantize)
def export_requantize(op: Op, exporter: Exporter) -> None:
    real = exporter.dequantize(op.inputs[0])
    exporter.define(op, exporter.quantize(real, op.result.type))


@exports(AssumeQuantized, StoredIntegers)
def export_same_bits(op: Op, exporter: Exporter) -> None:
    exporter.define(op, exporter.name(op.inputs[0]))
