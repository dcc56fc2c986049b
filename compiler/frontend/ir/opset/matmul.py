"""MatMul and Einsum of IR, and attention, which is made of products."""

from __future__ import annotations

import math

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.comparison import Where
from .....ir.ops.elementwise import Add
from .....ir.ops.matmul import MatMul
from .....ir.ops.movement import Trilu
from .....ir.ops.softmax import Softmax
from .....ir.types import DType
from ...elementwise import scaled
from ...matmul import einsum, product
from ..exporter import IrExporter, exports
from ..importer import IrImporter, IrNode, opset
from .activation import activated
from .elementwise import combined


@opset("MatMul")
def import_matmul(node: IrNode, importer: IrImporter) -> Value:
    return product(
        node,
        importer,
        node.input(0),
        node.input(1),
        transpose_a=node.bool("transpose_a", False),
        transpose_b=node.bool("transpose_b", False),
    )


@opset("Einsum")
def import_einsum(node: IrNode, importer: IrImporter) -> Value:
    return einsum(node, importer, node.text("equation"))


@opset("ScaledDotProductAttention")
def import_attention(node: IrNode, importer: IrImporter) -> Value:
    """softmax(query * key^T * scale + mask) * value"""
    query, key, value = (node.input(index) for index in range(3))
    factor = node.number(4, "the scale") if node.optional(4) is not None else 1 / math.sqrt(query.type.shape[-1])
    scores = scaled(importer, product(node, importer, query, key, transpose_b=True), factor)
    mask = node.optional(3)
    if node.bool("causal", False):
        mask = _earlier(node, importer, scores.type.shape[-2:])
    if mask is not None and mask.type.dtype is DType.BOOL:
        none, all_of_it = (importer.constant(np.array(each, np.float32), "mask") for each in (0, -np.inf))
        mask = importer.emit_one(Where(), mask, none, all_of_it)
    if mask is not None:
        scores = importer.emit_one(Add(), scores, mask)
    weights = importer.emit_one(Softmax(scores.type.rank - 1), scores)
    return product(node, importer, weights, value)


def _earlier(node: IrNode, importer: IrImporter, shape: tuple[int, ...]) -> Value:
    """A mask that hides the keys behind each query."""
    hidden = importer.described(node, shape, DType.F32, lambda: np.full(shape, -np.inf, np.float32), "_mask")
    return importer.emit_one(Trilu(upper=True, k=1), hidden)


@exports(MatMul)
def export_matmul(op: Op[MatMul], exporter: IrExporter) -> None:
    matmul = op.operator
    x, w, b, residual = op.operands
    factors = {"transpose_a": matmul.transpose_a, "transpose_b": matmul.transpose_b}
    y = exporter.layer("MatMul", [x, w], op.result.type, **factors)
    for addend in (b, residual):
        y = combined(exporter, "Add", y, addend) if addend is not None else y
    exporter.define(op, activated(exporter, y, matmul.act, matmul.act_args))
