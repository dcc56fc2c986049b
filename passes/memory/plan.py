"""The memory plan of a function: which results get memory, over which live range, and where in the arena.

A buffer is live over a range of steps and takes a range of bytes; two that are live at the same step must not share a
byte. Finding the smallest arena is NP-hard (it is dynamic storage allocation), so two heuristics compete.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Sequence

from tilewright.immutable import Immutable

from ...ir.core import Function, Op, Value


class Buffer(Immutable):
    """A range of bytes over a range of steps.
    ``bytes``: size, a multiple of the alignment.
    ``first``, ``last``: its live range, from the step of its definition to that of its last use, both included."""

    bytes: int
    first: int
    last: int


Rivals = Sequence[Sequence[int]]
"""For each buffer those that must not share a byte with it."""


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Size of the arena that these offsets need."""
    return max((offset + buffer.bytes for buffer, offset in zip(buffers, offsets, strict=True)), default=0)


def pack(buffers: Sequence[Buffer], most_pairs: int = 1 << 20) -> list[int]:
    """Offsets of a small arena: the best of two heuristics, the first one where they tie.
    ``most_pairs``: of buffers that are live at the same step, up to which the heuristics are tried; they look at
    all."""
    rivals = rivals_of(buffers, most_pairs)
    if rivals is None:
        return reuse(buffers)
    return min((heuristic(buffers, rivals) for heuristic in HEURISTICS), key=lambda offsets: peak(buffers, offsets))


def rivals_of(buffers: Sequence[Buffer], most_pairs: int) -> list[list[int]] | None:
    """For each buffer those that are live at some step of it, in any order; ``None`` where they are too many."""
    rivals: list[list[int]] = [[] for _ in buffers]
    live: list[int] = []
    pairs = 0
    for index in sorted(range(len(buffers)), key=lambda i: buffers[i].first):
        live = [other for other in live if buffers[other].last >= buffers[index].first]
        pairs += len(live)
        if pairs > most_pairs:
            return None
        rivals[index] += live
        for other in live:
            rivals[other].append(index)
        live.append(index)
    return rivals


def reuse(buffers: Sequence[Buffer]) -> list[int]:
    """In order of definition, each in the smallest piece of memory that is free and large enough, or in new memory."""
    offsets = [0] * len(buffers)
    free: list[tuple[int, int]] = []
    ends: list[tuple[int, int]] = []
    end = 0
    for index in sorted(range(len(buffers)), key=lambda i: buffers[i].first):
        buffer = buffers[index]
        while ends and ends[0][0] < buffer.first:
            _, done = heapq.heappop(ends)
            insort(free, (buffers[done].bytes, offsets[done]))
        place = bisect_left(free, (buffer.bytes, 0))
        if place < len(free):
            size, offsets[index] = free.pop(place)
            if size > buffer.bytes:
                insort(free, (size - buffer.bytes, offsets[index] + buffer.bytes))
        else:
            offsets[index], end = end, end + buffer.bytes
        heapq.heappush(ends, (buffer.last, index))
    return offsets


def greedy_by_size(buffers: Sequence[Buffer], rivals: Rivals) -> list[int]:
    """The largest first, each at the lowest offset where nothing that is live meanwhile lies.

    Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020."""
    return _place(buffers, rivals, sorted(range(len(buffers)), key=lambda i: (-buffers[i].bytes, buffers[i].first, i)))


def linear_by_time(buffers: Sequence[Buffer], rivals: Rivals) -> list[int]:
    """In order of definition, each in the smallest gap that takes it, as a memory allocator at run time would."""
    order = sorted(range(len(buffers)), key=lambda i: (buffers[i].first, -buffers[i].bytes, i))
    return _place(buffers, rivals, order, best_fit=True)


def _place(buffers: Sequence[Buffer], rivals: Rivals, order: Sequence[int], best_fit: bool = False) -> list[int]:
    offsets = [0] * len(buffers)
    placed = [False] * len(buffers)
    for index in order:
        buffer = buffers[index]
        taken = sorted((offsets[i], offsets[i] + buffers[i].bytes) for i in rivals[index] if placed[i])
        end = 0
        chosen, smallest = None, None
        for start, stop in taken:
            gap = start - end
            if gap >= buffer.bytes and (smallest is None or gap < smallest):
                chosen, smallest = end, gap
                if not best_fit:
                    break
            end = max(end, stop)
        offsets[index] = end if chosen is None else chosen
        placed[index] = True
    return offsets


HEURISTICS = (greedy_by_size, linear_by_time)


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
    ``bytes_of``: size of a value in bytes.
    ``together``: the same for consecutive ops that run in turn, piece by piece; None for those that run alone."""
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
