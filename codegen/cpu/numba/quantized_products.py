"""Convolution and matrix product of quantised tensors in row-major order: any rank, groups, batches and zero points."""

from __future__ import annotations

import math

import numba
import numpy as np

from ....ir.core import Op
from ....ir.ops.convolution import Conv
from ....ir.ops.matmul import MatMul
from ....ir.quantized import EIGHT_BIT, accumulator_factors, clamp_bounds, parameters
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, is_plain
from .function import compile_kernel, python_function

_ROUNDING = np.float32(1.5 * 2.0**23)


@numba.njit(error_model="numpy")
def stored_form(value, low, high, zero):
    """A number at the scale of the result as stored integer; the bounds are less the zero point.

    Adding 1.5 * 2^23 leaves the nearest integer, ties to even.
    """
    value = min(max(value, np.float32(low)), np.float32(high))
    return np.int64((value + _ROUNDING) - _ROUNDING) + zero


NAMES = (("np", np), ("stored_form", stored_form))


def _convolution_source(rank: int, has_bias: bool) -> str:
    """One work item is a row of the result along its last dimension."""
    last = rank - 1
    lines = [
        f"def kernel(x, w, {'bias, ' if has_bias else ''}y, n, f, scratch, begin, end):",
        "    outputs, channels, per_group, x_zero, y_zero, low, high = n[0], n[1], n[2], n[3], n[4], n[5], n[6]",
    ]
    for d in range(rank):
        fields = (f"input{d}", f"output{d}", f"kernel{d}", f"stride{d}", f"dilation{d}", f"before{d}")
        lines += [f"    {field} = n[{7 + 6 * d + i}]" for i, field in enumerate(fields)]
    lines += ["    for unit in range(begin, end):", "        rest = unit"]
    for d in reversed(range(last)):
        lines += [f"        p{d} = rest % output{d}", f"        rest = rest // output{d}"]
    lines += [
        "        o = rest % outputs",
        "        source = (rest // outputs * (outputs // per_group) + o // per_group) * channels",
        f"        w_zero = n[{7 + 6 * rank} + o]",
        f"        for i in range(output{last}):",
        f"            scratch[i] = {'bias[o]' if has_bias else 0}",
        "        for c in range(channels):",
    ]
    x_position, w_position = "(source + c)", "(o * channels + c)"
    indent = "            "
    for d in range(last):
        lines += [
            f"{indent}for k{d} in range(kernel{d}):",
            f"{indent}    s{d} = p{d} * stride{d} - before{d} + k{d} * dilation{d}",
            f"{indent}    if s{d} < 0 or s{d} >= input{d}:",
            f"{indent}        continue",
        ]
        indent += "    "
        x_position = f"({x_position} * input{d} + s{d})"
        w_position = f"({w_position} * kernel{d} + k{d})"
    lines += [
        f"{indent}x_row = {x_position} * input{last}",
        f"{indent}w_row = {w_position} * kernel{last}",
        f"{indent}for k in range(kernel{last}):",
        f"{indent}    weight = np.int32(w[w_row + k] - w_zero)",
        f"{indent}    start = k * dilation{last} - before{last}",
        f"{indent}    first = 0 if start >= 0 else (stride{last} - 1 - start) // stride{last}",
        f"{indent}    following = min(output{last}, (input{last} - start + stride{last} - 1) // stride{last})",
        f"{indent}    for i in range(first, following):",
        f"{indent}        scratch[i] += weight * np.int32(x[x_row + i * stride{last} + start] - x_zero)",
        f"        for i in range(output{last}):",
        "            value = np.float32(scratch[i]) * np.float32(f[o])",
        f"            y[unit * output{last} + i] = stored_form(value, low, high, y_zero)",
        "    return 0",
        "",
    ]
    return "\n".join(lines)


def _result_numbers(op: Op, outputs: int) -> tuple[tuple[int, int, int, int], list[float], list[int]]:
    """Zero points of x and y with the bounds of y less its own, then factors and zero points of the channels."""
    operator, x, w, y = op.operator, op.inputs[0].type, op.inputs[1].type, op.result.type
    assert isinstance(operator, Conv | MatMul) and w.quant is not None
    low, high = clamp_bounds(y, operator.act, operator.act_args)
    zero = parameters(y)[1]
    factors = np.broadcast_to(accumulator_factors(x, w, y), outputs)
    zeros = np.broadcast_to(np.asarray(w.quant.zero_point), outputs)
    return (parameters(x)[1], zero, low - zero, high - zero), factors.tolist(), zeros.tolist()


