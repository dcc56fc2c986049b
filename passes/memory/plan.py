"""The memory plan of a function: which results get memory, over which live range, and where in the arena."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from ...ir.core import Function, Op, Value
from .allocation import Buffer, pack, peak

ALIGNMENT = 64
"""Bytes: a cache line, a 512-bit vector and a DRAM burst."""

Parts = dict[Value, tuple[Value, int]]
"""For a value that lies inside the memory of another one: that one, and the byte of it at which the value starts."""


def aligned(size: int) -> int:
    """A size in bytes, rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def root_of(value: Value, parts: Parts) -> tuple[Value, int]:
    """The value in whose memory ``value`` finally lies, itself if it is no part, and the byte at which it starts."""
    offset = 0
    while value in parts:
        value, start = parts[value]
        offset += start
    return value, offset


def roots_of(parts: Parts) -> dict[Value, tuple[Value, int]]:
    """:func:`root_of` for every part, however deep they are nested."""
    found: dict[Value, tuple[Value, int]] = {}
    for value in parts:
        path: list[Value] = []
        while value in parts and value not in found:
            path.append(value)
            value = parts[value][0]
        root, offset = found.get(value, (value, 0))
        for part in reversed(path):
            offset += parts[part][1]
            found[part] = root, offset
    return found


def plan_memory(
    function: Function,
    parts: Parts,
    bytes_of: Callable[[Value], int],
    together: Callable[[Op], Hashable] = lambda op: None,
) -> tuple[dict[Value, int], int]:
    """The offset in bytes of each op result that is neither returned nor part of another value; size of the arena.

    Ops run in the order in which they stand. A value is live from the op that defines it to the last op that reads it,
    both included, and so is the value that it is a part of.

    Args:
        bytes_of: size of a value in bytes.
        together: the same for consecutive ops that run in turn, piece by piece; None for those that run alone.
    """
    ranges: dict[Value, tuple[int, int]] = {}
    roots = roots_of(parts)
    spans = _spans([together(op) for op in function.ops])
    for (begin, end), op in zip(spans, function.ops, strict=True):
        for value in (*op.results, *op.inputs):
            root, _ = roots.get(value, (value, 0))
            ranges[root] = (ranges.get(root, (begin, end))[0], end)
    owners = [v for op in function.ops for v in op.results if v not in parts and not v.is_returned]
    buffers = [Buffer(aligned(bytes_of(value)), *ranges[value]) for value in owners]
    best = pack(buffers)
    return dict(zip(owners, best, strict=True)), peak(buffers, best)


def _spans(groups: Sequence[Hashable]) -> list[tuple[int, int]]:
    """For each step the first and the last one of its group; of those in none, itself."""
    first: dict[Hashable, int] = {}
    last: dict[Hashable, int] = {}
    for step, group in enumerate(groups):
        first.setdefault(group, step)
        last[group] = step
    return [(step, step) if group is None else (first[group], last[group]) for step, group in enumerate(groups)]
