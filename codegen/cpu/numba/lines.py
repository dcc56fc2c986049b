"""Operators along one dimension of row-major tensors: positions of extremes, best elements, running sums, norms.

A tensor is seen as [outer, n, inner] around the dimension; a line is what one outer and one inner index share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....ir.core import Op
from ....ir.ops.normalization import LpNorm
from ....ir.ops.reduction import ArgExtreme, ArgMax, CumSum, TopK
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, has_real_meaning, is_movement, is_plain
from .elementwise import load
from .function import KernelFunction, compile_kernel, python_function
from .scalar import NAMESPACE, number


def around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """Extents before, of and after a dimension."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _line_function(results: str, statements: str) -> KernelFunction:
    """A kernel that visits every line: ``p`` is its first element in x, ``o`` and ``i`` its indices."""
    body = "\n".join(" " * 12 + line for line in statements.strip("\n").splitlines())
    return python_function(
        f"""def kernel(x, {results}, n, f, scratch, begin, end):
    length, inner = n[0], n[1]
    for o in range(begin, end):
        for i in range(inner):
            p = o * length * inner + i
{body}
    return 0
""",
        NAMESPACE,
    )


def _element(dtype: DType, index: str) -> str:
    return load("x", f"p + ({index}) * inner", DType.U8 if dtype is DType.BOOL else dtype)


@lowers(ArgExtreme)
def lower_arg_extreme(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (is_plain(op) and is_movement(op) and isinstance(operator, ArgExtreme)):
        return None
    type = op.inputs[0].type
    outer, length, inner = around(type.shape, operator.axis)
    index = "length - 1 - k" if operator.select_last_index else "k"
    better = f"v {'>' if isinstance(operator, ArgMax) else '<'} best"
    # NaN is the best of all, and no other number is better than it.
    beats = f"{better} or (v != v and best == best)" if type.dtype.is_float else better
    function = _line_function(
        "y",
        f"""
best, place = {_element(type.dtype, index.replace("k", "0"))}, {index.replace("k", "0")}
for k in range(1, length):
    v = {_element(type.dtype, index)}
    if {beats}:
        best, place = v, {index}
y[o * inner + i] = place
""",
    )
    return compile_kernel(op.name, function, dtypes_of(op), target, units=outer, integers=(length, inner))


@lowers(TopK)
def lower_top_k(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (is_plain(op) and is_movement(op) and isinstance(operator, TopK)):
        return None
    type = op.inputs[0].type
    outer, length, inner = around(type.shape, operator.axis)
    values = load("y", "q + (r - 1) * inner", DType.U8 if type.dtype is DType.BOOL else type.dtype)
    better = f"v {'>' if operator.largest else '<'} w"
    if type.dtype.is_float:
        # NumPy sorts NaN behind all numbers: first of the largest, last of the smallest.
        better += " or (v != v and w == w)" if operator.largest else " or (w != w and v == v)"
    # The results themselves are the list of the best so far.
    function = _line_function(
        "y, indices",
        f"""
count = n[2]
q = o * count * inner + i
for k in range(length if count > 0 else 0):
    v = {_element(type.dtype, "k")}
    r = min(k, count)
    while r > 0:
        w = {values}
        if not ({better}):
            break
        if r < count:
            y[q + r * inner] = y[q + (r - 1) * inner]
            indices[q + r * inner] = indices[q + (r - 1) * inner]
        r -= 1
    if r < count:
        y[q + r * inner] = x[p + k * inner]
        indices[q + r * inner] = k
""",
    )
    return compile_kernel("top_k", function, dtypes_of(op), target, units=outer, integers=(length, inner, operator.k))


@lowers(CumSum)
def lower_cum_sum(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (is_plain(op) and has_real_meaning(op) and isinstance(operator, CumSum)):
        return None
    type = op.inputs[0].type
    if type.dtype in (DType.F16, DType.BOOL):
        return None
    outer, length, inner = around(type.shape, operator.axis)
    element = "p + (length - 1 - k) * inner" if operator.reverse else "p + k * inner"
    statements = [f"total = total + x[{element}]", f"y[{element}] = total"]
    zero = number(0, type.dtype if type.dtype.is_float else DType.U64 if type.dtype is DType.U64 else DType.I64)
    if operator.exclusive:
        statements.reverse()
    lines = [f"total = {zero}", "for k in range(length):", *("    " + s for s in statements)]
    function = _line_function("y", "\n".join(lines))
    return compile_kernel("cum_sum", function, dtypes_of(op), target, units=outer, integers=(length, inner))


@lowers(LpNorm)
def lower_lp_norm(op: Op, target: TargetDescription) -> Kernel | None:
    operator, type = op.operator, op.result.type
    if not (is_plain(op) and isinstance(operator, LpNorm)) or type.dtype is DType.F16:
        return None
    outer, length, inner = around(type.shape, operator.axis)
    term, norm = ("abs(v)", "total") if operator.p == 1 else ("v * v", "math.sqrt(total)")
    text = f"""
total = 0.0
for k in range(length):
    v = np.float64(x[p + k * inner])
    total += {term}
norm = np.{type.dtype.numpy.name}({norm})
for k in range(length):
    y[p + k * inner] = x[p + k * inner] / norm if norm != 0 else {number(0, type.dtype)}
"""
    function = _line_function("y", text)
    return compile_kernel(
        "lp_norm", function, dtypes_of(op), target, units=outer, integers=(length, inner), fastmath=inner == 1
    )
