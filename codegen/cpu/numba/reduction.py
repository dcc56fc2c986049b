"""Reductions along any dimensions of row-major tensors; positions of extremes, best elements, running sums along one.

Floats are accumulated in double precision and rounded once, but for running sums.
"""

import math
import textwrap
from collections.abc import Sequence

import numpy as np

from tilewright.immutable import Immutable

from ....ir.core import Op
from ....ir.ops.pooling import GlobalAveragePool, GlobalLpPool, GlobalMaxPool
from ....ir.ops.reduction import ArgExtreme, ArgMax, CumSum, Cumulative, Reduce, TopK
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import around, kept_and_reduced
from ..tensors import has_real_meaning, is_movement, is_plain
from .generation.function import KernelFunction, compile_kernel, loop_function, nested
from .generation.scalar import load, number, store


class Reduction(Immutable):
    """A reduction as Python source.

    Attributes:
        initial: what is there before the first element.
        step: the accumulator ``a`` after the element ``v``.
        finish: the result of the accumulator ``a`` of ``count`` elements.
        is_comparison: accumulates in the element type and never rounds.
    """

    initial: float
    step: str
    finish: str = "a"
    is_comparison: bool = False


_REDUCTIONS = {
    "reduce_sum": Reduction(0, "a + v"),
    "reduce_mean": Reduction(0, "a + v", "a / count"),
    "reduce_prod": Reduction(1, "a * v"),
    "reduce_l1": Reduction(0, "a + abs(v)"),
    "reduce_l2": Reduction(0, "a + v * v", "math.sqrt(a)"),
    "reduce_sum_square": Reduction(0, "a + v * v"),
    "reduce_log_sum": Reduction(0, "a + v", "math.log(a)"),
    "reduce_log_sum_exp": Reduction(0, "a + math.exp(v - shift)", "math.log(a) + shift"),
    "reduce_max": Reduction(-math.inf, "larger(a, v)", is_comparison=True),
    "reduce_min": Reduction(math.inf, "smaller(a, v)", is_comparison=True),
}
_GLOBAL = {"global_average_pool": "reduce_mean", "global_max_pool": "reduce_max"}


@lowers(Reduce, GlobalAveragePool, GlobalMaxPool, GlobalLpPool, needs=(is_plain, is_movement))
def lower_reduction(op: Op, target: TargetDescription) -> Kernel:
    operator, type = op.operator, op.inputs[0].type
    axes = operator.axes if isinstance(operator, Reduce) else tuple(range(2, type.rank))
    if isinstance(operator, GlobalLpPool):
        reduction = _norm(operator.p)
    else:
        reduction = _REDUCTIONS[_GLOBAL.get(op.name, op.name)]
    return _compile(op, _typed(reduction, type.dtype), type.shape, axes, target)


def _norm(p: int) -> Reduction:
    if p in (1, 2):
        return _REDUCTIONS[f"reduce_l{p}"]
    return Reduction(0, f"a + abs(v) ** {float(p)!r}", f"a ** {1 / p!r}")


class _Typed(Immutable):
    """A reduction for an element type: source of the initial accumulator, and statements for the rest."""

    dtype: DType
    initial: str
    step: str
    finish: str
    element: str
    accumulator: DType


def _typed(reduction: Reduction, dtype: DType) -> _Typed:
    element = load("x", "p", dtype)
    if dtype is DType.BOOL:
        dtype, element = DType.U8, "x[p]"
    if reduction.is_comparison:
        initial = reduction.initial
        if not dtype.is_float:
            span = np.iinfo(dtype.numpy)
            initial = span.min if initial < 0 else span.max
        wide = DType.F32 if dtype is DType.F16 else dtype
        return _Typed(dtype, number(initial, dtype), reduction.step, "a", element, wide)
    if dtype.is_float:
        initial, element = number(reduction.initial, DType.F64), f"np.float64({element})"
        return _Typed(dtype, initial, reduction.step, reduction.finish, element, DType.F64)
    accumulator = DType.U64 if dtype.name.startswith("U") else DType.I64
    finish = reduction.finish
    if finish == "a / count":
        finish = f"divide_integers(a, np.{accumulator.numpy.name}(max(count, 1)))"
    elif finish != "a":
        convert = "to_int32" if dtype.bytes < 4 else f"to_{'int64' if dtype is DType.U32 else dtype.numpy.name}"
        if "shift" in finish:
            return _Typed(dtype, "0.0", reduction.step, f"{convert}({finish})", element, DType.F64)
        finish = f"{convert}({finish.replace('(a)', '(np.float64(a))')})"
    return _Typed(dtype, number(reduction.initial, accumulator), reduction.step, finish, element, accumulator)


