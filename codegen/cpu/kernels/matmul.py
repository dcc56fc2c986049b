"""Matrix multiplication of row-major tensors: single precision, and bfloat16 and 8-bit ones with a known right factor.

Products of a few rows with a transposed matrix are dot products along contiguous memory: the fully connected layer at
batch 1, bound by the bandwidth of its weights, which are read once, in order.
"""

import math

from ....ir.accumulators import is_word_product, word_parts
from ....ir.core import Constant, Op
from ....ir.ops.matmul import MatMul, NarrowMatMul
from ....ir.quantized import EIGHT_BIT
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm import tiles
from ..llvm.row_vectors import RowVector, first_lanes, over_row
from ..llvm.target import TargetDescription
from ..llvm.types import F32, Register, Registers, poison, zero
from ..nest import broadcast
from ..tensors import is_float, is_plain
from .activation import ProductSpec, what_follows
from .output_channels import channels_of, has_constant_channels, without_zero_points
from .products.byte_product import ByteProduct, WordProduct
from .products.float_product import FloatProduct
from .products.matrix_product import positions
from .products.narrow_product import NarrowProduct
from .products.tiled_product import tiled_product

FEW_ROWS = 4
"""Up to so many rows a transposed right factor is read as it lies."""


PANELS = ("o16", "io16")
"""Layouts of known right factors."""

TOGETHER = 8
"""Rows of the matrix that are read side by side."""


