"""Products of plain 8-bit integers: with zero points as operands, and of quantised matrices in any order."""

import math

import numpy as np

from ....ir.core import Constant, Op, Value
from ....ir.ops.attention import Attention
from ....ir.ops.convolution import Conv
from ....ir.ops.integer_products import ConvInteger, MatMulInteger
from ....ir.ops.matmul import MatMul
from ....ir.quantized import EIGHT_BIT, accumulator_factors, parameters
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.byte_dot_product import multiplies_signed
from ..llvm.quantized_math import StoredRange
from ..llvm.target import TargetDescription
from ..nest import broadcast
from ..tensors import is_plain, is_quantized_product
from .output_channels import filled
from .products.byte_product import IntegerProduct
from .products.computed_product import ComputedProduct
from .products.matrix_product import MatrixProduct
from .products.word_packing import Factor
from .products.word_product import Requantization, WordProduct
from .window import Axis, rows_and_columns, walked

_MOST_SCRATCH = 1 << 25
"""Bytes of work memory, beyond which the plain loops do the work, which need none."""

_MOST_TAPS = 1 << 16
"""Of a window in a channel: where each of them lies is a table."""

_LANES_FOR_A_ROW = 8
"""Of a register: one row of queries for so many is multiplied with rows of keys sooner than these are in order."""


def _factor(value: Value, zero: Value | None) -> Factor:
    return Factor(value.type.dtype) if zero is None else Factor(value.type.dtype, zero.type.dtype, zero.type.elements)


def _kernel(spec: WordProduct, target: TargetDescription) -> Kernel | None:
    """The kernel, unless something is larger or rarer than it is made for."""
    zeros = (spec.left.zero, spec.right.zero)
    if not spec.inner or any(dtype is not None and dtype not in EIGHT_BIT for dtype in zeros):
        return None
    if spec.taps > _MOST_TAPS:
        return None
    is_of_matrices = spec.window[0].output == 1 and spec.window[1].is_pointwise and spec.names[0] == "left"
    return _unless_large((ComputedProduct.of(spec, target) if is_of_matrices else None) or spec, target)


def _unless_large(spec: MatrixProduct | None, target: TargetDescription) -> Kernel | None:
    return spec.kernel(target) if spec is not None and spec.shape(target).scratch <= _MOST_SCRATCH else None


def _windows(
    op: Op[Conv] | Op[ConvInteger],
    others: tuple[str, ...],
    left: Factor,
    right: Factor,
    requantization: Requantization | None = None,
) -> WordProduct | None:
    """A convolution over one or two dimensions, or over any without neighbours, as products of weights and windows."""
    x, w = (value.type for value in op.inputs[:2])
    conv = op.operator if isinstance(op.operator, Conv) else op.operator.conv
    axes = walked(conv.windows(x.shape, w.shape))
    if all(axis.is_pointwise for axis in axes):
        axes = (Axis.line(math.prod(x.shape[2:])),)
    window = rows_and_columns(axes)
    if window is None:
        return None
    return WordProduct(
        rows=w.shape[0] // conv.group,
        columns=window[0].output * window[1].output,
        inner=math.prod(w.shape[1:]),
        names=("right", "left", *others, "y"),
        batch=(x.shape[0], conv.group),
        left_strides=(0, 1),
        right_strides=(conv.group, 1),
        left=left,
        right=right,
        window=window,
        requantization=requantization,
    )


@lowers(ConvInteger, needs=(is_plain,))
def integer_convolution(op: Op[ConvInteger], target: TargetDescription) -> Kernel | None:
    """Zero points are operands, and sums are the result."""
    x, w, x_zero, w_zero = op.operands
    zeros = ("right_zero", x_zero), ("left_zero", w_zero)
    others = tuple(name for name, value in zeros if value is not None)
    spec = _windows(op, others, _factor(w, w_zero), _factor(x, x_zero))
    return None if spec is None else _kernel(spec, target)


