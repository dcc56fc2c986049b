"""Softmax, its logarithm and hardmax on row-major tensors seen as [outer, n, inner] around the dimension."""

from __future__ import annotations

from ....ir.core import Op
from ....ir.ops.softmax import Hardmax, LogSoftmax, Softmax
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import around
from ..tensors import is_plain
from .generation.function import compile_kernel
from .generation.scalar import load, store

_SOFTMAX = """def kernel(x, y, n, f, scratch, begin, end):
    length, inner = n[0], n[1]
    for u in range(begin * inner, end * inner):
        p = u // inner * length * inner + u % inner
        largest, total = -np.inf, 0.0
        for k in range(length):
            largest = larger(largest, np.float64(x[p + k * inner]))
        for k in range(length):
            e = math.exp(x[p + k * inner] - largest)
            y[p + k * inner] = e
            total += e
        scale = {scale}
        for k in range(length):
            y[p + k * inner] = {result}
    return 0
"""


@lowers(Softmax, LogSoftmax, needs=(is_plain,))
def lower_softmax(op: Op[Softmax | LogSoftmax], target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if op.result.type.dtype is DType.F16:
        return None
    outer, length, inner = around(op.result.type.shape, operator.axis)
    is_log = isinstance(operator, LogSoftmax)
    source = _SOFTMAX.format(
        scale="math.log(total)" if is_log else "1.0 / total",
        result="x[p + k * inner] - largest - scale" if is_log else "y[p + k * inner] * scale",
    )
    return compile_kernel(op, source, target, units=outer, integers=(length, inner))


_HARDMAX = """def kernel(x, y, n, f, scratch, begin, end):
    length, inner = n[0], n[1]
    for u in range(begin * inner, end * inner):
        p = u // inner * length * inner + u % inner
        best, found = {first}, 0
        for k in range(length):
            v = {element}
            y[p + k * inner] = 0
            if v > best or (v != v and best == best):
                best, found = v, k
        {one}
    return 0
"""


@lowers(Hardmax, needs=(is_plain,))
def lower_hardmax(op: Op[Hardmax], target: TargetDescription) -> Kernel:
    operator, dtype = op.operator, op.result.type.dtype
    outer, length, inner = around(op.result.type.shape, operator.axis)
    source = _HARDMAX.format(
        first=load("x", "p", dtype),
        element=load("x", "p + k * inner", dtype),
        one=store("y", "p + found * inner", "np.float32(1)", dtype, DType.F32),
    )
    # Without elements there are no lines, or none that the loop would reach.
    units = outer if length else 0
    return compile_kernel(op, source, target, units=units, integers=(length, inner))