def _compile(op: Op, typed: _Typed, shape: Sequence[int], axes: Sequence[int], target: TargetDescription) -> Kernel:
    kept, reduced = kept_and_reduced(shape, axes)
    # With the kept dimension innermost in memory, whole rows are accumulated side by side.
    in_rows = kept.strides[-1] == 1 and kept.extents[-1] > 1 and reduced.extents != (1,) and "shift" not in typed.step
    make = _row_function if in_rows else _function
    function = make(typed, len(kept.extents), len(reduced.extents))
    numbers = (*kept.extents, *kept.strides, *reduced.extents, *reduced.strides, math.prod(reduced.extents))
    units, scratch, fast = kept.extents[0], (typed.accumulator, kept.extents[-1] if in_rows else 0), not in_rows
    return compile_kernel(op, function, target, units=units, integers=numbers, scratch=scratch, fastmath=fast)


def _loops(first: int, rank: int, extents: int, strides: int, is_split: bool) -> tuple[list[str], str]:
    """Loops over ``i<first>`` …, and the position in x to which they lead.
    ``extents``, ``strides``: where they begin in the table.
    ``is_split``: the first loop runs over the work items."""
    ranges = ["begin, end" if is_split and d == 0 else f"n[{extents + d}]" for d in range(rank)]
    position = " + ".join(["0", *(f"i{first + d} * n[{strides + d}]" for d in range(rank))])
    return [f"for i{first + d} in range({ranges[d]}):" for d in range(rank)], position


def _result(kept: int) -> str:
    """Position of the result in terms of the kept indices."""
    position = "i0"
    for d in range(1, kept):
        position = f"({position}) * n[{d}] + i{d}"
    return position


def _function(typed: _Typed, kept: int, reduced: int) -> KernelFunction:
    """One accumulator: every kept point in turn."""
    outer, start = _loops(0, kept, 0, kept, True)
    inner, position = _loops(kept, reduced, 2 * kept, 2 * kept + reduced, False)
    element = [f"p = start + {position}", f"v = {typed.element}"]
    body = [f"start = {start}"]
    if "shift" in typed.step:
        body += ["shift = -np.inf", *nested(inner, [*element, "shift = larger(shift, np.float64(v))"])]
        body += ["if abs(shift) == np.inf: shift = 0.0"]
    body.append(f"a = {typed.initial}")
    body += nested(inner, [*element, f"a = {typed.step}"])
    body.append(store("y", _result(kept), typed.finish, typed.dtype, typed.accumulator))
    return loop_function("x, y", [f"count = n[{2 * (kept + reduced)}]"], outer, body)


def _row_function(typed: _Typed, kept: int, reduced: int) -> KernelFunction:
    """Accumulators for a row of kept points, contiguous in x, in the scratch memory."""
    outer, start = _loops(0, kept - 1, 0, kept, True)
    inner, position = _loops(kept, reduced, 2 * kept, 2 * kept + reduced, False)
    j = f"i{kept - 1}"
    row = [f"for {j} in range({f'n[{kept - 1}]' if kept > 1 else 'begin, end'}):"]
    step = [f"p = q + {j}", f"v = {typed.element}", f"a = scratch[{j}]", f"scratch[{j}] = {typed.step}"]
    result = store("y", _result(kept), typed.finish, typed.dtype, typed.accumulator)
    body = [
        f"start = {start}",
        *nested(row, [f"scratch[{j}] = {typed.initial}"]),
        *nested(inner, [f"q = start + {position}", *nested(row, step)]),
        *nested(row, [f"a = scratch[{j}]", result]),
    ]
    return loop_function("x, y", [f"count = n[{2 * (kept + reduced)}]"], outer, body)


_TOGETHER = 32
"""Elements that are compared with the worst of the best ones at a time."""
_STRIP = 1024
"""Lines that running sums go along together."""


def _line_function(results: str, statements: str) -> KernelFunction:
    """A kernel that visits every line: ``p`` is its first element in x, ``o`` and ``i`` its indices."""
    body = ["p = o * length * inner + i", *statements.strip("\n").splitlines()]
    loops = ["for o in range(begin, end):", "for i in range(inner):"]
    return loop_function(f"x, {results}", ["length, inner = n[0], n[1]"], loops, body)


