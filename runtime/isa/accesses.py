"""The bytes that instructions touch: in which memory, and which of it."""

from collections.abc import Sequence
from enum import IntEnum
from math import prod
from typing import NamedTuple


class Space(IntEnum):
    """The memories that instructions touch."""

    DRAM = 0
    MAPS = 1
    WEIGHTS = 2
    ACCUMULATORS = 3
    PARAMETERS = 4


def end_of(start: int, steps: Sequence[tuple[int, int]], run: int) -> int:
    """One past the last byte of runs at ``start`` plus multiples of the strides, given as (count, stride)."""
    for count, stride in steps:
        start += (count - 1) * stride
    return start + run


class MemoryAccess(NamedTuple):
    """Bytes that an instruction reads or writes: runs of ``run`` bytes at ``start`` plus multiples of the strides.

    ``steps`` holds (count, stride in bytes) from the outermost to the innermost; ``region`` is the DRAM region, or -1;
    ``cluster`` is the one whose scratchpad it is, or -1 for DRAM."""

    space: Space
    start: int
    steps: tuple[tuple[int, int], ...]
    run: int
    write: bool
    region: int = -1
    cluster: int = -1

    @property
    def memory(self) -> tuple[Space, int, int]:
        """Which memory it is: space, cluster and region."""
        return self.space, self.cluster, self.region

    @property
    def stop(self) -> int:
        """One past the last byte."""
        return end_of(self.start, self.steps, self.run)

    @property
    def bytes(self) -> int:
        """How many they are."""
        return prod(count for count, _ in self.steps) * self.run
