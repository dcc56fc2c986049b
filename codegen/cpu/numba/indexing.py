"""Gather, scatter, one-hot, and what the data select, on row-major tensors; a selection is one work item, since each
place depends on those before it. An index out of range makes a kernel refuse its operands.
"""

import math
from collections.abc import Sequence

from ....ir.core import Op
from ....ir.layout import row_major
from ....ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND
from ....ir.ops.selection import Bounded, NonZero, Unique
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import around
from ..tensors import bits, has_real_meaning, is_movement, is_plain
from .generation.function import KernelFunction, compile_kernel, loop_function
from .generation.scalar import load, store
from .generation.scalar_functions import from_front, to_int64


def _gather(x, indices, y, n, f, scratch, begin, end):
    coordinates, slices, again, batch_stride, inner = n[0], n[1], n[2], n[3], n[4]
    first = begin
    while first < end:
        # The quotient takes longer than a row of few elements.
        whole = first // slices
        last = end if slices == 1 else min((whole + 1) * slices, end)
        for u in range(first, last):
            batch = u if slices == 1 else whole
            p, row = batch * batch_stride, u - batch * again
            for c in range(coordinates):
                index = from_front(indices[row * coordinates + c], n[5 + 2 * c])
                if index < 0:
                    return 1
                p += index * n[6 + 2 * c]
            for i in range(inner):
                y[u * inner + i] = x[p + i]
        first = last
    return 0


@lowers(Gather, GatherND, needs=(is_plain, is_movement))
def lower_gather(op: Op[Gather | GatherND], target: TargetDescription) -> Kernel:
    (x, indices), operator = (v.type for v in op.inputs), op.operator
    if isinstance(operator, Gather):
        # Every slice in front of the axis takes the same indices again.
        first, count, slices = operator.axis, 1, indices.elements
        again = slices
    else:
        first, (*before, count) = operator.batch_dims, indices.shape[operator.batch_dims :]
        slices, again = math.prod(before), 0
    strides = row_major(x.shape)
    table = [number for d in range(first, first + count) for number in (x.shape[d], strides[d])]
    numbers = (count, max(slices, 1), again, math.prod(x.shape[first:]), math.prod(x.shape[first + count :]))
    dtypes, units = (bits(x.dtype), indices.dtype, bits(x.dtype)), math.prod(x.shape[:first]) * slices
    return compile_kernel(op, _gather, target, dtypes=dtypes, units=units, integers=(*numbers, *table))


@lowers(GatherElements, needs=(is_plain, is_movement))
def lower_gather_elements(op: Op[GatherElements], target: TargetDescription) -> Kernel:
    x, indices = (v.type for v in op.inputs)
    function = _element_function(x.rank, "y[q] = x[p]", "x, indices, y")
    dtypes = bits(x.dtype), indices.dtype, bits(x.dtype)
    numbers = _element_numbers(x.shape, indices.shape, op.operator.axis)
    units = indices.shape[0] if x.rank else 1
    return compile_kernel(op, function, target, dtypes=dtypes, units=units, integers=numbers)


