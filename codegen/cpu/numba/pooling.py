"""Pooling over windows of row-major tensors with up to three spatial dimensions."""

import math

import numpy as np

from tilewright.immutable import Immutable

from ....ir import arithmetic
from ....ir.core import Op
from ....ir.ops.pooling import (
    AveragePool,
    GlobalAveragePool,
    LpPool,
    MaxPool,
    MaxPoolWithIndices,
    Windowed,
    lowest,
)
from ....ir.quantized import check_elementwise, limits, parameters
from ....ir.types import DType, TensorType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..tensors import has_real_meaning, is_movement, is_plain
from .generation.function import compile_kernel
from .generation.scalar import load, number, store

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


class _Loop(Immutable):
    """A loop along a row: its variable, how often it runs, and by how many positions it moves."""

    index: str
    count: str
    step: str


_TAPS, _WINDOWS = _Loop("k", "kw", "n[14]"), _Loop("c", "ow", "n[11]")


def _row_loops(x: TensorType, operator: Windowed, y: TensorType) -> dict[str, _Loop]:
    """The outer and the inner loop along a row: windows side by side, but where most taps lie in the padding."""
    is_long = operator.kernel[-1] > x.shape[-1] + y.shape[-1]
    return {"outer": _WINDOWS, "inner": _TAPS} if is_long else {"outer": _TAPS, "inner": _WINDOWS}


def _count(counts_padding: bool) -> str:
    """By how many elements a sum is divided: those of x in the window, or also those in the padding."""
    factors: list[str] = []
    for d, o in enumerate("abc"):
        floor, end = (f"-n[{15 + d}]", f"n[{d}] + n[{18 + d}]") if counts_padding else ("0", f"n[{d}]")
        factors.append(f"taps({o}, n[{15 + d}], {end}, n[{6 + d}], n[{9 + d}], n[{12 + d}], {floor})")
    return " * ".join(factors)


def _has_loops(op: Op[Windowed]) -> bool:
    """Whether the windows have no more dimensions than there are loops for."""
    return len(op.operator.kernel) <= 3


def _geometry(operator: Windowed, shape: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, ...]:
    """Extents of x and of the result, kernel, strides, dilations, pads before and after, each for three dimensions."""
    spatial, missing = len(operator.kernel), 3 - len(operator.kernel)
    tables = shape[2:], result[2:], operator.kernel, operator.strides, operator.dilations
    pads = operator.pads[:spatial], operator.pads[spatial:]
    filled = [*((1,) * missing + table for table in tables), *((0,) * missing + table for table in pads)]
    return tuple(number for table in filled for number in table)


@lowers(MaxPool, AveragePool, LpPool, needs=(is_plain, is_movement, _has_loops))
def lower_pool(op: Op[MaxPool | AveragePool | LpPool], target: TargetDescription) -> Kernel | None:
    operator, type = op.operator, op.inputs[0].type
    geometry = _geometry(operator, type.shape, op.result.type.shape)
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
        else:
            count = f"count = {_count(operator.count_include_pad)}"
    source = _SOURCE.format(
        **_row_loops(type, operator, op.result.type),
        initial=initial,
        element=load("x", "p", dtype),
        step=step,
        count=count or "pass",
        result=store("y", "((u * od + a) * oh + b) * ow + c", result, dtype, wide),
    )
    units = math.prod(type.shape[:2])
    scratch = wide, op.result.type.shape[-1]
    return compile_kernel(op, source, target, units=units, integers=geometry, scratch=scratch)


