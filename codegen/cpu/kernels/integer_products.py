"""Products of plain 8-bit integers: with zero points as operands, and of quantised matrices in any order."""

from __future__ import annotations

import math

import numpy as np

from ....ir.core import Constant, Op, Value
from ....ir.ops.integer_products import ConvInteger, MatMulInteger
from ....ir.ops.matmul import MatMul
from ....ir.quantized import EIGHT_BIT, accumulator_factors, clamp_bounds, parameters
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.byte_dot_product import multiplies_signed
from ..llvm.quantized_math import StoredRange
from ..llvm.target import TargetDescription
from ..nest import broadcast
from ..tensors import is_plain, is_quantized_product
from .output_channels import filled
from .products.byte_product import IntegerProduct
from .products.word_product import Factor, Requantization, WordProduct
from .window import Axis, rows_and_columns, walked

_MOST_SCRATCH = 1 << 25
"""Bytes of work memory, beyond which the plain loops do the work, which need none."""

_MOST_TAPS = 1 << 16
"""Rows of windows: where each of them lies is a table."""


def _factor(value: Value, zero: Value | None) -> Factor:
    return Factor(value.type.dtype) if zero is None else Factor(value.type.dtype, zero.type.dtype, zero.type.elements)


def _kernel(spec: WordProduct, target: TargetDescription) -> Kernel | None:
    """The kernel, unless something is larger or rarer than it is made for."""
    zeros = (spec.left.zero, spec.right.zero)
    if not spec.inner or any(dtype is not None and dtype not in EIGHT_BIT for dtype in zeros):
        return None
    if spec.taps > 1 and spec.inner > _MOST_TAPS:
        return None
    return spec.kernel(target) if spec.shape(target).scratch <= _MOST_SCRATCH else None


@lowers(ConvInteger, needs=(is_plain,))
def integer_convolution(op: Op[ConvInteger], target: TargetDescription) -> Kernel | None:
    """Over one or two dimensions, or over any without neighbours."""
    conv, operands = op.operator, op.operands
    x, w = operands.x.type, operands.w.type
    axes = walked(conv.conv.windows(x.shape, w.shape))
    if all(axis.is_pointwise for axis in axes):
        axes = (Axis.line(math.prod(x.shape[2:])),)
    window = rows_and_columns(axes)
    if window is None:
        return None
    zeros = ("right_zero", operands.x_zero_point), ("left_zero", operands.w_zero_point)
    spec = WordProduct(
        rows=w.shape[0] // conv.group,
        columns=window[0].output * window[1].output,
        inner=math.prod(w.shape[1:]),
        names=("right", "left", *(name for name, value in zeros if value is not None), "y"),
        batch=(x.shape[0], conv.group),
        left_strides=(0, 1),
        right_strides=(conv.group, 1),
        left=_factor(operands.w, operands.w_zero_point),
        right=_factor(operands.x, operands.x_zero_point),
        window=window,
    )
    return _kernel(spec, target)


@lowers(MatMulInteger, needs=(is_plain,))
def integer_matmul(op: Op[MatMulInteger], target: TargetDescription) -> Kernel | None:
    """Of any matrices; those on the left are one tall one where the right one and the zero point are the same."""
    operands = op.operands
    a, w = operands.a.type, operands.b.type
    rows, columns, inner = MatMul().extents(a, w)
    batch = op.result.type.shape[:-2]
    left, right = _factor(operands.a, operands.a_zero_point), _factor(operands.b, operands.b_zero_point)
    if math.prod(w.shape[:-2]) == 1 and left.zeros == 1:
        rows, batch = rows * math.prod(batch), ()
    left_strides, right_strides = (broadcast(type.shape[:-2], batch).strides if batch else () for type in (a, w))
    zeros = ("left_zero", operands.a_zero_point), ("right_zero", operands.b_zero_point)
    names = ("left", "right", *(name for name, value in zeros if value is not None), "y")
    window = Axis.line(1), Axis.line(columns)
    spec = WordProduct(rows, columns, inner, names, batch, left_strides, right_strides, left, right, window)
    return _kernel(spec, target)


@lowers(MatMul, needs=(is_plain, is_quantized_product))
def quantized_matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Of matrices that are both computed, as in attention, each with one scale."""
    operator, operands, y = op.operator, op.operands, op.result.type
    x, w = operands.x.type, operands.w.type
    is_simple = operands.b is None and operands.residual is None and y.dtype in EIGHT_BIT
    if not is_simple or operator.transpose_a or operator.transpose_b or accumulator_factors(x, w, y).size > 1:
        return None
    rows, columns, inner = operator.extents(x, w)
    batch = y.shape[:-2]
    if math.prod(w.shape[:-2]) == 1:
        rows, batch = rows * math.prod(batch), ()
    left_strides, right_strides = (broadcast(type.shape[:-2], batch).strides if batch else () for type in (x, w))
    low, high = clamp_bounds(y, operator.act, operator.act_args)
    spec = WordProduct(
        rows,
        columns,
        inner,
        names=("left", "right", "y"),
        batch=batch,
        left_strides=left_strides,
        right_strides=right_strides,
        left=Factor(x.dtype, known=parameters(x)[1]),
        right=Factor(w.dtype, known=parameters(w)[1]),
        window=(Axis.line(1), Axis.line(columns)),
        requantization=Requantization(
            float(accumulator_factors(x, w, y)[0]), StoredRange(y.dtype, parameters(y)[1], low, high)
        ),
    )
    return _kernel(spec, target)


@lowers(MatMulInteger)
def known_integer_matmul(op: Op[MatMulInteger], target: TargetDescription) -> Kernel | None:
    """Products with a known matrix that lies in order for dot products."""
    (a, w, a_zero, w_zero), columns = op.operands, op.result.type.shape[-1]
    if w.type.layout != "i4o16" or not isinstance(w, Constant) or not isinstance(w_zero, Constant | None):
        return None
    stored, flips_w = a.type.dtype is DType.I8, w.type.dtype is DType.U8
    signed = multiplies_signed(target, stored)
    zeros = np.zeros(columns, np.int64) if w_zero is None else np.resize(w_zero.array.astype(np.int64), columns)
    zeros, inner = zeros - 128 * flips_w, a.type.shape[-1]
    sums = w.array.sum(0, dtype=np.int64) - inner * (zeros + 128 * flips_w)
    tables = filled(sums), filled(zeros) if zeros.any() else ()
    zero = a_zero.type.dtype if a_zero is not None else None
    bytes = stored, signed, flips_w
    spec = IntegerProduct(a.type.elements // inner, columns, inner, *bytes, *tables, zero, w_zero is not None)
    return spec.reading(w.array, target)
