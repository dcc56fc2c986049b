"""Offsets for buffers whose live ranges are known: the packing problem behind memory plans.

A buffer is live over a range of steps and takes a range of bytes; two that are live at the same step must not share a
byte. Finding the smallest arena is NP-hard (it is dynamic storage allocation), so two heuristics compete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """A range of bytes over a range of steps.

    Attributes:
        bytes: size, a multiple of the alignment.
        first, last: its live range, from the step of its definition to that of its last use, both included.
    """

    bytes: int
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        """Whether both are live at some step."""
        return self.first <= other.last and other.first <= self.last


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Size of the arena that these offsets need."""
    return max((offset + buffer.bytes for buffer, offset in zip(buffers, offsets, strict=True)), default=0)


def greedy_by_size(buffers: Sequence[Buffer]) -> list[int]:
    """The largest first, each at the lowest offset where nothing that is live meanwhile lies.

    Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020.
    """
    return _pack(buffers, sorted(range(len(buffers)), key=lambda i: (-buffers[i].bytes, buffers[i].first, i)))


def linear_by_time(buffers: Sequence[Buffer]) -> list[int]:
    """In order of definition, each in the smallest gap that takes it, as a memory allocator at run time would."""
    return _pack(buffers, sorted(range(len(buffers)), key=lambda i: (buffers[i].first, -buffers[i].bytes, i)), True)


def _pack(buffers: Sequence[Buffer], order: Sequence[int], best_fit: bool = False) -> list[int]:
    offsets = [0] * len(buffers)
    packed: list[int] = []
    for index in order:
        buffer = buffers[index]
        taken = sorted((offsets[i], offsets[i] + buffers[i].bytes) for i in packed if buffers[i].meets(buffer))
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
        packed.append(index)
    return offsets


HEURISTICS = (greedy_by_size, linear_by_time)
"""All of them are tried, and the smallest arena is taken, the first one where they tie."""
