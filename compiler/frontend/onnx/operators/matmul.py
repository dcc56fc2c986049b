"""MatMul, Gemm and Einsum of ONNX: all one operator, with what surrounds it as ops of their own. Integer products,
products with integers that stand for numbers, which ONNX spells by those numbers, determinants.
"""

import numpy as np
import onnx.helper

from .....ir.core import Op, Value
from .....ir.ops.integer_products import ConvInteger, MatMulInteger
from .....ir.ops.matmul import Determinant, MatMul, NarrowMatMul
from .....ir.ops.weight_only import WeightOnlyMatMul
from ...matmul import einsum, gemm, product, product_by
from ..exporter import Exporter, exports
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one
from .activation import export_activation
from .layers.convolution import convolution, rounded_to_bfloat16

imports("MatMul")(lambda node, importer: product(node, importer, node.input(0), node.input(1)))


@imports("Gemm")
def import_gemm(node: Node, importer: Importer) -> Value:
    x, w, c = node.input(0), node.input(1), node.optional(2)
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    operator = MatMul(transpose_a=node.bool("transA", 0), transpose_b=node.bool("transB", 0))
    return gemm(importer, operator, x, w, c, alpha, beta)


imports("Einsum")(lambda node, importer: einsum(node, importer, node.string("equation")))


def matrix(exporter: Exporter, value: Value, is_transposed: bool) -> str:
    """A factor of a product; with ``is_transposed``, its last two dimensions exchanged."""
    if not is_transposed:
        return exporter.name(value)
    *batch, row, column = range(value.type.rank)
    return exporter.node("Transpose", [value], perm=[*batch, column, row])


@exports(MatMul, NarrowMatMul)
def export_matmul(op: Op[MatMul | NarrowMatMul], exporter: Exporter) -> None:
    matmul = op.operator
    x, w, b, residual = op.operands
    if isinstance(matmul, NarrowMatMul):
        factors = (matrix(exporter, x, matmul.transpose_a), matrix(exporter, w, matmul.transpose_b))
        y = exporter.node("MatMul", [rounded_to_bfloat16(exporter, factor) for factor in factors])
        addends = (b, residual)
    elif x.type.rank == w.type.rank == 2 and x.type.dtype.is_float:
        y = exporter.node("Gemm", [x, w, b], transA=int(matmul.transpose_a), transB=int(matmul.transpose_b))
        addends = (residual,)
    else:
        y = exporter.node("MatMul", [matrix(exporter, x, matmul.transpose_a), matrix(exporter, w, matmul.transpose_b)])
        addends = (b, residual)
    for addend in addends:
        y = exporter.node("Add", [y, addend]) if addend is not None else y
    exporter.define(op, export_activation(exporter, y, matmul.act, matmul.act_args, op.result.type.dtype))


one_to_one("Det", Determinant)
exports_as("MatMulInteger", MatMulInteger)
exports_as("ConvInteger", ConvInteger)


@imports("MatMulInteger")
def import_matmul_integer(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    return product_by(node, importer, MatMulInteger(), x, w, node.optional(2), node.optional(3))


@imports("ConvInteger")
def import_conv_integer(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    return importer.emit_one(convolution(node, ConvInteger, x, w), x, w, node.optional(2), node.optional(3))


@exports(WeightOnlyMatMul)
def export_weight_only(op: Op[WeightOnlyMatMul], exporter: Exporter) -> None:
    operator, (x, w, scale, zero, b, residual, which) = op.operator, op.operands
    blocks = exporter.integers(np.arange(w.type.shape[0]) // operator.block, "blocks")
    real = exporter.node("Cast", [w], to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)))
    for op_type, numbers in (("Sub", zero), ("Mul", scale)):
        if numbers is not None:
            real = exporter.node(op_type, [real, exporter.node("Gather", [numbers, blocks], axis=0)])
    if which is not None:
        shape = exporter.integers(np.array([-1, x.type.shape[-1], w.type.shape[1]]), "matrices")
        real = exporter.node("Gather", [exporter.node("Reshape", [real, shape]), which], axis=0)
    y = exporter.node("MatMul", [x, real])
    for addend in (b, residual):
        y = exporter.node("Add", [y, addend]) if addend is not None else y
    exporter.define(op, export_activation(exporter, y, operator.act, operator.act_args, op.result.type.dtype))
