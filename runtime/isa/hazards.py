"""Who touched which bytes last, for the assembler that inserts waits and the verifier that proves them sufficient.

Bytes are tracked in lines, and a strided access counts as the whole range from its first to its last byte. Both users
share this conservative view: it may order two accesses that could run at once, and never misses a conflict.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..machine import Machine
from .encoding import Access, Queue, Space
from .program import Region, RegionKind

_LINE = {Space.DRAM: 64, Space.MAPS: 16, Space.WEIGHTS: 64, Space.ACCUMULATORS: 64, Space.PARAMETERS: 64}


class LastTouch:
    """For every line of every memory, the position in each queue of the last instruction that read and wrote it.

    Positions count from 1; 0 is none.
    """

    def __init__(self, machine: Machine, regions: Iterable[Region]) -> None:
        sizes = {
            (Space.MAPS, -1): machine.maps_bytes,
            (Space.WEIGHTS, -1): machine.weight_bytes,
            (Space.ACCUMULATORS, -1): machine.accumulator_bytes,
            (Space.PARAMETERS, -1): machine.parameter_bytes,
        }
        for index, region in enumerate(regions):
            if region.kind not in (RegionKind.CONSTANT, RegionKind.INPUT):
                sizes[Space.DRAM, index] = region.size
        self._reads = {key: self._lines(key[0], size) for key, size in sizes.items()}
        self._writes = {key: self._lines(key[0], size) for key, size in sizes.items()}

    @staticmethod
    def _lines(space: Space, size: int) -> NDArray[np.int32]:
        return np.zeros((len(Queue), -(-size // _LINE[space])), np.int32)

    def conflicts(self, queue: Queue, accesses: Iterable[Access]) -> list[int]:
        """For each queue, the last position whose instruction must precede one of ``queue`` with these accesses."""
        latest = [0] * len(Queue)
        for access in accesses:
            key = (access.space, access.region)
            writes = self._writes.get(key)
            if writes is None:
                continue
            line = _LINE[access.space]
            span = slice(access.start // line, -(-access.stop // line))
            found = writes[:, span].max(axis=1)
            if access.write:
                found = np.maximum(found, self._reads[key][:, span].max(axis=1))
            for other, position in enumerate(found.tolist()):
                if position > latest[other] and other != queue:
                    latest[other] = position
        return latest

    def record(self, queue: Queue, position: int, accesses: Iterable[Access]) -> None:
        """Note that the instruction at ``position`` (from 1) of ``queue`` makes these accesses."""
        for access in accesses:
            table = (self._writes if access.write else self._reads).get((access.space, access.region))
            if table is not None:
                line = _LINE[access.space]
                table[queue, access.start // line : -(-access.stop // line)] = position
