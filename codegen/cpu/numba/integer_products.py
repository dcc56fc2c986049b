"""Convolutions and matrix products of 8-bit integers with computed zero points, row-major.

Sums are int32 and wrap.
"""

from __future__ import annotations

import math

from ....ir.core import Op
from ....ir.ops.integer_products import ConvInteger, MatMulInteger
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, is_plain
from .function import compile_kernel, python_function
from .products import CONVOLUTION, MATRIX_PRODUCT, RANGES, convolution_geometry, matrix_offsets
from .scalar import NAMESPACE


def _present(op: Op) -> list[str]:
    """Names of the operands that are there, as in the schema."""
    return [name for name, value in zip(op.operator.OPERANDS or (), op.operands, strict=True) if value is not None]


def _step(op: Op, name: str) -> int:
    """Distance between the elements of a parameter for neighbouring channels: 0 if one serves all."""
    names = _present(op)
    return int(name in names and op.inputs[names.index(name)].type.elements > 1)


@lowers(ConvInteger)
def lower_integer_convolution(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    w = op.inputs[1].type
    geometry = convolution_geometry(op, w)
    if geometry is None or not (is_plain(op) and isinstance(operator, ConvInteger)):
        return None
    names = _present(op)
    source = CONVOLUTION.format(
        tensors=", ".join([*names, "y"]),
        before="; ".join(_zeros(names, ("x_zero_point", "zero_x", "0"), ("w_zero_point", "zero_w", "o * n[21]"))),
        sum="scratch[c]",
        bias="0",
        weight=_centred("w[r + k]", "zero_w"),
        value=_centred("x[p + start + c * n[14]]", "zero_x"),
        finish="y[q + c] = scratch[c]",
    )
    batch, outputs = op.result.type.shape[:2]
    numbers = (outputs, outputs // operator.group, w.shape[1], *geometry, _step(op, "w_zero_point"))
    return compile_kernel(
        op.name,
        python_function(RANGES + source, NAMESPACE),
        dtypes_of(op),
        target,
        units=batch * outputs,
        integers=numbers,
        scratch=(DType.I32, op.result.type.shape[-1]),
    )


@lowers(MatMulInteger)
def lower_integer_matmul(op: Op, target: TargetDescription) -> Kernel | None:
    if not is_plain(op):
        return None
    names = _present(op)
    a, b = op.inputs[0].type, op.inputs[1].type
    shape = op.result.type.shape
    rows, columns, inner = shape[-2], shape[-1], a.shape[-1]
    offsets = matrix_offsets(a.shape, b.shape, shape[:-2])
    last = 7 + len(offsets)
    source = MATRIX_PRODUCT.format(
        tensors=", ".join([*names, "y"]),
        zero="np.int32(0)",
        before="; ".join(_zeros(names, ("a_zero_point", "zero_a", f"u % rows * n[{last}]"))),
        sum="scratch[j]",
        left=_centred("a[i]", "zero_a"),
        right=_centred("b[i]", f"b_zero_point[j * n[{last + 1}]]" if "b_zero_point" in names else "0"),
        finish="y[q + j] = scratch[j]",
    )
    steps = _step(op, "a_zero_point"), _step(op, "b_zero_point")
    return compile_kernel(
        op.name,
        python_function(source, NAMESPACE),
        dtypes_of(op),
        target,
        units=math.prod(shape[:-1]),
        integers=(rows, columns, inner, inner, 1, columns, 1, *offsets, *steps),
        scratch=(DType.I32, columns),
    )


def _zeros(names: list[str], *zeros: tuple[str, str, str]) -> list[str]:
    """Statements that read zero points (operand, variable, index), 0 where absent."""
    return [
        f"{variable} = np.int32({f'{operand}[{index}]' if operand in names else '0'})"
        for operand, variable, index in zeros
    ]


def _centred(element: str, zero: str) -> str:
    return f"np.int32(np.int32({element}) - np.int32({zero}))"
