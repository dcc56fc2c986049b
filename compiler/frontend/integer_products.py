"""ConvInteger, MatMulInteger, QLinearConv and QLinearMatMul of ONNX."""

from __future__ import annotations

from ...ir.core import Op, Value
from ...ir.ops.integer_products import ConvInteger, IntegerConvolution, MatMulInteger, QLinearConv, QLinearMatMul
from .convolution import convolution
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports


@imports("ConvInteger")
def import_conv_integer(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    return importer.emit_one(convolution(node, ConvInteger, x, w), x, w, node.optional(2), node.optional(3))


@imports("QLinearConv")
def import_qlinear_conv(node: Node, importer: Importer) -> Value:
    operands = [node.input(i) for i in range(8)]
    operator = convolution(node, QLinearConv, operands[0], operands[3])
    return importer.emit_one(operator, *operands, node.optional(8))


@exports(ConvInteger, QLinearConv)
def export_convolution(op: Op, exporter: Exporter) -> None:
    conv = op.operator
    assert isinstance(conv, IntegerConvolution)
    y = exporter.node(
        "ConvInteger" if isinstance(conv, ConvInteger) else "QLinearConv",
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


@imports("QLinearMatMul")
def import_qlinear_matmul(node: Node, importer: Importer) -> Value:
    return importer.emit_one(QLinearMatMul(), *(node.input(i) for i in range(8)))


@exports(MatMulInteger, QLinearMatMul)
def export_product(op: Op, exporter: Exporter) -> None:
    op_type = "MatMulInteger" if isinstance(op.operator, MatMulInteger) else "QLinearMatMul"
    exporter.define(op, exporter.node(op_type, op.operands))
