"""Pooling over windows of row-major tensors with up to three spatial dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ....ir import arithmetic
from ....ir.core import Op
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, LpPool, MaxPool, Pool, lowest
from ....ir.quantized import check_elementwise, limits, parameters
from ....ir.types import DType, TensorType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, has_real_meaning, is_movement, is_plain
from .function import compile_kernel, python_function
from .scalar import load, number, store

_SOURCE = """def kernel(x, y, n, f, scratch, begin, end):
    depth, height, width, od, oh, ow, kd, kh, kw = n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]
    for u in range(begin, end):
        for a in range(od):
            i0, i1 = first_inside(a * n[9] - n[15], n[12]), last_inside(a * n[9] - n[15], n[12], depth, kd)
            for b in range(oh):
                j0, j1 = first_inside(b * n[10] - n[16], n[13]), last_inside(b * n[10] - n[16], n[13], height, kh)
                for c in range(ow):
                    scratch[c] = {initial}
                for i in range(i0, i1):
                    for j in range(j0, j1):
                        row = (u * depth + a * n[9] - n[15] + i * n[12]) * height + b * n[10] - n[16] + j * n[13]
                        for {outer.index} in range({outer.count}):
                            start, step = {outer.index} * {outer.step} - n[17], {inner.step}
                            first, last = first_inside(start, step), last_inside(start, step, width, {inner.count})
                            for {inner.index} in range(first, last):
                                p = row * width + start + {inner.index} * step
                                v, total = {element}, scratch[c]
                                scratch[c] = {step}
                for c in range(ow):
                    total = scratch[c]
                    {count}
                    {result}
    return 0
