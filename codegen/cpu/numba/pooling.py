"""Pooling over windows of row-major tensors with up to three spatial dimensions."""

from __future__ import annotations

import math

from ....ir.core import Op
from ....ir.ops.pooling import AveragePool, LpPool, MaxPool, Pool, lowest
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, has_real_meaning, is_movement, is_plain
from .elementwise import load, store
from .function import compile_kernel, python_function
from .products import RANGES
from .scalar import NAMESPACE, number

_SOURCE = """@njit
def taps(o, before, end, kernel, stride, dilation, floor):
    start = o * stride - before
    first = first_inside(start - floor, dilation)
    return max(0, last_inside(start, dilation, end, kernel) - first)

def kernel(x, y, n, f, scratch, begin, end):
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
                        for k in range(kw):
                            start = k * n[14] - n[17]
                            for c in range(first_inside(start, n[11]), last_inside(start, n[11], width, ow)):
                                p = row * width + start + c * n[11]
                                v, total = {element}, scratch[c]
                                scratch[c] = {step}
                for c in range(ow):
                    total = scratch[c]
                    {count}
                    {result}
    return 0
"""
"""One work item is a channel of an image; a row of the result at a time is accumulated in the scratch memory."""


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
            count = _count(operator.count_include_pad)
    source = RANGES + _SOURCE.format(
        initial=initial,
        element=load("x", "p", dtype),
        step=step,
        count=count or "pass",
        result=store("y", "((u * od + a) * oh + b) * ow + c", result, dtype, wide),
    )
    function = python_function(source, NAMESPACE)
    units = math.prod(type.shape[:2])
    scratch = wide, op.result.type.shape[-1]
    return compile_kernel(op.name, function, dtypes_of(op), target, units=units, integers=geometry, scratch=scratch)
