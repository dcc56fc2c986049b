"""Matrix multiplication on row-major tensors of single precision."""

from __future__ import annotations

import math

from ....ir.core import Op
from ....ir.ops.matmul import MatMul
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..nest import broadcast
from ..registry import lowers
from ..tensors import is_float, layouts
from .activation import Activation
from .dot_product import DotProducts
from .matrix_product import MatrixProduct

FEW_ROWS = 4
"""Up to so many rows a transposed right factor is read as it lies."""


@lowers(MatMul)
def matmul(op: Op, target: TargetDescription) -> Kernel | None:
    """Products in tiles, or as dot products where there are few rows."""
    operator = op.operator
    assert isinstance(operator, MatMul)
    x, w, bias, residual = (*op.operands, None, None)[:4]
    assert x is not None
    assert w is not None
    if not is_float(op) or any(layouts(op)) or not op.result.type.elements:
        return None
    rows, columns, inner = operator.extents(x.type, w.type)
    batch = op.result.type.shape[:-2]
    if not inner:
        return None
    activation = Activation(operator.act, operator.act_args)
    has_bias, has_residual = bias is not None, residual is not None
    if math.prod(w.type.shape[:-2]) == 1 and not operator.transpose_a:
        # The same right factor for all: the matrices on the left are one tall one.
        rows, batch = rows * math.prod(batch), ()
        if operator.transpose_b and rows <= FEW_ROWS:
            return DotProducts(
                rows, columns, inner, has_bias=has_bias, has_residual=has_residual, activation=activation
            ).kernel(target)
    x_strides = broadcast(x.type.shape[:-2], batch).strides if batch else ()
    w_strides = broadcast(w.type.shape[:-2], batch).strides if batch else ()
    spec = MatrixProduct(
        rows,
        columns,
        inner,
        batch,
        x_strides,
        w_strides,
        operator.transpose_a,
        operator.transpose_b,
        has_bias=has_bias,
        has_residual=has_residual,
        activation=activation,
    )
    return spec.kernel(target)
