"""Convolution, transposed convolution and matrix products on row-major tensors of any rank, groups and dtype.

Straightforward loops whose innermost one runs along memory: what the kernels for blocked layouts do not cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ....ir.core import Op
from ....ir.ops.convolution import Conv, ConvTranspose
from ....ir.ops.integer_products import ConvInteger
from ....ir.ops.matmul import MatMul
from ....ir.types import DType, TensorType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, has_real_meaning, is_plain
from .function import compile_kernel, python_function
from .scalar import NAMESPACE, activation_expression, number

_FLOATS = (DType.F32, DType.F64)
_MATRIX = (*_FLOATS, DType.I32, DType.I64, DType.U32, DType.U64)

RANGES = """@njit
def first_inside(start, step):
    return 0 if start >= 0 else (step - 1 - start) // step

@njit
def last_inside(start, step, extent, count):
    return max(0, min(count, (extent - start + step - 1) // step))

"""

CONVOLUTION = """def kernel({tensors}, n, f, scratch, begin, end):
    outputs, per_group, channels = n[0], n[1], n[2]
    depth, height, width, od, oh, ow, kd, kh, kw = n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]
    for u in range(begin, end):
        o = u % outputs
        first = (u // outputs * (outputs // per_group) + o // per_group) * channels
        {before}
        for plane in range(od):
            i0, i1 = first_inside(plane * n[12] - n[18], n[15]), last_inside(plane * n[12] - n[18], n[15], depth, kd)
            for line in range(oh):
                j0, j1 = first_inside(line * n[13] - n[19], n[16]), last_inside(line * n[13] - n[19], n[16], height, kh)
                q = ((u * od + plane) * oh + line) * ow
                for c in range(ow):
                    {sum} = {bias}
                for s in range(channels):
                    for i in range(i0, i1):
                        for j in range(j0, j1):
                            p = ((first + s) * depth + plane * n[12] - n[18] + i * n[15]) * height
                            p = (p + line * n[13] - n[19] + j * n[16]) * width
                            r = (((o * channels + s) * kd + i) * kh + j) * kw
                            for k in range(kw):
                                start = k * n[17] - n[20]
                                factor = {weight}
                                for c in range(first_inside(start, n[14]), last_inside(start, n[14], width, ow)):
                                    v = {value}
                                    {sum} += factor * v
                for c in range(ow):
                    {finish}
    return 0
"""
"""Convolution, one work item an output channel of an image. ``{sum}`` accumulates for column ``c`` of a row."""

_TRANSPOSE = """def kernel({tensors}, n, f, scratch, begin, end):
    outputs, per_group, channels = n[0], n[1], n[2]
    depth, height, width, od, oh, ow, kd, kh, kw = n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]
    for u in range(begin, end):
        o = u % outputs
        group = o // per_group
        for c in range(od * oh * ow):
            y[u * od * oh * ow + c] = {bias}
        for s in range(channels):
            source = group * channels + s
            for plane in range(depth):
                i0, i1 = first_inside(plane * n[12] - n[18], n[15]), last_inside(plane * n[12] - n[18], n[15], od, kd)
                for line in range(height):
                    j0, j1 = first_inside(line * n[13] - n[19], n[16]), last_inside(line * n[13] - n[19], n[16], oh, kh)
                    p = (u // outputs * (outputs // per_group) * channels + source) * depth + plane
                    p = (p * height + line) * width
                    for i in range(i0, i1):
                        for j in range(j0, j1):
                            q = (u * od + plane * n[12] - n[18] + i * n[15]) * oh
                            q = (q + line * n[13] - n[19] + j * n[16]) * ow
                            r = (((source * per_group + o % per_group) * kd + i) * kh + j) * kw
                            for k in range(kw):
                                start = k * n[17] - n[20]
                                factor = w[r + k]
                                for c in range(first_inside(start, n[14]), last_inside(start, n[14], ow, width)):
                                    y[q + start + c * n[14]] += factor * x[p + c]
    return 0
"""


def _three(missing: int, fill: int, numbers: Sequence[int]) -> tuple[int, ...]:
    return (*(fill,) * missing, *numbers)


def convolution_geometry(op: Op, w: TensorType) -> tuple[int, ...] | None:
    """Extents of x, result and kernel, strides, dilations and begin pads, each for three dimensions."""
    operator = op.operator
    assert isinstance(operator, Conv | ConvTranspose | ConvInteger)
    spatial = len(operator.strides)
    missing = 3 - spatial
    if missing < 0:
        return None
    return (
        *_three(missing, 1, op.inputs[0].type.shape[2:]),
        *_three(missing, 1, op.result.type.shape[2:]),
        *_three(missing, 1, w.shape[2:]),
        *_three(missing, 1, operator.strides),
        *_three(missing, 1, operator.dilations),
        *_three(missing, 0, operator.pads[:spatial]),
    )


def _tensors(op: Op) -> tuple[list[str], bool, bool]:
    """Names of the pointers; whether there are a bias and a residual."""
    present = [value is not None for value in (*op.operands, None, None)[:4]]
    names = [n for n, p in zip(("x", "w", "bias", "residual"), present, strict=True) if p]
    return [*names, "y"], present[2], present[3]


def _computes(op: Op, dtypes: tuple[DType, ...]) -> bool:
    return is_plain(op) and has_real_meaning(op) and op.inputs[0].type.dtype in dtypes


@lowers(Conv, ConvTranspose)
def lower_convolution(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (_computes(op, _FLOATS) and isinstance(operator, Conv | ConvTranspose)):
        return None
    dtype, w = op.result.type.dtype, op.inputs[1].type
    geometry = convolution_geometry(op, w)
    names, has_bias, has_residual = _tensors(op)
    is_forward = isinstance(operator, Conv)
    act = activation_expression(operator.act, operator.act_args, "v", dtype) if is_forward else "v"
    if geometry is None or act is None:
        return None
    batch, outputs = op.result.type.shape[:2]
    channels = w.shape[1] if is_forward else w.shape[0] // operator.group
    source = (CONVOLUTION if is_forward else _TRANSPOSE).format(
        tensors=", ".join(names),
        before="pass",
        # Not in the result, which may lie where the residual lies.
        sum="scratch[c]",
        bias="bias[o]" if has_bias else number(0, dtype),
        weight="w[r + k]",
        value="x[p + start + c * n[14]]",
        finish=f"v = scratch[c]{' + residual[q + c]' if has_residual else ''}; y[q + c] = {act}",
    )
    numbers = (outputs, outputs // operator.group, channels, *geometry)
    function = python_function(RANGES + source, NAMESPACE)
    return compile_kernel(
        op.name,
        function,
        dtypes_of(op),
        target,
        units=batch * outputs,
        integers=numbers,
        scratch=(dtype, op.result.type.shape[-1] if is_forward else 0),
        fastmath=True,
    )


MATRIX_PRODUCT = """def kernel({tensors}, n, f, scratch, begin, end):
    rows, columns, inner = n[0], n[1], n[2]
    for u in range(begin, end):
        batch = u // rows
        p, r, q = n[7 + 2 * batch] + u % rows * n[3], n[8 + 2 * batch], u * columns
        {before}
        if n[6] == 1:
            for j in range(columns):
                {sum} = 0
            for k in range(inner):
                i = p + k * n[4]
                factor = {left}
                for j in range(columns):
                    i = r + k * n[5] + j
                    {sum} += factor * {right}
        else:
            for j in range(columns):
                total = {zero}
                for k in range(inner):
                    i = p + k * n[4]
                    factor = {left}
                    i = r + k * n[5] + j * n[6]
                    total += factor * {right}
                {sum} = total
        for j in range(columns):
            {finish}
    return 0
"""
"""Matrix product, one work item a row of the result; ``i`` is the position of an element of an operand."""


@lowers(MatMul)
def lower_matmul(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (_computes(op, _MATRIX) and isinstance(operator, MatMul)):
        return None
    x, w, dtype = op.inputs[0].type, op.inputs[1].type, op.result.type.dtype
    act = activation_expression(operator.act, operator.act_args, "v", dtype)
    if act is None:
        return None
    rows, columns, inner = operator.extents(x, w)
    strides = (
        *((1, rows) if operator.transpose_a else (inner, 1)),
        *((1, inner) if operator.transpose_b else (columns, 1)),
    )
    batch = op.result.type.shape[:-2]
    names, has_bias, has_residual = _tensors(op)
    terms = ["scratch[j]", *["bias[j]"] * has_bias, *["residual[q + j]"] * has_residual]
    source = MATRIX_PRODUCT.format(
        tensors=", ".join(names),
        zero=number(0, dtype if dtype.is_float else DType.U64 if dtype is DType.U64 else DType.I64),
        before="pass",
        # Not in the result, which may lie where the residual lies.
        sum="scratch[j]",
        left="x[i]",
        right="w[i]",
        finish=f"v = {' + '.join(terms)}; y[q + j] = {act}",
    )
    numbers = (rows, columns, inner, *strides, *matrix_offsets(x.shape, w.shape, batch))
    function = python_function(source, NAMESPACE)
    return compile_kernel(
        "matmul",
        function,
        dtypes_of(op),
        target,
        units=math.prod(batch) * rows,
        integers=numbers,
        scratch=(dtype, columns),
        fastmath=True,
    )


def matrix_offsets(x: tuple[int, ...], w: tuple[int, ...], batch: tuple[int, ...]) -> tuple[int, ...]:
    """Where the matrices of both operands begin, alternately, for each matrix of the result in order."""
    starts: list[np.ndarray] = []
    for shape in (x, w):
        first = np.arange(math.prod(shape[:-2])).reshape(shape[:-2]) * math.prod(shape[-2:])
        starts.append(np.broadcast_to(first, batch).reshape(-1))
    return tuple(np.stack(starts, -1).reshape(-1).tolist())
