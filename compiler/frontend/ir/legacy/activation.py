"""Activations of IR of versions 2 to 7."""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.activation import LeakyRelu, Relu
from ..importer import IrImporter, IrNode, legacy


@legacy("ReLU")
def import_relu(node: IrNode, importer: IrImporter) -> Value:
    slope = node.float("negative_slope", 0.0)
    return importer.emit_one(LeakyRelu(slope) if slope else Relu(), node.input(0))