def _element(dtype: DType, index: str) -> str:
    return load("x", f"p + ({index}) * inner", DType.U8 if dtype is DType.BOOL else dtype)


@lowers(ArgExtreme, needs=(is_plain, is_movement))
def lower_arg_extreme(op: Op[ArgExtreme], target: TargetDescription) -> Kernel:
    operator, type = op.operator, op.inputs[0].type
    outer, length, inner = around(type.shape, operator.axis)
    index = "length - 1 - k" if operator.select_last_index else "k"
    better = f"v {'>' if isinstance(operator, ArgMax) else '<'} best"
    # NaN is the best of all, and no other number is better than it.
    beats = f"{better} or (v != v and best == best)" if type.dtype.is_float else better
    function = _line_function(
        "y",
        f"""
best, found = {_element(type.dtype, index.replace("k", "0"))}, {index.replace("k", "0")}
for k in range(1, length):
    v = {_element(type.dtype, index)}
    if {beats}:
        best, found = v, {index}
y[o * inner + i] = found
""",
    )
    return compile_kernel(op, function, target, units=outer, integers=(length, inner))


OF_MANY = 40
"""The best are told by sorting all, if these are at most as many times the best as the best are times this number."""

_BUCKETS = 4096
"""By the upper bits of what is compared, elements are counted: of numbers sign, exponent and three bits."""

_SORTED = f"""count, counts = n[2], 2 * length
q, here, there, many, last = o * count * inner + i, 0, length, 0, 0
for d in range({_BUCKETS}):
    scratch[counts + d] = 0
for e in range(length):
    v = {{element}}
    key = {{key}} + (1 << 31)
    scratch[there + e] = ({{order}}) << 32 | e
    scratch[counts + (scratch[there + e] >> 52 & {_BUCKETS - 1})] += 1
while many < count:
    many += scratch[counts + last]
    last += 1
many = 0
for e in range(length):
    scratch[many] = scratch[there + e]
    many += np.int64((scratch[there + e] >> 52 & {_BUCKETS - 1}) < last)
for d in range(4 * 256):
    scratch[counts + d] = 0
for e in range(many):
    for d in range(4):
        scratch[counts + 256 * d + (scratch[e] >> (8 * d + 32) & 255)] += 1
for d in range(4):
    first, shift = counts + 256 * d, 8 * d + 32
    if scratch[first + (scratch[here] >> shift & 255)] < many:
        total = 0
        for k in range(first, first + 256):
            scratch[k], total = total, total + scratch[k]
        for e in range(here, here + many):
            k = first + (scratch[e] >> shift & 255)
            scratch[there + scratch[k]] = scratch[e]
            scratch[k] += 1
        here, there = there, here
for k in range(count):
    e = scratch[here + k] & 0xFFFFFFFF
    y[q + k * inner], indices[q + k * inner] = x[p + e * inner], e
"""
"""Those that may be among the best are sorted by the bytes of integers that compare as the elements do, the least
first; equal ones stay in order."""


def _order_of_float() -> str:
    """Both zeros are the same, and NaN lies beyond infinity."""
    size = "np.int64(v.view(np.int32) & np.int32(0x7FFFFFFF))"
    return f"(0x7F800001 if v != v else -{size} if v < 0 else {size})"


