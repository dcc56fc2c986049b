"""Transposes, joins, cuts and slices, as the importers of all formats emit them: nothing where nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright import limits

from ...ir.core import Value
from ...ir.ops.movement import Concat, Slice, Split, Transpose
from .builder import ModuleBuilder


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
    if tuple(extent) == x.type.shape and all(s == 1 for s in step):
        return x
    return importer.emit_one(Slice(tuple(begin), tuple(extent), tuple(step)), x)
