"""Pooling over windows of row-major tensors with up to three spatial dimensions."""

from __future__ import annotations

import math

from ...ir.core import Op
from ...ir.ops.pooling import AveragePool, LpPool, MaxPool, Pool, lowest
from ...ir.types import DType
from .generic_elementwise import load, store
from .kernel import Kernel
from .loops import dtypes_of, has_real_meaning, is_movement, is_plain
from .numba_kernel import compile_kernel, python_function
from .registry import lowers
from .scalar import NAMESPACE, number
from .target import TargetDescription

_SOURCE = """@njit
def taps(o, before, extent, kernel, stride, dilation):
    start = o * stride - before
    first = 0 if start >= 0 else (dilation - 1 - start) // dilation
    last = min(kernel, (extent - start + dilation - 1) // dilation)
    return start, first, max(last, first)

def kernel(x, y, n, f, scratch, begin, end):
    depth, height, width = n[0], n[1], n[2]
    outputs = n[3] * n[4] * n[5]
    for u in range(begin, end):
        for a in range(n[3]):
            start_a, first_a, last_a = taps(a, n[15], depth, n[6], n[9], n[12])
            for b in range(n[4]):
                start_b, first_b, last_b = taps(b, n[16], height, n[7], n[10], n[13])
                for c in range(n[5]):
                    start_c, first_c, last_c = taps(c, n[17], width, n[8], n[11], n[14])
                    total = {initial}
                    for i in range(first_a, last_a):
                        for j in range(first_b, last_b):
                            row = (u * depth + start_a + i * n[12]) * height + start_b + j * n[13]
                            for k in range(first_c, last_c):
                                p = row * width + start_c + k * n[14]
                                v = {element}
                                total = {step}
                    {count}
                    {result}
    return 0
"""
# What of a window the average is taken over: the elements of x in it, or also those in the padding.
_INSIDE = "count = (last_a - first_a) * (last_b - first_b) * (last_c - first_c)"
_PADDED = "count = " + " * ".join(
    f"counted({o}, n[{15 + d}], n[{d}] + n[{18 + d}], n[{6 + d}], n[{9 + d}], n[{12 + d}])" for d, o in enumerate("abc")
)
_COUNTED = """@njit
def counted(o, before, end, kernel, stride, dilation):
    return min(kernel, (end - o * stride + before + dilation - 1) // dilation)

"""


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
def lower_pool(op: Op, target: TargetDescription) -> Kernel | None:
    operator, type = op.operator, op.inputs[0].type
    if not (is_plain(op) and is_movement(op) and isinstance(operator, Pool)):
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
            step, result = f"total + abs(np.float64(v)) ** {operator.p}", f"total ** {1 / operator.p!r}"
        elif isinstance(operator, AveragePool):
            count = _PADDED if operator.count_include_pad else _INSIDE
    source = (_COUNTED if count is _PADDED else "") + _SOURCE.format(
        initial=initial,
        element=load("x", "p", dtype),
        step=step,
        count=count or "pass",
        result=store("y", "u * outputs + (a * n[4] + b) * n[5] + c", result, dtype, wide),
    )
    function = python_function(source, NAMESPACE)
    units = math.prod(type.shape[:2])
    return compile_kernel(op.name, function, dtypes_of(op), target, units=units, integers=geometry)
