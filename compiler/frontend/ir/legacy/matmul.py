"""FullyConnected and Gemm of IR of versions 2 to 7."""

from __future__ import annotations

import math

from .....ir.core import Value
from .....ir.ops.matmul import MatMul
from ...matmul import gemm
from ...shape import reshape
from ..importer import IrImporter, IrNode, legacy
from .weights import biases, weights


@legacy("FullyConnected", "InnerProduct")
def import_fully_connected(node: IrNode, importer: IrImporter) -> Value:
    """Everything but the batch times weights [outputs, inputs]."""
    x, outputs = node.input(0), node.int("out-size")
    if not x.type.rank:
        raise node.model_error("a scalar has no batch")
    if outputs < 1:
        raise node.model_error("attribute 'out-size' is out of range", expected="at least 1", found=outputs)
    features = math.prod(x.type.shape[1:])
    w = weights(node, importer, (outputs, features))
    row = reshape(importer, x, (x.type.shape[0], features))
    return importer.emit_one(MatMul(transpose_b=True), row, w, biases(node, importer, outputs))


@legacy("Gemm")
def import_gemm(node: IrNode, importer: IrImporter) -> Value:
    """alpha * a * b + beta * c; a and b may have further dimensions in front."""
    operator = MatMul(node.bool("transpose_a", False), node.bool("transpose_b", False))
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    return gemm(importer, operator, node.input(0), node.input(1), node.optional(2), alpha, beta)
