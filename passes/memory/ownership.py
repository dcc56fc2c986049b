"""Addresses executed without data: for each unit of memory, who wrote it last.

The checks of memory plans stand on this and share nothing with the planner: instead of comparing live ranges, they
write and read through the regions of memory in the order of the ops.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Extent(NamedTuple):
    """``runs`` times ``width`` units of memory, ``pitch`` units from the start of one to that of the next."""

    region: str
    start: int
    width: int
    runs: int = 1
    pitch: int = 0


class Piece(NamedTuple):
    """Memory that belongs to a value, and the write that put it there."""

    extent: Extent
    write: int


class Ownership:
    """The last write to each unit of each region. ``sizes``: units of each region by name. Extents must lie inside."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._owner = {region: np.zeros(size, np.int32) for region, size in sizes.items()}
        self._writes = 0

    def write(self, extent: Extent, reach: int = 0) -> Piece:
        """Write every unit of ``extent``, and of each run also what lies behind it, up to ``reach`` units."""
        self._writes += 1
        self._runs(extent._replace(width=max(extent.width, reach)))[...] = self._writes
        return Piece(extent, self._writes)

    def is_whole(self, pieces: Iterable[Piece]) -> bool:
        """Whether nothing has been written to the pieces since."""
        return self.intruder(pieces) is None

    def intruder(self, pieces: Iterable[Piece]) -> int | None:
        """A write that is there in the place of the pieces' own, ``None`` where nothing has been written since."""
        for piece in pieces:
            owners = self._runs(piece.extent)
            is_other = owners != piece.write
            if is_other.any():
                return int(owners[is_other][0])
        return None

    def _runs(self, extent: Extent) -> NDArray[np.int32]:
        """The owners of each unit of each run, [runs, width], without a copy."""
        owner = self._owner[extent.region]
        return np.lib.stride_tricks.as_strided(
            owner[extent.start :],
            (extent.runs, extent.width),
            (extent.pitch * owner.itemsize, owner.itemsize),
            writeable=True,
        )
