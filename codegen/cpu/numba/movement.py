"""Operators that copy elements on row-major tensors, whatever their bits mean; padding."""

import math
from collections.abc import Sequence

import numpy as np

from tilewright import limits
from tilewright.errors import ResourceError

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK, physical_shape, row_major
from ....ir.ops.detection.yolo import ReorgYolo
from ....ir.ops.movement import Concat, Pad, Reorder, Slice, SpaceToDepth, Split, Tile, Transpose, Trilu
from ....ir.ops.shape import Expand, Reshape
from ....ir.types import TensorType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import Access, Nest, broadcast
from ..tensors import bits, is_movement, is_plain
from .generation.function import KernelFunction, compile_kernel, loop_function, nested
from .generation.nest_kernel import copies_kernel, copy_kernel


def _copied(op: Op, extents: Sequence[int], source: Access, target: TargetDescription) -> Kernel:
    """A kernel that writes the result in order, reading x as ``source`` tells."""
    nest = Nest(tuple(extents), (source, Access(row_major(extents))))
    return copy_kernel(op.name, bits(op.results[0].type.dtype), nest, target)


@lowers(Reshape, Expand, Transpose, Slice, Tile, SpaceToDepth, ReorgYolo, Reorder, needs=(is_plain, is_movement))
def lower_copy(op: Op, target: TargetDescription) -> Kernel:
    operator, shape = op.operator, op.inputs[0].type.shape
    strides, result = row_major(shape), op.result.type.shape
    if isinstance(operator, Reshape | Reorder):
        return _copied(op, (math.prod(shape),), Access((1,)), target)
    if isinstance(operator, Expand):
        return _copied(op, result, broadcast(shape, result), target)
    if isinstance(operator, Transpose):
        return _copied(op, result, Access(tuple(strides[d] for d in operator.perm)), target)
    if isinstance(operator, Slice):
        steps = tuple(stride * step for stride, step in zip(strides, operator.step, strict=True))
        first = sum(b * s for b, s in zip(operator.begin, strides, strict=True))
        return _copied(op, result, Access(steps, first), target)
    if isinstance(operator, Tile):
        extents = [e for pair in zip(operator.repeats, shape, strict=True) for e in pair]
        return _copied(op, extents, Access(tuple(s for stride in strides for s in (0, stride))), target)
    n, c, h, w = shape
    if isinstance(operator, ReorgYolo):
        # The memory of the input counts as an image of squares, whatever its own shape is.
        b, c, h, w = operator.stride, c // operator.stride**2, h * operator.stride, w * operator.stride
    else:
        assert isinstance(operator, SpaceToDepth)
        b = operator.blocksize
    split, order = (n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4)
    strides = row_major(split)
    return _copied(op, [split[d] for d in order], Access(tuple(strides[d] for d in order)), target)


@lowers(Concat, Split, needs=(is_movement,))
def lower_joint(op: Op[Concat | Split], target: TargetDescription) -> Kernel | None:
    is_concat = isinstance(op.operator, Concat)
    whole = (op.results if is_concat else op.inputs)[0].type
    parts = op.inputs if is_concat else op.results
    if not (is_plain(op) or _joins_blocks(op.operator.axis, whole, [part.type for part in parts])):
        return None
    physical = physical_shape(whole)
    outer, row = math.prod(physical[: op.operator.axis]), math.prod(physical[op.operator.axis :])
    if len(parts) > limits.OPERANDS:
        raise ResourceError(
            "the op has more operands or results than a kernel can take",
            stage="cpu code",
            op=op.name,
            node=op.node,
            expected=f"at most {limits.OPERANDS}",
            found=len(parts),
        )
    copies: list[tuple[int, int, Nest]] = []
    offset = 0
    for index, part in enumerate(parts):
        length = math.prod(physical_shape(part.type)) // outer if outer else 0
        accesses = Access((length, 1)), Access((row, 1), offset)
        offset += length
        source, destination = (index, len(parts)) if is_concat else (0, index + 1)
        copies.append((source, destination, Nest((outer, length), accesses if is_concat else accesses[::-1])))
    return copies_kernel(op.name, bits(whole.dtype), len(parts) + 1, tuple(copies), target)


def _joins_blocks(axis: int, whole: TensorType, parts: Sequence[TensorType]) -> bool:
    """Whether tensors in layout ``c16`` join by whole blocks of channels."""
    blocked = all(type.layout == "c16" for type in (whole, *parts))
    return blocked and axis == 1 and all(part.shape[1] % CHANNEL_BLOCK == 0 for part in parts[:-1])


