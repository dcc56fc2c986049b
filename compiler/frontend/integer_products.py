"""ConvInteger and MatMulInteger of ONNX."""

from __future__ import annotations

from ...ir.core import Op, Value
from ...ir.ops.integer_products import ConvInteger, MatMulInteger
from .convolution import convolution
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports


@imports("ConvInteger")
def import_conv_integer(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    return importer.emit_one(convolution(node, ConvInteger, x, w), x, w, node.optional(2), node.optional(3))


@exports(ConvInteger)
def export_conv_integer(op: Op, exporter: Exporter) -> None:
    conv = op.operator
    assert isinstance(conv, ConvInteger)
    y = exporter.node(
        "ConvInteger",
        op.operands,
        strides=conv.strides,
        pads=conv.pads,
        dilations=conv.dilations,
        group=conv.group,
    )
    exporter.define(op, y)


@imports("MatMulInteger")
def import_matmul_integer(node: Node, importer: Importer) -> Value:
    operands = (node.input(0), node.input(1), node.optional(2), node.optional(3))
    return importer.emit_one(MatMulInteger(), *operands)


@exports(MatMulInteger)
def export_matmul_integer(op: Op, exporter: Exporter) -> None:
    exporter.define(op, exporter.node("MatMulInteger", op.operands))
