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

_ROWS = """def kernel(x, y, n, f, scratch, begin, end):
    length = n[0]
    for o in range(begin, end):
        p = o * length
        {largest}
        for k in range(length):
            y[p + k] = {exp}(x[p + k] - largest)
        total = 0.0
        for k in range(length):
            total += y[p + k]
        scale = {real}({scale})
        for k in range(length):
            y[p + k] = {result}
    return 0
"""
_SINGLE = """key = np.int32(-2147483648)
        for k in range(length):
            key = max(key, ordered(x[p + k]))
        largest = from_ordered(key)"""
_DOUBLE = """largest = -np.inf
        for k in range(length):
            largest = larger(largest, x[p + k])"""

_COLUMNS = """def kernel(x, y, n, f, scratch, begin, end):
    length, inner = n[0], n[1]
    for o in range(begin, end):
        for i in range(inner):
            scratch[i] = -np.inf
            scratch[inner + i] = 0.0
        for k in range(length):
            p = (o * length + k) * inner
            for i in range(inner):
                scratch[i] = larger(scratch[i], np.float64(x[p + i]))
        for k in range(length):
            p = (o * length + k) * inner
            for i in range(inner):
                e = {exp}(x[p + i] - {real}(scratch[i]))
                y[p + i] = e
                scratch[inner + i] += e
        for i in range(inner):
            total = scratch[inner + i]
            scratch[inner + i] = {scale}
        for k in range(length):
            p = (o * length + k) * inner
            for i in range(inner):
                largest, scale = {real}(scratch[i]), {real}(scratch[inner + i])
                y[p + i] = {result}
    return 0
"""
"""Columns side by side; their largest elements, then their sums, stand in the scratch memory."""


@lowers(Softmax, LogSoftmax, needs=(is_plain,))
def lower_softmax(op: Op[Softmax | LogSoftmax], target: TargetDescription) -> Kernel | None:
    operator, dtype = op.operator, op.result.type.dtype
    if dtype is DType.F16:
        return None
    outer, length, inner = around(op.result.type.shape, operator.axis)
    is_log = isinstance(operator, LogSoftmax)
    exp, real = ("exponential", "np.float32") if dtype is DType.F32 else ("math.exp", "np.float64")
    q = "p + k" if inner == 1 else "p + i"
    source = (_ROWS if inner == 1 else _COLUMNS).format(
        largest=_SINGLE if dtype is DType.F32 else _DOUBLE,
        exp=exp,
        real=real,
        scale="math.log(total)" if is_log else "1.0 / total",
        result=f"x[{q}] - largest - scale" if is_log else f"y[{q}] * scale",
    )
    scratch = DType.F64, 0 if inner == 1 else 2 * inner
    # Reordered, the subtractions of the logarithm would lose the smaller term.
    fast = not is_log
    return compile_kernel(op, source, target, units=outer, integers=(length, inner), scratch=scratch, fastmath=fast)


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
