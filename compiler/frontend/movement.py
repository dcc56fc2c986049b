"""Transposes, joins, cuts, slices and pads as the importers of all formats emit them: nothing where nothing changes."""

from collections.abc import Sequence

import numpy as np

from tilewright import limits

from ...ir.core import Constant, Value
from ...ir.ops.indexing import Gather
from ...ir.ops.movement import Concat, Pad, Slice, Split, Transpose
from .builder import ModuleBuilder, SourceNode
from .shape import reshape

BEFORE_THE_FIRST = np.iinfo(np.int64).min
"""As end of a slice with a negative step: index 0 is taken too."""


def transpose(importer: ModuleBuilder, x: Value, perm: tuple[int, ...]) -> Value:
    """``x`` with its dimensions in another order; ``x`` itself where the order stays."""
    return x if perm == tuple(range(x.type.rank)) else importer.emit_one(Transpose(perm), x)


def join(importer: ModuleBuilder, parts: list[Value], axis: int) -> Value:
    """The parts along ``axis``; if one op cannot take them all, of groups that others join."""
    while len(parts) > limits.OPERANDS:
        groups = [parts[first : first + limits.OPERANDS] for first in range(0, len(parts), limits.OPERANDS)]
        parts = [importer.emit_one(Concat(axis), *group) for group in groups]
    return importer.emit_one(Concat(axis), *parts) if len(parts) > 1 else parts[0]


def split(importer: ModuleBuilder, x: Value, axis: int, sizes: tuple[int, ...]) -> list[Value]:
    """The parts of ``x``; if one op cannot make them all, of parts that others cut further."""
    if len(sizes) <= limits.OPERANDS:
        return list(importer.emit(Split(axis, sizes), x))
    groups = [sizes[first : first + limits.OPERANDS] for first in range(0, len(sizes), limits.OPERANDS)]
    larger = split(importer, x, axis, tuple(map(sum, groups)))
    return [part for each, group in zip(larger, groups, strict=True) for part in split(importer, each, axis, group)]


def slice_of(
    importer: ModuleBuilder, x: Value, begin: Sequence[int], extent: Sequence[int], step: Sequence[int]
) -> Value:
    """A part of ``x``; ``x`` itself where the part is all of it, in order."""
    step = [s if e > 1 else 1 for s, e in zip(step, extent, strict=True)]
    if tuple(extent) == x.type.shape and not any(begin) and all(s == 1 for s in step):
        return x
    return importer.emit_one(Slice(tuple(begin), tuple(extent), tuple(step)), x)


def cut(importer: ModuleBuilder, x: Value, axis: int, first: int, count: int, step: int = 1) -> Value:
    """So many elements of ``x`` along ``axis``."""
    begin, extent, steps = [0] * x.type.rank, [*x.type.shape], [1] * x.type.rank
    begin[axis], extent[axis], steps[axis] = first, count, step
    return slice_of(importer, x, begin, extent, steps)


def part_of(importer: ModuleBuilder, x: Value, axis: int, index: Value | int) -> Value:
    """``x`` at a position along ``axis``, without that dimension."""
    if not isinstance(index, (int, Constant)):
        return importer.emit_one(Gather(axis), x, index)
    part, shape = cut(importer, x, axis, index if isinstance(index, int) else int(index.array), 1), x.type.shape
    return reshape(importer, part, (*shape[:axis], *shape[axis + 1 :]))


def sliced(
    node: SourceNode,
    importer: ModuleBuilder,
    x: Value,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int],
) -> Value:
    """A part of ``x``, which starts and ends say as slices of Python do, but one that goes backwards from before the
    first element takes that.
    Raises ModelError: they are not as many as the axes, an axis is out of range, or a step is 0."""
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.model_error(
            "starts, ends, axes and steps have different lengths",
            found=f"{len(starts)}, {len(ends)}, {len(axes)} and {len(steps)}",
        )
    begin, extent, step = [0] * x.type.rank, list(x.type.shape), [1] * x.type.rank
    for first, end, axis, distance in zip(starts, ends, axes, steps, strict=True):
        if distance == 0:
            raise node.model_error("the step of a slice must not be 0")
        d = node.from_front(axis, x.type.rank)
        first = max(first, -x.type.shape[d]) if distance < 0 else first
        indices = range(*slice(first, end, distance).indices(x.type.shape[d]))
        begin[d], extent[d], step[d] = (indices[0] if indices else 0), len(indices), distance
    return slice_of(importer, x, begin, extent, step)


def reversed_along(importer: ModuleBuilder, x: Value, axis: int) -> Value:
    """``x`` from its last element to its first along ``axis``."""
    return cut(importer, x, axis, max(0, x.type.shape[axis] - 1), x.type.shape[axis], -1)


def space_to_depth(importer: ModuleBuilder, x: Value, size: int, *, depth_first: bool) -> Value:
    """x [N, C, ...] with blocks of its positions, of any number of dimensions, moved into channels.
    ``depth_first``: a channel of the result numbers that of x, then the place in the block; else the reverse."""
    batch, channels, *spatial = x.type.shape
    count = len(spatial)
    outer = [extent // size for extent in spatial]
    pairs = (part for extent in outer for part in (extent, size))
    apart = reshape(importer, x, (batch, channels, *pairs))
    blocks, rest = [3 + 2 * d for d in range(count)], [2 + 2 * d for d in range(count)]
    order = (0, 1, *blocks, *rest) if depth_first else (0, *blocks, 1, *rest)
    return reshape(importer, transpose(importer, apart, order), (batch, channels * size**count, *outer))


def padded(
    node: SourceNode,
    importer: ModuleBuilder,
    x: Value,
    before: Sequence[int],
    after: Sequence[int],
    mode: str,
    value: np.ndarray | None,
) -> Value:
    """``x`` with further elements around it, or without some where pads are negative: these go first.
    ``value``: what ``constant`` fills in, of one element; 0 for ``None``.
    Raises ModelError: the pads remove more than there is; UnsupportedError: double precision cannot hold the value."""
    filler = filler_of(node, value)
    begin = [max(0, -p) for p in before]
    extent = [e - b - max(0, -a) for e, b, a in zip(x.type.shape, begin, after, strict=True)]
    if min(extent, default=0) < 0:
        raise node.model_error("negative pads remove more than there is", found=[*before, *after])
    x = slice_of(importer, x, begin, extent, [1] * x.type.rank)
    pads = tuple(max(0, p) for p in (*before, *after))
    return importer.emit_one(Pad(pads, mode, filler), x) if any(pads) else x


def filler_of(node: SourceNode, value: np.ndarray | None) -> float:
    """What :func:`padded` fills in."""
    filler = np.asarray(value).reshape(-1)[0] if value is not None and np.asarray(value).size else 0
    if float(filler) != filler and not np.isnan(filler):
        raise node.unsupported("a padding value beyond the integers of double precision", found=filler)
    return float(filler)