@lowers(TopK, needs=(is_plain, is_movement))
def lower_sorted(op: Op[TopK], target: TargetDescription) -> Kernel | None:
    """Of numbers of 32 bits, where many of them are asked for."""
    operator, type = op.operator, op.inputs[0].type
    outer, length, inner = around(type.shape, operator.axis)
    are_many = operator.k >= 2 * OF_MANY and length <= operator.k * (operator.k // OF_MANY)
    if type.dtype not in (DType.F32, DType.I32) or not are_many or length >= 2**31:
        return None
    key = _order_of_float() if type.dtype is DType.F32 else "np.int64(v)"
    order = "(1 << 32) - 1 - key" if operator.largest else "key"
    source = _SORTED.format(element=_element(type.dtype, "e"), key=key, order=order)
    numbers, scratch = (length, inner, operator.k), (DType.I64, 2 * length + _BUCKETS)
    function = _line_function("y, indices", source)
    return compile_kernel(op, function, target, units=outer, integers=numbers, scratch=scratch)


@lowers(TopK, needs=(is_plain, is_movement))
def lower_top_k(op: Op[TopK], target: TargetDescription) -> Kernel:
    operator, type = op.operator, op.inputs[0].type
    outer, length, inner = around(type.shape, operator.axis)
    dtype = DType.U8 if type.dtype is DType.BOOL else type.dtype

    def better(v: str, w: str) -> str:
        found = f"{v} {'>' if operator.largest else '<'} {w}"
        if type.dtype.is_float:
            # NumPy sorts NaN behind all numbers: first of the largest, last of the smallest.
            first, second = (v, w) if operator.largest else (w, v)
            found += f" or ({first} != {first} and {second} == {second})"
        return f"({found})"

    def sift(place: str, size: str) -> str:
        """Put element ``e``, of value ``v``, at a place of the heap, or below it where there are worse ones."""

        def is_worse(slot: str, value: str, index: str) -> str:
            same = f"not {better('w', value)} and indices[q + {slot} * inner] > {index}"
            return f"{better(value, 'w')} or ({same})"

        return f"""
h, c = {place}, 2 * {place} + 1
while c < {size}:
    w, u = {load("y", "q + (c + 1) * inner", dtype)} if c + 1 < {size} else v, {load("y", "q + c * inner", dtype)}
    if c + 1 < {size} and ({is_worse("(c + 1)", "u", "indices[q + c * inner]")}):
        c += 1
    w = {load("y", "q + c * inner", dtype)}
    if not ({is_worse("c", "v", "e")}):
        break
    y[q + h * inner], indices[q + h * inner] = y[q + c * inner], indices[q + c * inner]
    h, c = c, 2 * c + 1
y[q + h * inner], indices[q + h * inner] = x[p + e * inner], e
"""

    # The results themselves hold the best so far as a heap, the worst at its root.
    element = _element(type.dtype, "e")
    function = _line_function(
        "y, indices",
        f"""
count = n[2]
q, k = o * count * inner + i, count
for e in range(count):
    y[q + e * inner], indices[q + e * inner] = x[p + e * inner], e
for t in range(count // 2):
    e = count // 2 - 1 - t
    e, s = indices[q + e * inner], e
    v = {element}
{textwrap.indent(sift("s", "count"), "    ")}
while k < length and count > 0:
    last = min(k + {_TOGETHER}, length)
    some, w = np.uint8(0), {load("y", "q", dtype)}
    for e in range(k, last):
        v = {element}
        some |= np.uint8({better("v", "w")})
    for e in range(k, last if some else k):
        v, w = {element}, {load("y", "q", dtype)}
        if {better("v", "w")}:
{textwrap.indent(sift("0", "count"), " " * 12)}
    k = last
for t in range(1, count):
    s = count - t
    e = indices[q + s * inner]
    v = {element}
    y[q + s * inner], indices[q + s * inner] = y[q], indices[q]
{textwrap.indent(sift("0", "s"), "    ")}
""",
    )
    return compile_kernel(op, function, target, units=outer, integers=(length, inner, operator.k))


@lowers(Cumulative, needs=(is_plain, has_real_meaning))
def lower_cumulative(op: Op[Cumulative], target: TargetDescription) -> Kernel | None:
    operator, type = op.operator, op.inputs[0].type
    outer, length, inner = around(type.shape, operator.axis)
    symbol, neutral = ("+", 0) if isinstance(operator, CumSum) else ("*", 1)
    wide = type.dtype if type.dtype.is_float else DType.U64 if type.dtype is DType.U64 else DType.I64
    wide = DType.F32 if wide is DType.F16 else wide
    # Lines side by side are summed up together, each in its place of the work memory.
    total, at = ("scratch[j]", "+ j") if inner > 1 else ("total", "")
    element = f"p + ({'length - 1 - k' if operator.reverse else 'k'}) * inner {at}"
    statements = [
        f"{total} = {total} {symbol} {load('x', element, type.dtype)}",
        store("y", element, total, type.dtype, DType.F32),
    ]
    if operator.exclusive:
        statements.reverse()
    row = ["for j in range(count):"] if inner > 1 else []
    lines = [*nested(row, [f"{total} = {number(neutral, wide)}"])]
    lines += nested(["for k in range(length):", *row], statements)
    loops = ["for o in range(begin, end):", f"for strip in range({-(-inner // _STRIP)}):"]
    body = [f"first, count = strip * {_STRIP}, min({_STRIP}, inner - strip * {_STRIP})"]
    body += ["p = o * length * inner + first", *lines]
    function = loop_function("x, y", ["length, inner = n[0], n[1]"], loops, body)
    scratch = wide, min(inner, _STRIP) if inner > 1 else 0
    return compile_kernel(op, function, target, units=outer, integers=(length, inner), scratch=scratch)