def _trilu(x, y, n, f, scratch, begin, end):
    rows, columns, k, upper = n[0], n[1], n[2], n[3]
    for row in range(begin, end):
        edge = row % rows + k + (0 if upper else 1)
        edge = min(max(edge, 0), columns)
        first, last = (edge, columns) if upper else (0, edge)
        p = row * columns
        for i in range(columns):
            y[p + i] = 0
        for i in range(first, last):
            y[p + i] = x[p + i]
    return 0


@lowers(Trilu, needs=(is_plain, is_movement))
def lower_trilu(op: Op[Trilu], target: TargetDescription) -> Kernel:
    shape, dtype = op.result.type.shape, bits(op.result.type.dtype)
    numbers = (*shape[-2:], op.operator.diagonal(op.result.type), int(op.operator.upper))
    return compile_kernel(op, _trilu, target, dtypes=(dtype, dtype), units=math.prod(shape[:-1]), integers=numbers)


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


_SOURCES = {
    "constant": "s{0} if 0 <= s{0} < {extent} else -1",
    "edge": "min(max(s{0}, 0), {extent} - 1)",
    "reflect": "abs(s{0}) if s{0} < {extent} else 2 * ({extent} - 1) - s{0}",
    "wrap": "s{0} % {extent}",
}
"""By mode, the index in x of what stands at the index ``s`` counted from the first element of x; -1 for none."""


def _padding(rank: int, mode: str, element: str) -> KernelFunction:
    """A kernel for a rank, whose table has the fill, then before, extent, after and stride of x of each dimension."""
    outer, position = range(rank - 1), "i0"
    for d in outer[1:]:
        position = f"({position}) * (n[{1 + 4 * d}] + n[{2 + 4 * d}] + n[{3 + 4 * d}]) + i{d}"

    def source(d: int, index: str) -> list[str]:
        found = _SOURCES[mode].format(d, extent=f"n[{2 + 4 * d}]")
        return [f"s{d} = {index} - n[{1 + 4 * d}]", f"s{d} = {found}"]

    last = rank - 1
    border = [*source(last, "i"), f"y[q + i] = x[p + s{last}] if s{last} >= 0 else fill"]
    row = [
        *(line for d in outer for line in source(d, f"i{d}")),
        f"q, p = ({position}) * row, {' + '.join(f's{d} * n[{4 + 4 * d}]' for d in outer)}",
        f"if {' or '.join(f's{d} < 0' for d in outer)}:",
        *nested(["    for i in range(row):"], ["    y[q + i] = fill"]),
        "else:",
        *nested(["    for i in range(before):"], [f"    {line}" for line in border]),
        *nested(["    for i in range(extent):"], ["    y[q + before + i] = x[p + i]"]),
        *nested(["    for i in range(before + extent, row):"], [f"    {line}" for line in border]),
    ]
    extents = [f"n[{1 + 4 * d}] + n[{2 + 4 * d}] + n[{3 + 4 * d}]" for d in outer]
    loops = [f"for i{d} in range({extents[d] if d else 'begin, end'}):" for d in outer]
    head = [
        f"fill = np.{element}(n[0])",
        f"before, extent, after = n[{1 + 4 * last}], n[{2 + 4 * last}], n[{3 + 4 * last}]",
    ]
    return loop_function("x, y", [*head, "row = before + extent + after"], loops, row)


def _fill(operator: Pad, type: TensorType) -> int:
    """The bits of what ``constant`` fills in."""
    one = Pad((1, 0), "constant", operator.value)
    empty = np.zeros(0, type.dtype.numpy)
    (filled,) = one.evaluate([empty], [type.with_shape((0,))], [type.with_shape((1,))])
    return int(filled.view(bits(type.dtype).numpy)[0].astype(np.int64))


@lowers(Pad, needs=(is_plain, is_movement))
def lower_pad(op: Op[Pad], target: TargetDescription) -> Kernel:
    operator = op.operator
    type = op.inputs[0].type
    dtype, rank = bits(type.dtype), type.rank
    pads = list(zip(operator.pads[:rank], operator.pads[rank:], strict=True))
    extents, widths = _merged(list(type.shape) or [1], pads or [(0, 0)], operator.mode)
    fill = _fill(operator, type) if operator.mode == "constant" else 0
    dimensions = zip(extents, widths, row_major(extents), strict=True)
    numbers = [n for extent, (before, after), stride in dimensions for n in (before, extent, after, stride)]
    function = _padding(len(extents), operator.mode, dtype.numpy.name)
    units = sum(widths[0]) + extents[0]
    return compile_kernel(op, function, target, dtypes=(dtype, dtype), units=units, integers=[fill, *numbers])
