"""What the data select, from row-major tensors: one work item, since each place depends on those before it."""

from __future__ import annotations

from ....ir.core import Op
from ....ir.layout import row_major
from ....ir.ops.selection import Bounded, NonZero, Unique
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import around
from ..tensors import has_real_meaning, is_plain
from .generation.function import compile_kernel
from .generation.scalar import load

_NONZERO = """def kernel(x, positions, count, n, f, scratch, begin, end):
    elements, rank = n[0], n[1]
    if begin == end:
        return 0
    found = 0
    for q in range(elements):
        if ({element}) != 0:
            for d in range(rank):
                positions[d * elements + found] = q // n[2 + 2 * d] % n[3 + 2 * d]
            found += 1
    for d in range(rank):
        for k in range(found, elements):
            positions[d * elements + k] = 0
    count[0] = found
    return 0
"""


@lowers(NonZero, needs=(is_plain, has_real_meaning))
def lower_nonzero(op: Op[NonZero], target: TargetDescription) -> Kernel:
    type = op.inputs[0].type
    shape = type.shape or (1,)
    table = [max(number, 1) for pair in zip(row_major(shape), shape, strict=True) for number in pair]
    source = _NONZERO.format(element=load("x", "q", type.dtype))
    return compile_kernel(op, source, target, units=1, integers=(type.elements, len(shape), *table))


_UNIQUE = """def kernel(x, positions, which, often, count, n, f, scratch, begin, end):
    length, outer, inner, is_sorted = n[0], n[1], n[2], n[3]
    if begin == end:
        return 0
    a, b = 0, length
    for i in range(length):
        scratch[i] = i
    width = 1
    while width < length:
        for low in range(0, length, 2 * width):
            middle, high = min(low + width, length), min(low + 2 * width, length)
            i, j = low, middle
            for k in range(low, high):
                order = -1 if j >= high else 1
                if i < middle and j < high:
                    p, q, order = scratch[a + i], scratch[a + j], 0
                    for e in range(outer * inner):
                        o, r = e // inner * length, e % inner
                        v, w = {first}, {second}
                        if v < w{first_is_less}:
                            order = -1
                        elif w < v{second_is_less}:
                            order = 1
                        if order != 0:
                            break
                if order <= 0:
                    scratch[b + k] = scratch[a + i]
                    i += 1
                else:
                    scratch[b + k] = scratch[a + j]
                    j += 1
        a, b = b, a
        width *= 2
    found = 0
    for k in range(length):
        p, q, is_new = scratch[a + max(k, 1) - 1], scratch[a + k], k == 0
        for e in range(outer * inner):
            o, r = e // inner * length, e % inner
            v, w = {first}, {second}
            if v != w{is_other}:
                is_new = True
                break
        if is_new:
            positions[found] = q
            found += 1
        which[q] = found - 1
    if is_sorted == 0:
        for i in range(length):
            scratch[i] = -1
        for k in range(found):
            scratch[positions[k]] = k
        k = 0
        for i in range(length):
            if scratch[i] >= 0:
                positions[k] = i
                scratch[length + scratch[i]] = k
                k += 1
        for i in range(length):
            which[i] = scratch[length + which[i]]
    for i in range(length):
        often[i] = 0
        if i >= found:
            positions[i] = 0
    for i in range(length):
        often[which[i]] += 1
    count[0] = found
    return 0
"""


@lowers(Unique, needs=(is_plain, has_real_meaning))
def lower_unique(op: Op[Unique], target: TargetDescription) -> Kernel:
    type, axis = op.inputs[0].type, op.operator.axis
    outer, length, inner = (1, type.elements, 1) if axis is None else around(type.shape, axis)
    is_float = type.dtype.is_float
    source = _UNIQUE.format(
        first=load("x", "(o + p) * inner + r", type.dtype),
        second=load("x", "(o + q) * inner + r", type.dtype),
        first_is_less=" or (w != w and v == v)" if is_float else "",
        second_is_less=" or (v != v and w == w)" if is_float else "",
        is_other=" and (v == v or w == w)" if is_float else "",
    )
    numbers = length, outer, inner, op.operator.sorted
    return compile_kernel(op, source, target, units=1, integers=numbers, scratch=(DType.I64, 2 * length))


def _bounded(x, limit, y, n, f, scratch, begin, end):
    for i in range(begin, end):
        if not 0 <= x[i] <= limit[i]:
            return 1
        y[i] = x[i]
    return 0


@lowers(Bounded, needs=(is_plain, has_real_meaning))
def lower_bounded(op: Op[Bounded], target: TargetDescription) -> Kernel:
    return compile_kernel(op, _bounded, target, units=1)
