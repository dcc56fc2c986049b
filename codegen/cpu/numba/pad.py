"""Padding in all modes: where each element comes from is a table for each dimension, made when compiling."""

from __future__ import annotations

import numpy as np

from ....ir.core import Op
from ....ir.ops.movement import Pad
from ....ir.types import TensorType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..nest import row_major
from ..registry import lowers
from ..tensors import bits, is_movement, is_plain
from .function import compile_kernel, python_function

_OUTSIDE = -1


def _merged(shape: list[int], pads: list[tuple[int, int]], mode: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The same padding over fewer dimensions: one that is not padded is part of the one before it."""
    extents: list[int] = []
    widths: list[tuple[int, int]] = []
    for extent, width in zip(shape, pads, strict=True):
        if extents and width == (0, 0) and (mode == "constant" or widths[-1] == (0, 0)):
            extents[-1] *= extent
            widths[-1] = widths[-1][0] * extent, widths[-1][1] * extent
        else:
            extents.append(extent)
            widths.append(width)
    if len(extents) == 1:
        extents, widths = [1, *extents], [(0, 0), *widths]
    return extents, widths


def _sources(extent: int, width: tuple[int, int], mode: str) -> np.ndarray:
    """For each index of the padded dimension the index in x, -1 outside."""
    inside = np.arange(extent)
    if mode == "constant":
        return np.pad(inside, width, constant_values=_OUTSIDE)
    return np.pad(inside, width, mode=mode)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _source(rank: int, element: str) -> str:
    """Kernel for a rank: tables start with the fill, before, extent and after of rows, then the tables of sources."""
    lines = [
        "def kernel(x, y, n, f, scratch, begin, end):",
        f"    fill = np.{element}(n[0])",
        "    before, extent, after = n[1], n[2], n[3]",
        "    row = before + extent + after",
        f"    table0 = {4 + rank - 1}",
    ]
    lines += [f"    table{d} = table{d - 1} + n[{4 + d - 1}]" for d in range(1, rank)]
    position = "0"
    for d in range(rank - 1):
        indent = "    " * (d + 1)
        lines.append(f"{indent}for i{d} in range({'begin, end' if d == 0 else f'n[{4 + d}]'}):")
        lines.append(f"{indent}    s{d} = n[table{d} + i{d}]")
        lines.append(f"{indent}    q{d} = ({position} + i{d}) * {f'n[{5 + d}]' if d < rank - 2 else 'row'}")
        position = f"q{d}"
    indent = "    " * rank
    border = f"s = n[table{rank - 1} + {{0}}]\n{indent}        y[q + {{0}}] = x[p + s] if s >= 0 else fill"
    body = [
        f"q, p = {position}, {' + '.join(f's{d}' for d in range(rank - 1))}",
        f"if {' or '.join(f's{d} < 0' for d in range(rank - 1))}:",
        "    for i in range(row):",
        "        y[q + i] = fill",
        "else:",
        "    for i in range(before):",
        "        " + border.format("i"),
        "    for i in range(extent):",
        "        y[q + before + i] = x[p + i]",
        "    for i in range(before + extent, row):",
        "        " + border.format("i"),
    ]
    return "\n".join([*lines, *(indent + line for line in body), "    return 0", ""])


def _fill(operator: Pad, type: TensorType) -> int:
    """The bits of what ``constant`` fills in."""
    one = Pad((1, 0), "constant", operator.value)
    empty = np.zeros(0, type.dtype.numpy)
    (filled,) = one.evaluate([empty], [type.with_shape((0,))], [type.with_shape((1,))])
    return int(filled.view(bits(type.dtype).numpy)[0].astype(np.int64))


@lowers(Pad)
def lower_pad(op: Op, target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (is_plain(op) and is_movement(op) and isinstance(operator, Pad)):
        return None
    type = op.inputs[0].type
    dtype, rank = bits(type.dtype), type.rank
    pads = list(zip(operator.pads[:rank], operator.pads[rank:], strict=True))
    extents, widths = _merged(list(type.shape) or [1], pads or [(0, 0)], operator.mode)
    tables = [_sources(e, w, operator.mode) for e, w in zip(extents, widths, strict=True)]
    counts = [len(table) for table in tables]
    strides = row_major(extents)
    scaled = [np.where(t < 0, _OUTSIDE, t * stride).tolist() for t, stride in zip(tables, strides, strict=True)]
    fill = _fill(operator, type) if operator.mode == "constant" else 0
    numbers = [fill, widths[-1][0], extents[-1], widths[-1][1], *counts[:-1], *(s for table in scaled for s in table)]
    function = python_function(_source(len(extents), dtype.numpy.name), (("np", np),))
    return compile_kernel("pad", function, (dtype, dtype), target, units=counts[0], integers=numbers)