"""
"""One work item is a channel of an image; a row of the result at a time is accumulated in the scratch memory."""


@dataclass(frozen=True)
class _Loop:
    """A loop along a row: its variable, how often it runs, and by how many positions it moves."""

    index: str
    count: str
    step: str


_TAPS, _WINDOWS = _Loop("k", "kw", "n[14]"), _Loop("c", "ow", "n[11]")


def _row_loops(x: TensorType, operator: Pool, y: TensorType) -> dict[str, _Loop]:
    """The outer and the inner loop along a row: windows side by side, but where most taps lie in the padding."""
    is_long = operator.kernel[-1] > x.shape[-1] + y.shape[-1]
    return {"outer": _WINDOWS, "inner": _TAPS} if is_long else {"outer": _TAPS, "inner": _WINDOWS}


def _count(counts_padding: bool) -> str:
    """By how many elements a sum is divided: those of x in the window, or also those in the padding."""
    factors: list[str] = []
    for d, o in enumerate("abc"):
        floor, end = (f"-n[{15 + d}]", f"n[{d}] + n[{18 + d}]") if counts_padding else ("0", f"n[{d}]")
        factors.append(f"taps({o}, n[{15 + d}], {end}, n[{6 + d}], n[{9 + d}], n[{12 + d}], {floor})")
    return f"count = {' * '.join(factors)}"


def _geometry(operator: Pool, shape: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, ...] | None:
    """Extents of x and of the result, kernel, strides, dilations, pads before and after, each for three dimensions."""
    missing = 3 - len(operator.kernel)
    if missing < 0:
        return None
    spatial = len(operator.kernel)
    ones, zeros = (1,) * missing, (0,) * missing
    tables = (
        (*ones, *shape[2:]),
        (*ones, *result[2:]),
        (*ones, *operator.kernel),
        (*ones, *operator.strides),
        (*ones, *operator.dilations),
        (*zeros, *operator.pads[:spatial]),
        (*zeros, *operator.pads[spatial:]),
    )
    return tuple(number for table in tables for number in table)


@lowers(MaxPool, AveragePool, LpPool)
def lower_pool(op: Op[MaxPool | AveragePool | LpPool], target: TargetDescription) -> Kernel | None:
    operator, type = op.operator, op.inputs[0].type
    if not (is_plain(op) and is_movement(op)):
        return None
    geometry = _geometry(operator, type.shape, op.result.type.shape)
    if geometry is None:
        return None
    dtype, count = type.dtype, ""
    wide = DType.F32 if dtype is DType.F16 else dtype
    if isinstance(operator, MaxPool):
        initial, step, result = number(lowest(dtype.numpy).item(), dtype), "larger(total, v)", "total"
    else:
        if not (dtype.is_float and has_real_meaning(op)):
            return None
        wide, initial, step, result = DType.F64, "0.0", "total + v", "total / count"
        if isinstance(operator, LpPool):
            step, result = f"total + abs(np.float64(v)) ** {float(operator.p)!r}", f"total ** {1 / operator.p!r}"
        elif isinstance(operator, AveragePool):
            count = _count(operator.count_include_pad)
    source = _SOURCE.format(
        **_row_loops(type, operator, op.result.type),
        initial=initial,
        element=load("x", "p", dtype),
        step=step,
        count=count or "pass",
        result=store("y", "((u * od + a) * oh + b) * ow + c", result, dtype, wide),
    )
    function = python_function(source)
    units = math.prod(type.shape[:2])
    scratch = wide, op.result.type.shape[-1]
    return compile_kernel(op.name, function, dtypes_of(op), target, units=units, integers=geometry, scratch=scratch)


@lowers(AveragePool)
def lower_quantized_average_pool(op: Op[AveragePool], target: TargetDescription) -> Kernel | None:
    operator, x, y = op.operator, op.inputs[0].type, op.result.type
    geometry = _geometry(operator, x.shape, y.shape)
    if not is_plain(op) or check_elementwise([x], [y]) is not None or geometry is None:
        return None
    # Sums run over the window in row-major order, in binary32, as the definition says.
    source = _SOURCE.format(
        **_row_loops(x, operator, y),
        initial="np.float32(0)",
        element="np.float32(f[0]) * np.float32(x[p] - n[21])",
        step="total + v",
        count=_count(operator.count_include_pad),
        result="v = total / np.float32(count) / np.float32(f[1]) + np.float32(f[2]); "
        "y[((u * od + a) * oh + b) * ow + c] = stored_form(v, n[22], n[23], 0)",
    )
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)
    return compile_kernel(
        "quantized_average_pool",
        python_function(source),
        dtypes_of(op),
        target,
        units=math.prod(x.shape[:2]),
        integers=(*geometry, zero_x, *limits(y)),
        floats=(float(scale_x), float(scale_y), float(zero_y)),
        scratch=(DType.F32, y.shape[-1]),
    )


_GLOBAL = """def kernel(x, y, n, f, scratch, begin, end):
    pixels, x_zero, y_zero, low, high = n[0], n[1], n[2], n[3], n[4]
    for unit in range(begin, end):
        total = 0
        for i in range(pixels):
            total += np.int32(x[unit * pixels + i])
        value = np.float32(total - x_zero * pixels) * np.float32(f[0])
        y[unit] = stored_form(value, low, high, y_zero)
    return 0
"""


@lowers(GlobalAveragePool)
def lower_quantized_global_average_pool(op: Op[GlobalAveragePool], target: TargetDescription) -> Kernel | None:
    """The mean of each channel of a row-major tensor."""
    x, y = op.inputs[0].type, op.result.type
    if not is_plain(op) or check_elementwise([x], [y]) is not None:
        return None
    pixels = math.prod(x.shape[2:])
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)
    low, high = limits(y)
    factor = arithmetic.global_average_multiplier(scale_x, scale_y, pixels)
    return compile_kernel(
        "quantized_global_average_pool",
        python_function(_GLOBAL),
        dtypes_of(op),
        target,
        units=math.prod(x.shape[:2]),
        integers=(pixels, zero_x, zero_y, low - zero_y, high - zero_y),
        floats=(float(np.float32(factor)),),
    )
