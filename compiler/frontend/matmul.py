"""Matrix products of tensors of any rank, and the sums of products that they can compute."""

from __future__ import annotations

import math

from ...ir.core import Constant, Value
from ...ir.ops.elementwise import Add
from ...ir.ops.matmul import MatMul
from .builder import ModuleBuilder, SourceNode
from .elementwise import scaled
from .movement import transpose
from .shape import reshape


def product(
    node: SourceNode,
    importer: ModuleBuilder,
    x: Value,
    w: Value,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Value:
    """The product over the last dimension of ``x`` and the last but one of ``w``; batch dimensions broadcast.

    Args:
        transpose_a, transpose_b: the last two dimensions of ``x``, ``w`` are exchanged first. Vectors, which stand for
            a row and a column, stay.

    Raises:
        ModelError: one of them is a scalar.
    """
    if x.type.rank == 0 or w.type.rank == 0:
        raise node.model_error("scalars have no matrix product", found=f"{x.type} and {w.type}")
    operator = MatMul(transpose_a and x.type.rank > 1, transpose_b and w.type.rank > 1)
    row = reshape(importer, x, (1, *x.type.shape)) if x.type.rank == 1 else x
    column = reshape(importer, w, (*w.type.shape, 1)) if w.type.rank == 1 else w
    y = importer.emit_one(operator, row, column)
    shape = list(y.type.shape)
    if w.type.rank == 1:
        del shape[-1]
    if x.type.rank == 1:
        del shape[-1 if w.type.rank == 1 else -2]
    return reshape(importer, y, tuple(shape))


def gemm(
    importer: ModuleBuilder, operator: MatMul, x: Value, w: Value, c: Value | None, alpha: float, beta: float
) -> Value:
    """alpha * x * w + beta * c, in one op where its operands say as much."""
    is_scaled_after = alpha != 1 and not isinstance(w, Constant)
    if alpha != 1 and not is_scaled_after:
        w = scaled(importer, w, alpha)
    if c is not None and beta != 1:
        c = scaled(importer, c, beta)
    if c is None or beta == 0:
        y = importer.emit_one(operator, x, w)
        return scaled(importer, y, alpha) if is_scaled_after else y
    if not is_scaled_after:
        shape = operator.infer(x.type, w.type, None, None).shape
        if c.type.elements == shape[-1] and c.type.shape[-1:] == shape[-1:]:
            return importer.emit_one(operator, x, w, reshape(importer, c, shape[-1:]))
        if c.type.shape == shape:
            return importer.emit_one(operator, x, w, None, c)
    y = importer.emit_one(operator, x, w)
    y = scaled(importer, y, alpha) if is_scaled_after else y
    return importer.emit_one(Add(), y, c)


def einsum(node: SourceNode, importer: ModuleBuilder, equation: str) -> Value:
    """Einsum of two tensors, as a matrix product between transposes and reshapes.

    Raises:
        ModelError: the equation does not fit the tensors.
        UnsupportedError: it is another sum.
    """
    equation = equation.replace(" ", "")
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
        value = transpose(importer, value, tuple(labels.index(label) for label in order))
        merged = (math.prod(extents[label] for label in group) for group in groups)
        return reshape(importer, value, (*(extents[label] for label in batch), *merged))

    transpose_a = left == batch + summed + rows != batch + rows + summed
    transpose_b = right == batch + columns + summed != batch + summed + columns
    matrix_x = arrange(x, left, *((summed, rows) if transpose_a else (rows, summed)))
    matrix_w = arrange(w, right, *((columns, summed) if transpose_b else (summed, columns)))
    y = importer.emit_one(MatMul(transpose_a=transpose_a, transpose_b=transpose_b), matrix_x, matrix_w)
    found = batch + rows + columns
    y = reshape(importer, y, tuple(extents[label] for label in found))
    return transpose(importer, y, tuple(found.index(label) for label in result))


def _einsum_labels(node: SourceNode, equation: str, x: Value, w: Value) -> tuple[list[str], list[str], list[str]]:
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