_WITH_INDICES = """def kernel(x, y, indices, n, f, scratch, begin, end):
    depth, height, width, od, oh, ow, kd, kh, kw = n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]
    for u in range(begin, end):
        image = u * depth * height * width
        for q in range(u * od * oh, (u + 1) * od * oh):
            a, b = q // oh % od, q % oh
            i0, i1 = first_inside(a * n[9] - n[15], n[12]), last_inside(a * n[9] - n[15], n[12], depth, kd)
            j0, j1 = first_inside(b * n[10] - n[16], n[13]), last_inside(b * n[10] - n[16], n[13], height, kh)
            for c in range(ow):
                scratch[c], indices[q * ow + c] = {lowest}, -1
            for i in range(i0, i1):
                for j in range(j0, j1):
                    r, s = a * n[9] - n[15] + i * n[12], b * n[10] - n[16] + j * n[13]
                    for {outer.index} in range({outer.count}):
                        start, step = {outer.index} * {outer.step} - n[17], {inner.step}
                        first, last = first_inside(start, step), last_inside(start, step, width, {inner.count})
                        for {inner.index} in range(first, last):
                            t = start + {inner.index} * step
                            p = (r * height + s) * width + t
                            v, best, found = {element}, scratch[c], indices[q * ow + c]
                            is_better = (v > best) | (found < 0) | ((v != v) & (best == best))
                            scratch[c] = v if is_better else best
                            indices[q * ow + c] = image + {position} if is_better else found
            for c in range(ow):
                {result}
    return 0
"""


@lowers(MaxPoolWithIndices, needs=(is_plain, has_real_meaning, _has_loops))
def lower_max_pool_with_indices(op: Op[MaxPoolWithIndices], target: TargetDescription) -> Kernel:
    operator, type, result = op.operator, op.inputs[0].type, op.results[0].type
    dtype = type.dtype
    wide = DType.F32 if dtype is DType.F16 else dtype
    source = _WITH_INDICES.format(
        **_row_loops(type, operator, result),
        lowest=number(lowest(dtype.numpy).item(), dtype),
        element=load("x", "image + p", dtype),
        position="(t * height + s) * depth + r" if operator.column_major else "p",
        result=store("y", "q * ow + c", "scratch[c]", dtype, wide),
    )
    geometry, scratch = _geometry(operator, type.shape, result.shape), (wide, result.shape[-1])
    return compile_kernel(op, source, target, units=math.prod(type.shape[:2]), integers=geometry, scratch=scratch)


@lowers(AveragePool, needs=(is_plain, _has_loops))
def lower_quantized_average_pool(op: Op[AveragePool], target: TargetDescription) -> Kernel | None:
    operator, x, y = op.operator, op.inputs[0].type, op.result.type
    geometry = _geometry(operator, x.shape, y.shape)
    if check_elementwise([x], [y]) is not None:
        return None
    # Sums run over the window in row-major order, in binary32, as the definition says.
    source = _SOURCE.format(
        **_row_loops(x, operator, y),
        initial="np.float32(0)",
        element="np.float32(f[0]) * np.float32(x[p] - n[21])",
        step="total + v",
        count=f"count = {_count(operator.count_include_pad)}",
        result="v = total / np.float32(count) / np.float32(f[1]) + np.float32(f[2]); "
        "y[((u * od + a) * oh + b) * ow + c] = stored_form(v, n[22], n[23], 0)",
    )
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)
    units, integers = math.prod(x.shape[:2]), (*geometry, zero_x, *limits(y))
    floats, scratch = (float(scale_x), float(scale_y), float(zero_y)), (DType.F32, y.shape[-1])
    return compile_kernel(op, source, target, units=units, integers=integers, floats=floats, scratch=scratch)


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


@lowers(GlobalAveragePool, needs=(is_plain,))
def lower_quantized_global_average_pool(op: Op[GlobalAveragePool], target: TargetDescription) -> Kernel | None:
    """The mean of each channel of a row-major tensor."""
    x, y = op.inputs[0].type, op.result.type
    if check_elementwise([x], [y]) is not None:
        return None
    pixels = math.prod(x.shape[2:])
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)
    low, high = limits(y)
    factor = float(np.float32(arithmetic.global_average_multiplier(scale_x, scale_y, pixels)))
    units, integers = math.prod(x.shape[:2]), (pixels, zero_x, zero_y, low - zero_y, high - zero_y)
    return compile_kernel(op, _GLOBAL, target, units=units, integers=integers, floats=(factor,))
