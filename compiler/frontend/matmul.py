"""Matrix products of tensors of any rank, and the sums of products that they can compute."""

import math
from collections.abc import Sequence

from ...ir.core import Constant, Value
from ...ir.op import Operator
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.integer_products import MatMulInteger
from ...ir.ops.matmul import MatMul
from ...ir.ops.quantization import DynamicQuantizeLinear
from ...ir.ops.reduction import ReduceSum
from ...ir.types import DType, TensorType
from .builder import ModuleBuilder, SourceNode
from .elementwise import scaled
from .movement import slice_of, transpose
from .shape import cast, reshape


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
    ``transpose_a``, ``transpose_b``: the last two dimensions of ``x``, ``w`` are exchanged first. Vectors, which stand
    for a row and a column, stay."""
    operator = MatMul(transpose_a and x.type.rank > 1, transpose_b and w.type.rank > 1)
    return product_by(node, importer, operator, x, w)


def product_by(
    node: SourceNode, importer: ModuleBuilder, operator: Operator, x: Value, w: Value, *others: Value | None
) -> Value:
    """As :func:`product`, by ``operator``, which takes matrices and reads ``others`` besides."""
    if x.type.rank == 0 or w.type.rank == 0:
        raise node.model_error("scalars have no matrix product", found=f"{x.type} and {w.type}")
    row = reshape(importer, x, (1, *x.type.shape)) if x.type.rank == 1 else x
    column = reshape(importer, w, (*w.type.shape, 1)) if w.type.rank == 1 else w
    y = importer.emit_one(operator, row, column, *others)
    shape = list(y.type.shape)
    if w.type.rank == 1:
        del shape[-1]
    if x.type.rank == 1:
        del shape[-1 if w.type.rank == 1 else -2]
    return reshape(importer, y, tuple(shape))


def quantized_product(importer: ModuleBuilder, x: Value, w: Value, scale: Value, zero: Value | None) -> Value:
    """The product of ``x``, of real numbers that are quantised here, all together, and of integers ``w``.
    ``scale``, ``zero``: of ``w``: one, or one for each column."""
    integers, x_scale, x_zero = importer.emit(DynamicQuantizeLinear(), x)
    total = cast(importer, importer.emit_one(MatMulInteger(), integers, w, x_zero, zero), DType.F32)
    return importer.emit_one(Mul(), total, importer.emit_one(Mul(), x_scale, scale))


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
    """Einsum of any number of tensors: diagonals and sums of each, then matrix products from left to right.
    Raises ModelError: the equation does not fit the tensors."""
    equation = equation.replace(" ", "")
    values = node.all_inputs()
    terms, result = _einsum_labels(node, equation, [value.type for value in values])
    extents: dict[str, int] = {}
    for term, value in zip(terms, values, strict=True):
        for label, extent in zip(term, value.type.shape, strict=True):
            if extents.setdefault(label, extent) != extent and 1 not in (extent, extents[label]):
                shown = ", ".join(map(str, (value.type for value in values)))
                raise node.model_error("extents of the same label differ", found=f"{shown}, {equation!r}")
            extents[label] = max(extents[label], extent)
    known = sorted({label for label in result if label in extents and result.count(label) == 1})
    if known != sorted(result):
        raise node.model_error("a label of the result is not that of one dimension", found=repr(equation))
    parts = [_diagonal(importer, *part, extents) for part in zip(values, terms, strict=True)]
    x, left = parts[0]
    for position, (w, right) in enumerate(parts[1:], 1):
        later = {*result}.union(*(term for _, term in parts[position + 1 :]))
        x, left = _summed(importer, x, left, {*right, *later})
        x, left = _einsum_pair(importer, (x, left), _summed(importer, w, right, {*left, *later}), later, extents)
    x, left = _summed(importer, x, left, set(result))
    # What has extent 1 wherever it stands.
    missing = [label for label in result if label not in left]
    x, left = reshape(importer, x, (*x.type.shape, *(1 for _ in missing))), [*left, *missing]
    return transpose(importer, x, tuple(left.index(label) for label in result))


Labelled = tuple[Value, list[str]]
"""A tensor, and a label for each of its dimensions, none of them twice."""


def _diagonal(importer: ModuleBuilder, x: Value, labels: list[str], extents: dict[str, int]) -> Labelled:
    """A tensor without dimensions that have one element where the label has more, and one for labels given twice."""
    kept = [d for d, label in enumerate(labels) if x.type.shape[d] == extents[label] != 1 or extents[label] == 0]
    x, labels = reshape(importer, x, tuple(x.type.shape[d] for d in kept)), [labels[d] for d in kept]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        while labels.count(label) > 1:
            first = labels.index(label)
            pair = (first, labels.index(label, first + 1))
            rest, extent = [d for d in range(len(labels)) if d not in pair], extents[label]
            x = transpose(importer, x, (*rest, *pair))
            x = reshape(importer, x, (*x.type.shape[:-2], extent * extent))
            begin, step = [0] * x.type.rank, [*[1] * len(rest), extent + 1]
            x, labels = slice_of(importer, x, begin, (*x.type.shape[:-1], extent), step), [labels[d] for d in rest]
            labels.append(label)
    return x, labels


def _summed(importer: ModuleBuilder, x: Value, labels: list[str], kept: set[str]) -> Labelled:
    """A tensor summed over the labels that nothing else reads."""
    axes = tuple(d for d, label in enumerate(labels) if label not in kept)
    x = importer.emit_one(ReduceSum(axes, False), x) if axes else x
    return x, [label for label in labels if label in kept]


def _einsum_pair(
    importer: ModuleBuilder, first: Labelled, second: Labelled, later: set[str], extents: dict[str, int]
) -> Labelled:
    """The product of two tensors, summed over what both have and nothing reads later."""
    (x, left), (w, right) = first, second
    batch = [label for label in left if label in right and label in later]
    summed = [label for label in left if label in right and label not in later]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]

    def arrange(value: Value, labels: list[str], *groups: list[str]) -> Value:
        """Put the labels in the order of the groups, and make one dimension of each group after the batch."""
        order = [label for group in (batch, *groups) for label in group]
        value = transpose(importer, value, tuple(labels.index(label) for label in order))
        merged = (math.prod(extents[label] for label in group) for group in groups)
        return reshape(importer, value, (*(extents[label] for label in batch), *merged))

    found = batch + rows + columns
    if not summed and not (rows and columns):
        y = importer.emit_one(Mul(), arrange(x, left, rows, []), arrange(w, right, [], columns))
        return reshape(importer, y, tuple(extents[label] for label in found)), found
    transpose_a = left == batch + summed + rows != batch + rows + summed
    transpose_b = right == batch + columns + summed != batch + summed + columns
    matrix_x = arrange(x, left, *((summed, rows) if transpose_a else (rows, summed)))
    matrix_w = arrange(w, right, *((columns, summed) if transpose_b else (summed, columns)))
    y = importer.emit_one(MatMul(transpose_a=transpose_a, transpose_b=transpose_b), matrix_x, matrix_w)
    return reshape(importer, y, tuple(extents[label] for label in found)), found


def _einsum_labels(node: SourceNode, equation: str, types: Sequence[TensorType]) -> tuple[list[list[str]], list[str]]:
    """Labels of the dimensions of the operands and of the result; those behind an ellipsis are numbers."""
    terms, arrow, result = equation.partition("->")
    operands = terms.split(",")
    if len(operands) != len(types):
        found = f"{equation!r} with {len(types)} tensors"
        raise node.model_error("the equation does not fit the number of tensors", found=found)
    covered = [t.rank - len(o.replace("...", "")) for o, t in zip(operands, types, strict=True)]
    most = max((count for count, operand in zip(covered, operands, strict=True) if "..." in operand), default=0)

    def labels(term: str, count: int) -> list[str]:
        before, ellipsis, after = term.partition("...")
        # Ellipses broadcast from their ends.
        return [*before, *(map(str, range(most - count, most)) if ellipsis else ()), *after]

    found = [labels(operand, count) for operand, count in zip(operands, covered, strict=True)]
    if any(len(each) != type.rank for each, type in zip(found, types, strict=True)):
        shown = ", ".join(map(str, types))
        raise node.model_error("the equation does not fit the ranks", found=f"{equation!r}, {shown}")
    if arrow:
        return found, labels(result, most)
    every = [label for term in found for label in term if not label.isdigit()]
    return found, [*map(str, range(most)), *sorted(label for label in every if every.count(label) == 1)]
