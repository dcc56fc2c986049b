"""MatMul, Gemm and Einsum of ONNX: all one operator, with what surrounds it as ops of their own."""

from __future__ import annotations

import math

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.ops.elementwise import Add, Mul
from .....ir.ops.matmul import MatMul
from .....ir.ops.movement import Transpose
from ...shape import reshape
from ..exporter import Exporter, exports
from ..importer import Importer, Node, imports
from .activation import export_activation


@imports("MatMul")
def import_matmul(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    if x.type.rank == 0 or w.type.rank == 0:
        raise node.model_error("scalars have no matrix product", found=f"{x.type} and {w.type}")
    row = reshape(importer, x, (1, *x.type.shape)) if x.type.rank == 1 else x
    column = reshape(importer, w, (*w.type.shape, 1)) if w.type.rank == 1 else w
    y = importer.emit_one(MatMul(), row, column)
    shape = list(y.type.shape)
    if w.type.rank == 1:
        del shape[-1]
    if x.type.rank == 1:
        del shape[-1 if w.type.rank == 1 else -2]
    return reshape(importer, y, tuple(shape))


@imports("Gemm")
def import_gemm(node: Node, importer: Importer) -> Value:
    x, w, c = node.input(0), node.input(1), node.optional(2)
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    operator = MatMul(transpose_a=node.bool("transA", 0), transpose_b=node.bool("transB", 0))
    is_scaled_after = alpha != 1 and not isinstance(w, Constant)
    if alpha != 1 and not is_scaled_after:
        w = _scaled(importer, w, alpha)
    if c is not None and beta != 1:
        c = _scaled(importer, c, beta)
    if c is None or beta == 0:
        y = importer.emit_one(operator, x, w)
        return _scaled(importer, y, alpha) if is_scaled_after else y
    if not is_scaled_after:
        rows, columns, _ = operator.extents(x.type, w.type)
        if c.type.elements == columns and c.type.shape[-1:] == (columns,):
            return importer.emit_one(operator, x, w, reshape(importer, c, (columns,)))
        if c.type.shape == (rows, columns):
            return importer.emit_one(operator, x, w, None, c)
    y = importer.emit_one(operator, x, w)
    y = _scaled(importer, y, alpha) if is_scaled_after else y
    return importer.emit_one(Add(), y, c)


def _scaled(importer: Importer, x: Value, factor: float) -> Value:
    return importer.emit_one(Mul(), x, importer.constant(np.array(factor, x.type.dtype.numpy), "factor"))


@imports("Einsum")
def import_einsum(node: Node, importer: Importer) -> Value:
    """Einsum of two tensors, as a matrix product between transposes and reshapes."""
    equation = node.string("equation").replace(" ", "")
    if len(node.inputs) != 2:
        raise node.unsupported("only sums of products of two tensors are supported", found=repr(equation))
    x, w = node.input(0), node.input(1)
    left, right, result = _einsum_labels(node, equation, x, w)
    batch = [label for label in left if label in right and label in result]
    summed = [label for label in left if label in right and label not in result]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    is_plain = all(len(set(term)) == len(term) for term in (left, right, result))
    if not is_plain or set(result) != {*batch, *rows, *columns}:
        raise node.unsupported("this sum is not a matrix product", found=repr(equation))
    extents = dict(zip(right, w.type.shape, strict=True)) | dict(zip(left, x.type.shape, strict=True))
    if any(extents[label] != extent for label, extent in zip(right, w.type.shape, strict=True)):
        raise node.unsupported("extents of the same label differ", found=f"{x.type} and {w.type}, {equation!r}")

    def arrange(value: Value, labels: list[str], *groups: list[str]) -> Value:
        """Put the labels in the order of the groups, and make one dimension of each group after the batch."""
        order = [label for group in (batch, *groups) for label in group]
        if labels != order:
            value = importer.emit_one(Transpose(tuple(labels.index(label) for label in order)), value)
        merged = (math.prod(extents[label] for label in group) for group in groups)
        return reshape(importer, value, (*(extents[label] for label in batch), *merged))

    transpose_a = left == batch + summed + rows != batch + rows + summed
    transpose_b = right == batch + columns + summed != batch + summed + columns
    matrix_x = arrange(x, left, *((summed, rows) if transpose_a else (rows, summed)))
    matrix_w = arrange(w, right, *((columns, summed) if transpose_b else (summed, columns)))
    y = importer.emit_one(MatMul(transpose_a=transpose_a, transpose_b=transpose_b), matrix_x, matrix_w)
    found = batch + rows + columns
    y = reshape(importer, y, tuple(extents[label] for label in found))
    return y if found == result else importer.emit_one(Transpose(tuple(found.index(label) for label in result)), y)


def _einsum_labels(node: Node, equation: str, x: Value, w: Value) -> tuple[list[str], list[str], list[str]]:
    """Labels of the dimensions of both operands and of the result; those behind an ellipsis are numbers."""
    terms, arrow, result = equation.partition("->")
    operands = terms.split(",")
    if len(operands) != 2:
        raise node.model_error("the equation does not fit two tensors", found=repr(equation))
    covered = {t.type.rank - len(o.replace("...", "")) for o, t in zip(operands, (x, w), strict=True) if "..." in o}
    if len(covered) > 1:
        raise node.unsupported("ellipses that stand for different numbers of dimensions", found=repr(equation))
    dots = [str(index) for index in range(max(covered, default=0))]

    def labels(term: str) -> list[str]:
        before, ellipsis, after = term.partition("...")
        return [*before, *(dots if ellipsis else []), *after]

    left, right = map(labels, operands)
    if len(left) != x.type.rank or len(right) != w.type.rank:
        raise node.model_error("the equation does not fit the ranks", found=f"{equation!r}, {x.type} and {w.type}")
    if arrow:
        return left, right, labels(result)
    once = sorted(label for label in {*left, *right} - set(dots) if (left + right).count(label) == 1)
    return left, right, [*dots, *once]


def matrix(exporter: Exporter, value: Value, is_transposed: bool) -> str:
    """A factor of a product; with ``is_transposed``, its last two dimensions exchanged."""
    if not is_transposed:
        return exporter.name(value)
    *batch, row, column = range(value.type.rank)
    return exporter.node("Transpose", [value], perm=[*batch, column, row])


@exports(MatMul)
def export_matmul(op: Op[MatMul], exporter: Exporter) -> None:
    matmul = op.operator
    x, w, b, residual = op.operands
    if x.type.rank == w.type.rank == 2 and x.type.dtype.is_float:
        y = exporter.node("Gemm", [x, w, b], transA=int(matmul.transpose_a), transB=int(matmul.transpose_b))
        addends = (residual,)
    else:
        y = exporter.node("MatMul", [matrix(exporter, x, matmul.transpose_a), matrix(exporter, w, matmul.transpose_b)])
        addends = (b, residual)
    for addend in addends:
        y = exporter.node("Add", [y, addend]) if addend is not None else y
    exporter.define(op, export_activation(exporter, y, matmul.act, matmul.act_args, op.result.type.dtype))