def is_quantized_product(op: Op) -> bool:
    """Whether an op is a convolution or matrix product of 8-bit tensors."""
    values = [*op.inputs[:2], op.results[0]]
    return all(value.type.quant is not None and value.type.dtype in EIGHT_BIT for value in values)


@lowers(Conv)
def quantized_plain_convolution(op: Op, target: TargetDescription) -> Kernel | None:
    """Any convolution whose tensors are all row-major."""
    conv, x, w, y = op.operator, op.inputs[0].type, op.inputs[1].type, op.result.type
    assert isinstance(conv, Conv)
    if not is_plain(op) or not is_quantized_product(op):
        return None
    rank, outputs = x.rank - 2, w.shape[0]
    (x_zero, *result), factors, zeros = _result_numbers(op, outputs)
    geometry = [
        *zip(x.shape[2:], y.shape[2:], w.shape[2:], conv.strides, conv.dilations, conv.pads[:rank], strict=True)
    ]
    pixels = math.prod(x.shape[2:])
    if all(axis == (axis[0], axis[0], 1, 1, axis[4], 0) for axis in geometry):
        # Pixels that do not see their neighbours are one long row.
        rank, geometry = 1, [(pixels, pixels, 1, 1, 1, 0)]
    numbers = [outputs, w.shape[1], outputs // conv.group, x_zero, *result]
    numbers += [number for axis in geometry for number in axis] + zeros
    function = python_function(_convolution_source(rank, len(op.inputs) > 2), NAMES)
    row = geometry[-1][1]
    return compile_kernel(
        "quantized_conv",
        function,
        dtypes_of(op),
        target,
        units=y.elements // row,
        integers=numbers,
        floats=factors,
        scratch=(DType.I32, row),
    )


_MATMUL = """def kernel({tensors}, n, f, scratch, begin, end):
    rows, columns, inner, x_row, x_step, w_step, w_column = n[0], n[1], n[2], n[3], n[4], n[5], n[6]
    x_zero, y_zero, low, high = n[7], n[8], n[9], n[10]
    for unit in range(begin, end):
        batch = unit // rows
        p, r = n[11 + columns + 2 * batch] + unit % rows * x_row, n[12 + columns + 2 * batch]
        total = 0
        for j in range(columns):
            scratch[j] = 0
        for k in range(inner):
            element = np.int32(x[p + k * x_step] - x_zero)
            total += element
            if w_column == 1:
                for j in range(columns):
                    scratch[j] += element * w[r + k * w_step + j]
        if w_column != 1:
            for j in range(columns):
                accumulator = 0
                for k in range(inner):
                    accumulator += np.int32(x[p + k * x_step] - x_zero) * w[r + k * w_step + j * w_column]
                scratch[j] = accumulator
        for j in range(columns):
            accumulator = scratch[j] - n[11 + j] * total{bias}
            value = np.float32(accumulator) * np.float32(f[j])
            y[unit * columns + j] = stored_form(value, low, high, y_zero)
    return 0
"""


@lowers(MatMul)
def quantized_matmul(op: Op, target: TargetDescription) -> Kernel | None:
    """Any matrix product whose tensors are all row-major."""
    operator, x, w, y = op.operator, op.inputs[0].type, op.inputs[1].type, op.result.type
    assert isinstance(operator, MatMul)
    if not is_plain(op) or not is_quantized_product(op):
        return None
    rows, columns, inner = operator.extents(x, w)
    result, factors, zeros = _result_numbers(op, columns)
    across_rows, across_inner = (1, rows) if operator.transpose_a else (inner, 1)
    down, along = (1, inner) if operator.transpose_b else (columns, 1)
    batch = y.shape[:-2]
    offsets = np.stack([_offsets(type.shape, batch) for type in (x, w)], -1).reshape(-1).tolist()
    has_bias = len(op.inputs) > 2
    source = _MATMUL.format(tensors="x, w, bias, y" if has_bias else "x, w, y", bias=" + bias[j]" if has_bias else "")
    numbers = (rows, columns, inner, across_rows, across_inner, down, along, *result, *zeros, *offsets)
    return compile_kernel(
        "quantized_matmul",
        python_function(source, NAMES),
        dtypes_of(op),
        target,
        units=math.prod(batch) * rows,
        integers=numbers,
        floats=factors,
        scratch=(DType.I32, columns),
    )


def _offsets(shape: tuple[int, ...], batch: tuple[int, ...]) -> np.ndarray:
    """Where the matrices of an operand begin, for each matrix of the result in order."""
    first = np.arange(math.prod(shape[:-2])).reshape(shape[:-2]) * math.prod(shape[-2:])
    return np.broadcast_to(first, batch).reshape(-1)
