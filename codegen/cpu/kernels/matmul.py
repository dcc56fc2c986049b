"""Matrix multiplication of row-major tensors: single precision, and 8-bit ones with a known right factor."""

from __future__ import annotations

import math

from ....ir.core import Op
from ....ir.layout import QUAD
from ....ir.ops.matmul import MatMul
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import broadcast
from ..tensors import is_float, is_plain
from .activation import Activation
from .byte_product import ByteProduct
from .dot_product import DotProducts
from .float_product import FloatProduct
from .output_channels import channels_of, has_constant_channels

FEW_ROWS = 4
"""Up to so many rows a transposed right factor is read as it lies."""


@lowers(MatMul, needs=(is_float, is_plain))
def matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Products in tiles, or as dot products where there are few rows."""
    operator, (x, w, bias, residual) = op.operator, op.operands
    if not op.result.type.elements:
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
    return FloatProduct(
        rows,
        columns,
        inner,
        batch,
        broadcast(x.type.shape[:-2], batch).strides if batch else (),
        broadcast(w.type.shape[:-2], batch).strides if batch else (),
        operator.transpose_a,
        operator.transpose_b,
        has_bias=has_bias,
        has_residual=has_residual,
        activation=activation,
    ).kernel(target)


@lowers(MatMul)
def quantized_matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Products with a known matrix that lies in order for dot products."""
    operator, x, w, y = op.operator, op.operands.x.type, op.operands.w.type, op.result.type
    if not has_constant_channels(op) or x.layout or y.layout:
        return None
    inner, columns = x.shape[-1], y.shape[-1]
    if (
        w.rank != 2
        or operator.transpose_a
        or w.layout != ("o16i4" if operator.transpose_b else "i4o16")
        or inner % QUAD
    ):
        return None
    rows = x.elements // max(1, inner)
    if not rows * inner:
        return None
    return ByteProduct(rows, columns, inner, constants=channels_of(op), has_bias=op.operands.b is not None).kernel(
        target
    )
