"""Products of matrices, Einsum and attention of IR.

Products of integers, which IR has none of, are exact in double precision.
"""

import math

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.comparison import Where
from .....ir.ops.elementwise import Add
from .....ir.ops.integer_products import ConvInteger, MatMulInteger
from .....ir.ops.matmul import MatMul
from .....ir.ops.movement import Trilu
from .....ir.ops.softmax import Softmax
from .....ir.types import DType
from ...elementwise import scaled
from ...matmul import einsum, gemm, product
from ...shape import reshape
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, biases, legacy, opset, weights
from .activation import activated
from .convolution import convolved
from .elementwise import combined
from .shape import converted, reshaped


@opset("MatMul")
def import_matmul(node: IrNode, importer: IrImporter) -> Value:
    flags = {name: node.bool(name, False) for name in ("transpose_a", "transpose_b")}
    return product(node, importer, node.input(0), node.input(1), **flags)


opset("Einsum")(lambda node, importer: einsum(node, importer, node.text("equation")))


@opset("ScaledDotProductAttention")
def import_attention(node: IrNode, importer: IrImporter) -> Value:
    """softmax(query * key^T * scale + mask) * value"""
    query, key, value = (node.input(index) for index in range(3))
    factor = node.number(4, "the scale") if node.optional(4) is not None else 1 / math.sqrt(query.type.shape[-1])
    scores = scaled(importer, product(node, importer, query, key, transpose_b=True), factor)
    mask = node.optional(3)
    if node.bool("causal", False):
        # Hides the keys behind each query.
        shape = scores.type.shape[-2:]
        mask = importer.described(node, shape, DType.F32, lambda: np.full(shape, -np.inf, np.float32), "_mask")
        mask = importer.emit_one(Trilu(upper=True, k=1), mask)
    if mask is not None and mask.type.dtype is DType.BOOL:
        none, all_of_it = (importer.constant(np.array(each, np.float32), "mask") for each in (0, -np.inf))
        mask = importer.emit_one(Where(), mask, none, all_of_it)
    if mask is not None:
        scores = importer.emit_one(Add(), scores, mask)
    weights = importer.emit_one(Softmax(scores.type.rank - 1), scores)
    return product(node, importer, weights, value)


@exports(MatMul)
def export_matmul(op: Op[MatMul], exporter: IrExporter) -> None:
    matmul = op.operator
    x, w, b, residual = op.operands
    factors = {"transpose_a": matmul.transpose_a, "transpose_b": matmul.transpose_b}
    y = exporter.layer("MatMul", [x, w], op.result.type, **factors)
    for addend in (b, residual):
        y = combined(exporter, "Add", y, addend) if addend is not None else y
    exporter.define(op, activated(exporter, y, matmul.act, matmul.act_args))


def _difference(exporter: IrExporter, x: Value, zero: Value | None, shape: tuple[int, ...]) -> Tensor:
    """``x`` less its zero point. ``shape``: of a zero point of more than one element."""
    real = converted(exporter, x, DType.F64)
    if zero is None:
        return real
    zero_point = reshaped(exporter, zero, shape if zero.type.elements > 1 else ())
    return combined(exporter, "Subtract", real, converted(exporter, zero_point, DType.F64))


@exports(MatMulInteger)
def export_integer_matmul(op: Op[MatMulInteger], exporter: IrExporter) -> None:
    a, b, a_zero, b_zero = op.operands
    left = _difference(exporter, a, a_zero, (a.type.shape[-2], 1) if a.type.rank > 1 else ())
    right = _difference(exporter, b, b_zero, b.type.shape[-1:])
    type = op.result.type.with_dtype(DType.F64)
    sums = exporter.layer("MatMul", [left, right], type, transpose_a=False, transpose_b=False)
    exporter.define(op, converted(exporter, sums, DType.I32))


@exports(ConvInteger)
def export_convolution(op: Op[ConvInteger], exporter: IrExporter) -> None:
    x, w, x_zero, w_zero = op.operands
    left = _difference(exporter, x, x_zero, ())
    right = _difference(exporter, w, w_zero, (w.type.shape[0], *(1,) * (w.type.rank - 1)))
    sums = convolved(exporter, op.operator, left, right, op.result.type.with_dtype(DType.F64))
    exporter.define(op, converted(exporter, sums, DType.I32))


@legacy("FullyConnected", "InnerProduct")
def import_legacy_fully_connected(node: IrNode, importer: IrImporter) -> Value:
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
def import_legacy_gemm(node: IrNode, importer: IrImporter) -> Value:
    """alpha * a * b + beta * c; a and b may have further dimensions in front."""
    operator = MatMul(node.bool("transpose_a", False), node.bool("transpose_b", False))
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    return gemm(importer, operator, node.input(0), node.input(1), node.optional(2), alpha, beta)