def _element_numbers(x: tuple[int, ...], indices: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Extent and stride of the axis, extents of indices, strides of x where the position itself points."""
    strides = row_major(x)
    return (x[axis], strides[axis], *indices, *(0 if d == axis else s for d, s in enumerate(strides)))


def _element_function(rank: int, statement: str, tensors: str, head: Sequence[str] = ()) -> KernelFunction:
    """A kernel that visits each index: ``q`` is its position, ``p`` where it points in x."""
    q, p = "0", "k * n[1]"
    for d in range(rank):
        q, p = f"({q}) * n[{2 + d}] + i{d}", f"{p} + i{d} * n[{2 + rank + d}]"
    body = [f"q = {q}", "k = from_front(indices[q], n[0])", "if k < 0: return 1", f"p = {p}", statement]
    loops = [f"for i{d} in range({f'n[{2 + d}]' if d else 'begin, end'}):" for d in range(rank)]
    return loop_function(tensors, head, loops, body)


_COMBINATIONS = {"add": "{0} + {1}", "mul": "{0} * {1}", "min": "smaller({0}, {1})", "max": "larger({0}, {1})"}


_OF_TRUTHS = {"none": "{1}", "add": "{0} | {1}", "mul": "{0} & {1}", "min": "{0} & {1}", "max": "{0} | {1}"}


def _combined(op: Op[ScatterElements | ScatterND], position: str, update: str) -> str:
    """The statement that brings an update to its place."""
    dtype, reduction = op.inputs[0].type.dtype, op.operator.reduction
    if reduction == "none" or dtype is DType.BOOL:
        return f"y[{position}] = " + _OF_TRUTHS[reduction].format(f"y[{position}]", f"updates[{update}]")
    found = load("y", position, dtype), load("updates", update, dtype)
    return store("y", position, _COMBINATIONS[reduction].format(*found), dtype, DType.F32)


def _scatter(
    op: Op[ScatterElements | ScatterND],
    function: KernelFunction | str,
    numbers: Sequence[int],
    target: TargetDescription,
) -> Kernel:
    """A kernel of one work item: several updates may meet in one element."""
    x, indices = op.inputs[0].type.dtype, op.inputs[1].type.dtype
    dtype = bits(x) if op.operator.reduction == "none" else x
    return compile_kernel(op, function, target, dtypes=(dtype, indices, dtype, dtype), units=1, integers=numbers)


@lowers(ScatterElements, needs=(is_plain, has_real_meaning))
def lower_scatter_elements(op: Op[ScatterElements], target: TargetDescription) -> Kernel:
    operator = op.operator
    x, indices = op.inputs[0].type, op.inputs[1].type
    # All at once, in order.
    copy = f"for i in range(n[{2 + 2 * x.rank}] * (end - begin)): y[i] = x[i]", "begin, end = 0, n[2] * (end - begin)"
    function = _element_function(x.rank, _combined(op, "p", "q"), "x, indices, updates, y", copy)
    return _scatter(op, function, (*_element_numbers(x.shape, indices.shape, operator.axis), x.elements), target)


_SCATTER_ND = """def kernel(x, indices, updates, y, n, f, scratch, begin, end):
    coordinates, inner = n[0], n[1]
    for i in range(n[2] * (end - begin)):
        y[i] = x[i]
    for u in range(n[3] * (end - begin)):
        p = 0
        for c in range(coordinates):
            k = from_front(indices[u * coordinates + c], n[4 + 2 * c])
            if k < 0:
                return 1
            p += k * n[5 + 2 * c]
        for i in range(inner):
            {}
    return 0
"""


@lowers(ScatterND, needs=(is_plain, has_real_meaning))
def lower_scatter_nd(op: Op[ScatterND], target: TargetDescription) -> Kernel:
    x, indices = op.inputs[0].type, op.inputs[1].type
    count, strides = indices.shape[-1], row_major(x.shape)
    table = [number for d in range(count) for number in (x.shape[d], strides[d])]
    numbers = (count, math.prod(x.shape[count:]), x.elements, math.prod(indices.shape[:-1]), *table)
    return _scatter(op, _SCATTER_ND.format(_combined(op, "p + i", "u * inner + i")), numbers, target)


def _one_hot(indices, values, y, n, f, scratch, begin, end):
    depth, inner = n[0], n[1]
    for u in range(begin, end):
        for i in range(depth * inner):
            y[u * depth * inner + i] = values[0]
        for i in range(inner):
            index = from_front(to_int64(indices[u * inner + i]), depth)
            if index >= 0:
                y[(u * depth + index) * inner + i] = values[1]
    return 0


@lowers(OneHot, needs=(is_plain, has_real_meaning))
def lower_one_hot(op: Op[OneHot], target: TargetDescription) -> Kernel | None:
    operator = op.operator
    indices, values = (v.type for v in op.inputs)
    if indices.dtype in (DType.F16, DType.BOOL):
        return None
    outer, inner = math.prod(indices.shape[: operator.axis]), math.prod(indices.shape[operator.axis :])
    dtypes = indices.dtype, bits(values.dtype), bits(values.dtype)
    return compile_kernel(op, _one_hot, target, dtypes=dtypes, units=outer, integers=(operator.depth, inner))


_NONZERO = """def kernel(x, positions, count, n, f, scratch, begin, end):
    elements, rank = n[0], n[1]
    if begin == end:
        return 0
    found, extent = 0, n[1 + 2 * rank]
    for row in range(elements // extent):
        before = found
        for i in range(extent):
            q = row * extent + i
            positions[(rank - 1) * elements + found] = i
            found += 1 if ({element}) != 0 else 0
        for d in range(rank - 1 if found > before else 0):
            index = row // (n[2 + 2 * d] // extent) % n[3 + 2 * d]
            for k in range(before, found):
                positions[d * elements + k] = index
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