@lowers(Conv, needs=(is_plain, is_quantized_product))
def quantized_convolution(op: Op[Conv], target: TargetDescription) -> Kernel | None:
    """In groups that make no whole blocks of channels; weights have one zero point."""
    (x, w, b, residual), y = op.operands, op.result.type
    if residual is not None or not isinstance(b, Constant | None) or w.type.quant is None:
        return None
    zeros, outputs = {*w.type.quant.zero_point}, w.type.shape[0]
    if len(zeros) > 1:
        return None
    factors = np.broadcast_to(accumulator_factors(x.type, w.type, y), outputs).tolist()
    biases = [0] * outputs if b is None else b.array.tolist()
    stored = StoredRange.of_product(y, op.operator.act, op.operator.act_args)
    form = Requantization(tuple(factors), stored, tuple(biases))
    left, right = Factor(w.type.dtype, known=zeros.pop()), Factor(x.type.dtype, known=parameters(x.type)[1])
    spec = _windows(op, () if b is None else ("bias",), left, right, form)
    return None if spec is None else _kernel(spec, target)


@lowers(MatMulInteger, needs=(is_plain,))
def integer_matmul(op: Op[MatMulInteger], target: TargetDescription) -> Kernel | None:
    """Of any matrices; zero points are operands, and sums are the result."""
    a, w, a_zero, w_zero = op.operands
    zeros = ("left_zero", a_zero), ("right_zero", w_zero)
    others = tuple(name for name, value in zeros if value is not None)
    return _kernel(_matrices(op, MatMul(), others, _factor(a, a_zero), _factor(w, w_zero)), target)


def _matrices(
    op: Op,
    operator: MatMul,
    others: tuple[str, ...],
    left: Factor,
    right: Factor,
    requantization: Requantization | None = None,
) -> WordProduct:
    """Matrices on the left are one tall one where the right one and the zero point are the same."""
    x, w = (value.type for value in op.inputs[:2])
    rows, columns, inner = operator.extents(x, w)
    batch = op.result.type.shape[:-2]
    if math.prod(w.shape[:-2]) == 1 and left.zeros == 1:
        rows, batch = rows * math.prod(batch), ()
    of_left, of_right = (broadcast(type.shape[:-2], batch).strides if batch else () for type in (x, w))
    window, names = (Axis.line(1), Axis.line(columns)), ("left", "right", *others, "y")
    return WordProduct(rows, columns, inner, names, batch, of_left, of_right, left, right, window, requantization)


@lowers(MatMul, needs=(is_plain, is_quantized_product))
def quantized_matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Of matrices that are both computed, as in attention, each with one scale."""
    operator, operands, y = op.operator, op.operands, op.result.type
    x, w = operands.x.type, operands.w.type
    is_simple = operands.b is None and operands.residual is None and y.dtype in EIGHT_BIT
    if not is_simple or operator.transpose_a or operator.transpose_b or accumulator_factors(x, w, y).size > 1:
        return None
    left, right = (Factor(type.dtype, known=parameters(type)[1]) for type in (x, w))
    stored = StoredRange.of_product(y, operator.act, operator.act_args)
    form = Requantization((float(accumulator_factors(x, w, y)[0]),), stored)
    return _kernel(_matrices(op, operator, (), left, right, form), target)


@lowers(Attention, needs=(is_plain,))
def scores(op: Op[Attention], target: TargetDescription) -> Kernel | None:
    """Products of queries and keys alone, which lie in any order, where a processor adds products up in pairs."""
    operator, operands, y = op.operator, op.operands, op.result.type
    is_in_rows = operator.q_view[-1] == operator.k_view[-1] == 1 and operator.width >= target.lanes
    if operands.v is not None or y.quant is None or (is_in_rows and operator.rows <= target.lanes // _LANES_FOR_A_ROW):
        return None
    q, k = operands.q.type, operands.k.type
    left, right = (Factor(type.dtype, known=parameters(type)[1]) for type in (q, k))
    form = Requantization((float(operator.factor([q, k, None], y)),), StoredRange.of_product(y, "none", ()))
    window, names = (Axis.line(1), Axis.line(operator.keys)), ("left", "right", "y")
    extents = operator.rows, operator.keys, operator.width
    strides = operator.q_view[1:-2], operator.k_view[1:-2]
    spec = WordProduct(*extents, names, operator.batch, *strides, left, right, window, form)
    turned = *operator.k_view[:-2], *operator.k_view[:-3:-1]
    views = operator.q_view, turned, operator.y_view
    return _unless_large(ComputedProduct.of(spec, target, views), target)


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
