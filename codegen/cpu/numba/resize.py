"""Resampling on row-major tensors: elements and weights that each index takes are tables, made when compiling."""

from __future__ import annotations

import math

import numpy as np

from ....ir.core import Op
from ....ir.ops.resize import Resize
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..nest import row_major
from ..registry import lowers
from ..tensors import bits, is_movement, is_plain
from .function import compile_kernel, python_function


def _kept(operator: Resize, type_shape: tuple[int, ...], d: int) -> bool:
    """Whether a dimension stays as it is."""
    if operator.extents[d] != type_shape[d] or operator.coordinates == "tf_crop_and_resize":
        return False
    indices, weights = operator.taps(d, type_shape[d])
    chosen = indices[np.arange(len(indices)), weights.argmax(1)]
    return bool((weights.max(1) == 1).all() and (chosen == np.arange(type_shape[d])).all())


def _nearest_source(rank: int) -> str:
    """Kernel for ``rank`` sampled dimensions between an outer one, of the work items, and inner rows."""
    lines = ["def kernel(x, y, n, f, scratch, begin, end):", "    image, inner = n[0], n[1]"]
    lines.append(f"    table0 = {2 + rank}")
    lines += [f"    table{d} = table{d - 1} + n[{1 + d}]" for d in range(1, rank)]
    lines.append("    for u in range(begin, end):")
    q = "u"
    for d in range(rank):
        indent = "    " * (d + 2)
        lines += [f"{indent}for i{d} in range(n[{2 + d}]):", f"{indent}    s{d} = n[table{d} + i{d}]"]
        q = f"({q}) * n[{2 + d}] + i{d}"
    indent = "    " * (rank + 2)
    lines += [
        f"{indent}p, q = u * image + {' + '.join(f's{d}' for d in range(rank))}, ({q}) * inner",
        f"{indent}for i in range(inner):",
        f"{indent}    y[q + i] = x[p + i]",
    ]
    return "\n".join([*lines, "    return 0", ""])


def _weighted_source(rank: int, real: str) -> str:
    """As :func:`_nearest_source`, with ``taps`` elements for each index and their weights; -1 marks what is outside."""
    lines = ["def kernel(x, y, n, f, scratch, begin, end):", "    image, inner, taps = n[0], n[1], n[2]"]
    lines.append(f"    outside = np.{real}(f[0])")
    for d in range(rank):
        before = "0" if d == 0 else f"base{d - 1} + n[{2 + d}] * taps"
        lines.append(f"    base{d} = {before}")
    lines.append("    for u in range(begin, end):")
    q = "u"
    for d in range(rank):
        lines.append("    " * (d + 2) + f"for i{d} in range(n[{3 + d}]):")
        q = f"({q}) * n[{3 + d}] + i{d}"
    first = 3 + rank
    indent = "    " * (rank + 2)
    lines += [f"{indent}q = ({q}) * inner", f"{indent}for i in range(inner):", f"{indent}    total = 0.0"]
    missing = " or ".join(f"n[{first} + base{d} + i{d} * taps] < 0" for d in range(rank))
    position, weight = "u * image + i", "1.0"
    for d in range(rank):
        indent = "    " * (rank + 3 + d)
        lines += [f"{indent}for k{d} in range(taps):", f"{indent}    t{d} = base{d} + i{d} * taps + k{d}"]
        position += f" + n[{first} + t{d}]"
        weight = f"f[1 + t{d}]" if d == 0 else f"{weight} * f[1 + t{d}]"
    deep, indent = "    " * (2 * rank + 3), "    " * (rank + 3)
    lines += [f"{deep}total += x[{position}] * ({weight})"]
    lines.append(f"{indent}y[q + i] = outside if {missing} else np.{real}(total)")
    return "\n".join([*lines, "    return 0", ""])


@lowers(Resize)
def lower_resize(op: Op[Resize], target: TargetDescription) -> Kernel | None:
    operator, type = op.operator, op.inputs[0].type
    if not (is_plain(op) and is_movement(op)):
        return None
    shape, strides = type.shape, row_major(type.shape)
    sampled = [d for d in range(type.rank) if not _kept(operator, shape, d)]
    first, last = (sampled[0], sampled[-1] + 1) if sampled else (0, 1)
    if not shape:
        return None
    units, inner = math.prod(shape[:first]), math.prod(shape[last:])
    head = [math.prod(shape[first:]), inner]
    dimensions = range(first, last)
    extents = [operator.extents[d] for d in dimensions]
    cropped = operator.coordinates == "tf_crop_and_resize"
    if operator.mode == "nearest" and not cropped:
        tables = [(operator.taps(d, shape[d])[0][:, 0] * strides[d]).tolist() for d in dimensions]
        numbers = [*head, *extents, *(s for table in tables for s in table)]
        function = python_function(_nearest_source(len(extents)))
        dtypes = (bits(type.dtype),) * 2
        return compile_kernel("resize_nearest", function, dtypes, target, units=units, integers=numbers)
    if type.dtype not in (DType.F32, DType.F64):
        return None
    sources: list[int] = []
    weights: list[float] = [operator.extrapolation_value]
    taps = 1
    for d in dimensions:
        indices, factors = operator.taps(d, shape[d])
        taps = indices.shape[1]
        offsets = indices * strides[d]
        if cropped:
            point = operator.source_coordinates(d, shape[d])
            offsets = np.where(((point < 0) | (point > shape[d] - 1))[:, None], -1, offsets)
        sources += offsets.reshape(-1).tolist()
        weights += factors.reshape(-1).tolist()
    function = python_function(_weighted_source(len(extents), type.dtype.numpy.name))
    return compile_kernel(
        "resize",
        function,
        (type.dtype, type.dtype),
        target,
        units=units,
        integers=[*head, taps, *extents, *sources],
        floats=weights,
        fastmath=True,
    )
