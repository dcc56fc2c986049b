"""Convolution, transposed convolution and matrix products on row-major tensors of any rank, groups and dtype.

Straightforward loops whose innermost one runs along memory: what the kernels for blocked layouts do not cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...ir.core import Op
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.matmul import MatMul
from ...ir.types import DType
from .kernel import Kernel
from .loops import dtypes_of, has_real_meaning, is_plain, row_major
from .numba_kernel import compile_kernel, python_function
from .registry import lowers
from .scalar import NAMESPACE, activation_expression, number
from .target import TargetDescription

_FLOATS = (DType.F32, DType.F64)
_MATRIX = (*_FLOATS, DType.I32, DType.I64, DType.U32, DType.U64)

_RANGES = """@njit
def first_inside(start, step):
    return 0 if start >= 0 else (step - 1 - start) // step

@njit
def last_inside(start, step, extent, count):
    return max(0, min(count, (extent - start + step - 1) // step))

"""

_CONV = """def kernel({tensors}, n, f, scratch, begin, end):
    outputs, per_group, channels = n[0], n[1], n[2]
    depth, height, width, od, oh, ow, kd, kh, kw = n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]
    for u in range(begin, end):
        o = u % outputs
        first = (u // outputs * (outputs // per_group) + o // per_group) * channels
        for a in range(od):
            i0, i1 = first_inside(a * n[12] - n[18], n[15]), last_inside(a * n[12] - n[18], n[15], depth, kd)
            for b in range(oh):
                j0, j1 = first_inside(b * n[13] - n[19], n[16]), last_inside(b * n[13] - n[19], n[16], height, kh)
                q = ((u * od + a) * oh + b) * ow
                for c in range(ow):
                    y[q + c] = {bias}
                for s in range(channels):
                    for i in range(i0, i1):
                        for j in range(j0, j1):
                            p = ((first + s) * depth + a * n[12] - n[18] + i * n[15]) * height
                            p = (p + b * n[13] - n[19] + j * n[16]) * width
                            r = (((o * channels + s) * kd + i) * kh + j) * kw
                            for k in range(kw):
                                start = k * n[17] - n[20]
                                factor = w[r + k]
                                for c in range(first_inside(start, n[14]), last_inside(start, n[14], width, ow)):
                                    y[q + c] += factor * x[p + start + c * n[14]]
                for c in range(ow):
                    v = y[q + c]{residual}
                    y[q + c] = {act}
    return 0
"""

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
            for a in range(depth):
                i0, i1 = first_inside(a * n[12] - n[18], n[15]), last_inside(a * n[12] - n[18], n[15], od, kd)
                for b in range(height):
                    j0, j1 = first_inside(b * n[13] - n[19], n[16]), last_inside(b * n[13] - n[19], n[16], oh, kh)
                    p = (((u // outputs * (outputs // per_group) * channels + source) * depth + a) * height + b) * width
                    for i in range(i0, i1):
                        for j in range(j0, j1):
                            q = (u * od + a * n[12] - n[18] + i * n[15]) * oh
                            q = (q + b * n[13] - n[19] + j * n[16]) * ow
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


def _geometry(op: Op, operator: Conv | ConvTranspose, kernel: Sequence[int]) -> tuple[int, ...] | None:
    """Extents of x, result and kernel, strides, dilations and begin pads, each for three dimensions."""
    spatial = len(operator.strides)
    missing = 3 - spatial
    if missing < 0:
        return None
    return (
        *_three(missing, 1, op.inputs[0].type.shape[2:]),
        *_three(missing, 1, op.result.type.shape[2:]),
        *_three(missing, 1, kernel),
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
    geometry = _geometry(op, operator, w.shape[2:])
    names, has_bias, has_residual = _tensors(op)
    is_forward = isinstance(operator, Conv)
    act = activation_expression(operator.act, operator.act_args, "v", dtype) if is_forward else "v"
    if geometry is None or act is None:
        return None
    batch, outputs = op.result.type.shape[:2]
    channels = w.shape[1] if is_forward else w.shape[0] // operator.group
    source = _RANGES + (_CONV if is_forward else _TRANSPOSE).format(
        tensors=", ".join(names),
        bias="bias[o]" if has_bias else number(0, dtype),
        residual=" + residual[q + c]" if has_residual else "",
        act=act,
    )
    numbers = (outputs, outputs // operator.group, channels, *geometry)
    function = python_function(source, NAMESPACE)
    units = batch * outputs
    return compile_kernel(op.name, function, dtypes_of(op), target, units=units, integers=numbers, fastmath=True)


_MATMUL = """def kernel({tensors}, n, f, scratch, begin, end):
    rows, columns, inner = n[0], n[1], n[2]
    for u in range(begin, end):
        batch = u // rows
        p, r, q = n[7 + 2 * batch] + u % rows * n[3], n[8 + 2 * batch], u * columns
        if n[6] == 1:
            for j in range(columns):
                y[q + j] = 0
            for k in range(inner):
                factor = x[p + k * n[4]]
                for j in range(columns):
                    y[q + j] += factor * w[r + k * n[5] + j]
        else:
            for j in range(columns):
                total = {zero}
                for k in range(inner):
                    total += x[p + k * n[4]] * w[r + k * n[5] + j * n[6]]
                y[q + j] = total
        for j in range(columns):
            v = y[q + j]{bias}{residual}
            y[q + j] = {act}
    return 0
"""


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
    across_rows, across_inner = (1, rows) if operator.transpose_a else (inner, 1)
    down, along = (1, inner) if operator.transpose_b else (columns, 1)
    batch = op.result.type.shape[:-2]
    offsets = [_offsets(type.shape, batch) for type in (x, w)]
    table = np.stack(offsets, -1).reshape(-1).tolist()
    names, has_bias, has_residual = _tensors(op)
    source = _MATMUL.format(
        tensors=", ".join(names),
        zero=number(0, dtype if dtype.is_float else DType.U64 if dtype is DType.U64 else DType.I64),
        bias=" + bias[j]" if has_bias else "",
        residual=" + residual[q + j]" if has_residual else "",
        act=act,
    )
    numbers = (rows, columns, inner, across_rows, across_inner, down, along, *table)
    function = python_function(source, NAMESPACE)
    units = math.prod(batch) * rows
    return compile_kernel("matmul", function, dtypes_of(op), target, units=units, integers=numbers, fastmath=True)


def _offsets(shape: tuple[int, ...], batch: tuple[int, ...]) -> np.ndarray:
    """Where the matrices of an operand begin, for each matrix of the result in order."""
    leading = shape[:-2]
    first = np.arange(math.prod(leading)).reshape(leading) * row_major(shape)[-3] if leading else np.zeros((), np.int64)
    return np.broadcast_to(first, batch).reshape(-1)
