"""Convolutions and matrix products of 8-bit integers with computed zero points and scales, row-major.

Sums are int32 and wrap. They are kept in the scratch memory, a row of the result at a time.
"""

from __future__ import annotations

import math

import numpy as np

from ....ir.core import Op
from ....ir.ops.integer_products import ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, is_plain
from .function import compile_kernel, python_function
from .integer_scalar import NAMES
from .products import CONVOLUTION, MATRIX_PRODUCT, RANGES, convolution_geometry, matrix_offsets
from .scalar import NAMESPACE

_NAMESPACE = (*NAMESPACE, *NAMES)
_FACTOR = "factor_y = np.float32(np.float32({x}_scale[0] * {w}_scale[{index}]) / y_scale[0])"


def _present(op: Op) -> list[str]:
    """Names of the operands that are there, as in the schema."""
    return [place.name for place, value in zip(op.operator.OPERANDS, op.operands, strict=False) if value is not None]


def _step(op: Op, name: str) -> int:
    """Distance between the elements of a parameter for neighbouring channels: 0 if one serves all."""
    names = _present(op)
    return int(name in names and op.inputs[names.index(name)].type.elements > 1)


def _limits(op: Op) -> str:
    limits = np.iinfo(op.result.type.dtype.numpy)
    return f"{limits.min}, {limits.max}"


@lowers(ConvInteger, QLinearConv)
def lower_integer_convolution(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (is_plain(op) and isinstance(operator, ConvInteger | QLinearConv)):
        return None
    names = _present(op)
    w = op.inputs[names.index("w")].type
    geometry = convolution_geometry(op, w)
    if geometry is None:
        return None
    before = _zeros(names, ("x_zero_point", "zero_x", "0"), ("w_zero_point", "zero_w", "o * n[21]"))
    result = "scratch[c]"
    if isinstance(operator, QLinearConv):
        before += [_FACTOR.format(x="x", w="w", index="o * n[22]"), "zero_y = y_zero_point[0]"]
        result = f"requantized(scratch[c], factor_y, zero_y, {_limits(op)})"
    batch, outputs = op.result.type.shape[:2]
    source = CONVOLUTION.format(
        tensors=", ".join([*names, "y"]),
        before="; ".join(before),
        sum="scratch[c]",
        bias="b[o]" if "b" in names else "0",
        weight=_centred("w[r + k]", "zero_w"),
        value=_centred("x[p + start + c * n[14]]", "zero_x"),
        finish=f"y[q + c] = {result}",
    )
    numbers = (outputs, outputs // operator.group, w.shape[1], *geometry)
    steps = _step(op, "w_zero_point"), _step(op, "w_scale")
    return compile_kernel(
        op.name,
        python_function(RANGES + source, _NAMESPACE),
        dtypes_of(op),
        target,
        units=batch * outputs,
        integers=(*numbers, *steps),
        scratch=(DType.I32, op.result.type.shape[-1]),
    )


@lowers(MatMulInteger, QLinearMatMul)
def lower_integer_matmul(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (is_plain(op) and isinstance(operator, MatMulInteger | QLinearMatMul)):
        return None
    names = _present(op)
    a, b = (op.inputs[names.index(name)].type for name in ("a", "b"))
    shape = op.result.type.shape
    rows, columns, inner = shape[-2], shape[-1], a.shape[-1]
    offsets = matrix_offsets(a.shape, b.shape, shape[:-2])
    last = 7 + len(offsets)
    before = _zeros(names, ("a_zero_point", "zero_a", f"u % rows * n[{last}]"))
    result = "scratch[j]"
    if isinstance(operator, QLinearMatMul):
        before.append("zero_y = y_zero_point[0]")
        result = f"requantized(scratch[j], factor_y, zero_y, {_limits(op)})"
    factor = [_FACTOR.format(x="a", w="b", index=f"j * n[{last + 2}]")] if isinstance(operator, QLinearMatMul) else []
    zero_b = f"b_zero_point[j * n[{last + 1}]]" if "b_zero_point" in names else "0"
    source = MATRIX_PRODUCT.format(
        tensors=", ".join([*names, "y"]),
        zero="np.int32(0)",
        before="; ".join(before),
        sum="scratch[j]",
        left=_centred("a[i]", "zero_a"),
        right=_centred("b[i]", zero_b),
        finish="; ".join([*factor, f"y[q + j] = {result}"]),
    )
    steps = _step(op, "a_zero_point"), _step(op, "b_zero_point"), _step(op, "b_scale")
    return compile_kernel(
        op.name,
        python_function(source, _NAMESPACE),
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
