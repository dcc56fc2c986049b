"""ConvInteger and MatMulInteger of ONNX."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.integer_products import ConvInteger, MatMulInteger
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one
from .convolution import convolution

one_to_one("MatMulInteger", MatMulInteger)
exports_as("ConvInteger", ConvInteger)


@imports("ConvInteger")
def import_conv_integer(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    return importer.emit_one(convolution(node, ConvInteger, x, w), x, w, node.optional(2), node.optional(3))