class DotProducts(ProductSpec):
    """x w^T + bias + residual, then the activation.

    Arguments: x [*, rows, inner], w [*, columns, inner], bias [columns], residual and result [*, rows, columns];
    row-major, single precision. The result may lie where the residual lies.
    ``batch``, ``x_strides``, ``w_strides``: see :class:`FloatProduct`.
    ``turned``: x and w come in the other order."""

    rows: int
    columns: int
    inner: int
    batch: tuple[int, ...] = ()
    x_strides: tuple[int, ...] = ()
    w_strides: tuple[int, ...] = ()
    turned: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        first, second, *others = super().arguments
        return (second, first, *others) if self.turned else (first, second, *others)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("residual", "y"))
        results, groups = F32.of(TOGETHER), -(-self.columns // TOGETHER)

        def group(index: Register) -> None:
            matrix, first = b.divide(index, groups), b.multiply(b.remainder(index, groups), TOGETHER)
            left, right = positions(b, matrix, self.batch, self.x_strides, self.w_strides)
            of_left = b.at(arguments["x"], b.multiply(left, 4 * self.rows * self.inner))
            of_right = b.at(arguments["w"], b.multiply(right, 4 * self.columns * self.inner))
            # Rows beyond the last one are read as the last one, and not stored.
            rows = [b.minimum(b.add(first, i), self.columns - 1) for i in range(TOGETHER)]
            pointers = [b.at(of_right, b.multiply(row, 4 * self.inner)) for row in rows]
            mask = first_lanes(b, b.subtract(self.columns, first), TOGETHER)

            def row(m: Register) -> None:
                x = b.at(of_left, b.multiply(m, 4 * self.inner))
                of_result = b.add(b.multiply(matrix, self.rows), m)
                offset = b.multiply(b.add(b.multiply(of_result, self.columns), first), 4)

                def some(part: RowVector, sums: Registers) -> list[Register]:
                    factor = part.load(x)
                    return [b.fma(part.load(w), factor, total) for w, total in zip(pointers, sums, strict=True)]

                sums = over_row(b, self.inner, some, [zero(F32.of(target.lanes))] * TOGETHER)
                value = poison(results)
                for i, total in enumerate(sums):
                    value = b.insert(value, b.sum_of_lanes(total), i)
                if self.has_bias:
                    bias = b.load_masked(results, b.at(arguments["bias"], b.multiply(first, 4)), mask)
                    value = b.binary("fadd", value, bias)
                if self.has_residual:
                    residual = b.load_masked(results, b.at(arguments["residual"], offset), mask)
                    value = b.binary("fadd", value, residual)
                value = self.activation.apply(b, value)
                b.store_masked(value, b.at(arguments["y"], offset), mask)

            b.each(0, self.rows, row)

        return self.each_unit(b, group, units=math.prod(self.batch) * groups)


@lowers(MatMul, needs=(is_float,))
def matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Products in tiles, or as dot products where there are few rows."""
    operator, x, w = op.operator, op.operands.x.type, op.operands.w.type
    rows, columns, inner = operator.extents(x, w)
    batch = op.result.type.shape[:-2]
    panels = w.layout in PANELS
    if not inner or not (panels or is_plain(op)):
        return None
    if math.prod(w.shape[:-2]) == 1 and not operator.transpose_a:
        # The same right factor for all: the matrices on the left are one tall one.
        rows, batch = rows * math.prod(batch), ()
    x_strides, w_strides = (broadcast(type.shape[:-2], batch).strides if batch else () for type in (x, w))
    if operator.transpose_b and rows <= FEW_ROWS and not (operator.transpose_a or panels):
        return DotProducts(rows, columns, inner, batch, x_strides, w_strides, **what_follows(op)).kernel(target)
    if columns == 1 and not (operator.transpose_a or panels) and op.operands.b is None:
        # A matrix times a vector, which is the one row that the matrix is read for.
        return DotProducts(1, rows, inner, batch, w_strides, x_strides, True, **what_follows(op)).kernel(target)
    factors = (batch, x_strides, w_strides, operator.transpose_a, operator.transpose_b and not panels, panels)
    return FloatProduct(rows, columns, inner, *factors, **what_follows(op)).kernel(target)


@lowers(MatMul, needs=(is_plain,))
def double_matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Products in double precision of several rows with several columns."""
    operator, x, w = op.operator, op.operands.x.type, op.operands.w.type
    rows, columns, inner = operator.extents(x, w)
    if x.dtype is not DType.F64 or operator.act != "none" or not inner or min(rows, columns) == 1:
        return None
    batch = op.result.type.shape[:-2]
    x_strides, w_strides = (broadcast(type.shape[:-2], batch).strides if batch else () for type in (x, w))
    factors = (batch, x_strides, w_strides, operator.transpose_a, operator.transpose_b)
    return FloatProduct(rows, columns, inner, *factors, is_double=True, **what_follows(op)).kernel(target)


@lowers(NarrowMatMul, needs=(is_plain,))
def narrow_matmul(op: Op[NarrowMatMul], target: TargetDescription) -> Kernel | None:
    """Products with a known matrix, the same for all on the left, which are one tall one."""
    operator, (x, w, bias, _) = op.operator, op.operands
    if not isinstance(w, Constant) or not isinstance(bias, Constant | None) or math.prod(w.type.shape[:-2]) != 1:
        return None
    product = tiles.narrow_product(target)
    if operator.transpose_a or not x.type.elements or product is None:
        return None
    weights = w.array.reshape(w.type.shape[-2:])
    columns, inner = op.result.type.shape[-1], x.type.shape[-1]
    rows = x.type.elements // inner
    spec = NarrowProduct(product, rows, columns, inner, **what_follows(op))
    known = weights if operator.transpose_b else weights.T
    return spec.kernel(target).reading(spec.data_of(known, bias.array if bias is not None else None))


@lowers(MatMul)
def quantized_matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Products with a known matrix that lies in order for dot products, with results of 8 or 16 bits."""
    operator, x, w, y = op.operator, op.operands.x.type, op.operands.w.type, op.result.type
    if is_word_product(op):
        return _word_product(op, target)
    if not has_constant_channels(op) or x.layout or y.layout:
        return None
    inner, columns, layout = x.shape[-1], y.shape[-1], "o16i4" if operator.transpose_b else "i4o16"
    if w.rank != 2 or operator.transpose_a or w.layout != layout or not x.elements:
        return None
    channels, has_bias = channels_of(op, target), op.operands.b is not None
    spec = ByteProduct(x.elements // inner, columns, inner, constants=channels, has_bias=has_bias)
    assert isinstance(op.operands.w, Constant)
    weights = op.operands.w.array
    tiled = tiled_product(op, spec, target) if y.dtype in EIGHT_BIT else None
    return tiled or spec.reading(weights.T if operator.transpose_b else weights, target)


def _word_product(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    """Products of 16 bits with a known matrix that lies as it is."""
    operator, x = op.operator, op.operands.x.type
    inner, weights = x.shape[-1], without_zero_points(op)
    if weights.ndim != 2 or operator.transpose_a or not is_plain(op) or not x.elements or word_parts(op) != 1:
        return None
    known = {"constants": channels_of(op, None).without_zeros, "has_bias": op.operands.b is not None}
    spec = WordProduct(x.elements // inner, op.result.type.shape[-1], 2 * inner, **known)
    return spec.kernel(target).reading(spec.words(weights.T if operator.transpose_b else weights))
