"""Products of integers, which IR has none of: in double precision they are exact."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.integer_products import ConvInteger, MatMulInteger
from .....ir.types import DType
from ..exporter import IrExporter, Tensor, exports
from .convolution import convolved
from .elementwise import combined
from .shape import converted, reshaped


def _difference(exporter: IrExporter, x: Value, zero: Value | None, shape: tuple[int, ...]) -> Tensor:
    """``x`` less its zero point.

    Args:
        shape: of a zero point of more than one element.
    """
    real = converted(exporter, x, DType.F64)
    if zero is None:
        return real
    zero_point = reshaped(exporter, zero, shape if zero.type.elements > 1 else ())
    return combined(exporter, "Subtract", real, converted(exporter, zero_point, DType.F64))


@exports(MatMulInteger)
def export_matmul(op: Op[MatMulInteger], exporter: IrExporter) -> None:
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
