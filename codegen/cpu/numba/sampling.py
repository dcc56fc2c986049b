"""Sampling of images at computed points."""

from __future__ import annotations

import math

from ....ir.core import Op
from ....ir.ops.resize import TAPS
from ....ir.ops.sampling import MARGIN, GridSample
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..tensors import has_real_meaning, is_plain
from .generation.function import compile_kernel
from .generation.scalar import load, store

BLOCK = 128
"""Points whose taps are kept at a time."""

_PLACES = {
    "edges": "(({g} + {real}(1)) * {real}({e}) - {real}(1)) / {real}(2)",
    "centres": "({g} + {real}(1)) / {real}(2) * {real}({e} - 1)",
    "pixels": "{g}",
}
_WEIGHTS = {"nearest": "{real}(1)", "linear": "f{d} if t{d} else {real}(1) - f{d}", "cubic": "cubic_weight(f{d}, t{d})"}


def _place(operator: GridSample, d: int, g: str, real: str) -> list[str]:
    """Statements for a point along dimension d, of extent ``n[d]``: the first element, and how far it lies behind."""
    e, q = f"n[{d}]", f"n[{d}] * 2" if operator.coordinates != "centres" else f"(n[{d}] - 1) * 2"
    inside = f"{-MARGIN} <= p{d} <= {e} + {MARGIN}"
    lines = [f"p{d} = {real}({_PLACES[operator.coordinates].format(g=g, e=e, real=real)})"]
    if operator.padding_mode == "reflection":
        folded = f"p{d} - np.floor(p{d} / {real}({q})) * {real}({q})"
        lines += [f"if not ({inside}):", f"    p{d} = {folded}", f"    p{d} = p{d} if 0 <= p{d} <= {q} else {real}(0)"]
    else:
        bounded = f"{real}({e} + {MARGIN}) if p{d} > {e} + {MARGIN} else {real}({-MARGIN})"
        lines += [f"p{d} = p{d} if {inside} else {bounded}"]
    return [*lines, f"b{d} = np.{'rint' if operator.mode == 'nearest' else 'floor'}(p{d})", f"f{d} = p{d} - b{d}"]


def _index(operator: GridSample, d: int) -> list[str]:
    """Statements for the index of tap ``t`` along dimension d, negative for what is not there, and its weight."""
    lines = [f"i{d} = np.int64(b{d}) + t{d} - {TAPS[operator.mode] // 4}"]
    if operator.padding_mode == "zeros":
        return [*lines, f"i{d} = i{d} if i{d} < n[{d}] else -1"]
    if operator.padding_mode == "border":
        return [*lines, f"i{d} = min(max(i{d}, 0), n[{d}] - 1)"]
    period = f"max(2 * n[{d}] - 2, 1)" if operator.coordinates == "centres" else f"(2 * n[{d}])"
    last = f"2 * n[{d}] - {2 if operator.coordinates == 'centres' else 1}"
    return [*lines, f"i{d} = i{d} % {period}", f"i{d} = i{d} if i{d} < n[{d}] else {last} - i{d}"]


_SOURCE = """def kernel(x, grid, y, n, f, scratch, begin, end):
    channels, points, inner = n[{rank}], n[{rank} + 1], n[{rank} + 2]
    first = begin
    while first < end:
        start = first % points
        count = min({block}, end - first, points - start)
        for k in range(count):
            u, s = first + k, 2 * {taps} * k
            {place}
            {taken}
        for c in range(channels):
            p, q = (first // points * channels + c) * inner, (first // points * channels + c) * points + start
            for k in range(count):
                total = {real}(0)
                for t in range({taps}):
                    s = 2 * ({taps} * k + t)
                    i, w = scratch[s], {bits}(scratch[s + 1]).view({real})
                    {sum}
                {result}
        first += count
    return 0
"""
"""Of a block of points first the taps, their positions and weights one after the other; then the sums of each channel.

Weights are kept as their bits, since there is work memory of one type."""


@lowers(GridSample, needs=(is_plain, has_real_meaning))
def lower_grid_sample(op: Op[GridSample], target: TargetDescription) -> Kernel:
    operator, (x, grid) = op.operator, (value.type for value in op.inputs)
    batch, channels, *extents = x.shape
    rank, points = len(extents), math.prod(grid.shape[1:-1])
    real = "np.float64" if grid.dtype is DType.F64 else "np.float32"
    wide, bits = (DType.F64, DType.I64) if DType.F64 in (x.dtype, grid.dtype) else (DType.F32, DType.I32)
    place, loops, position = [], [], "0"
    for d in range(rank):
        place += _place(operator, d, load("grid", f"u * {rank} + {rank - 1 - d}", grid.dtype), real)
        weight = _WEIGHTS[operator.mode].format(d=d, real=real)
        loops.append((f"for t{d} in range({TAPS[operator.mode]}):", [*_index(operator, d), f"w{d} = {weight}"]))
        position = f"({position}) * n[{d}] + i{d}"
    computed = f"np.{wide.numpy.name}"
    weight = f"{computed}({' * '.join(f'w{d}' for d in range(rank))}).view(np.{bits.numpy.name})"
    missing = " or ".join(f"i{d} < 0" for d in range(rank))
    position = f"-1 if {missing} else {position}" if operator.padding_mode == "zeros" else position
    inner = [f"scratch[s] = {position}", f"scratch[s + 1] = {weight}", "s += 2"]
    for loop, inside in reversed(loops):
        inner = [loop, *("    " + line for line in (*inside, *inner))]
    term = f"w * {load('x', 'p + i', x.dtype)}"
    if operator.padding_mode == "zeros":
        term = f"w * {load('x', 'p + max(i, 0)', x.dtype)} if i >= 0 else {computed}(0)"
    source = _SOURCE.format(
        rank=rank,
        block=BLOCK,
        taps=TAPS[operator.mode] ** rank,
        place="\n            ".join(place),
        taken="\n            ".join(inner),
        sum=f"total += {term}",
        real=computed,
        bits=f"np.{bits.numpy.name}",
        result=store("y", "q + k", "total", x.dtype, wide),
    )
    numbers = (*extents, channels, max(points, 1), math.prod(extents))
    scratch = bits, 2 * BLOCK * TAPS[operator.mode] ** rank
    return compile_kernel(op, source, target, units=batch * points, integers=numbers, scratch=scratch)
