"""How many rows a ring needs room for, so that none is written over that is still to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class RowAccess(NamedTuple):
    """Rows of a map that are read or written at once.

    Attributes:
        first, stop: the rows, from the first to one past the last.
        goes_round: whether they may lie around the end of a ring.
    """

    first: int
    stop: int
    goes_round: bool


def ring_rows(accesses: Sequence[RowAccess], rows: int) -> int:
    """The rows of the shortest ring in which a map can be accessed like that, one after the other.

    A row is needed from the first access to it to the last one. Two rows that are needed at the same time have to be
    less than the ring apart.

    Args:
        rows: of the map, which is what is needed where no ring is shorter.
    """
    begin = np.full(rows, len(accesses), np.int64)
    end = np.full(rows, -1, np.int64)
    for step, (first, stop, _) in enumerate(accesses):
        span = slice(first, stop)
        begin[span] = np.minimum(begin[span], step)
        end[span] = step
    together = (begin[:, None] <= end[None, :]) & (begin[None, :] <= end[:, None])
    upper, lower = np.nonzero(np.triu(together))
    least = int((lower - upper).max(initial=0)) + 1
    straight = np.array([(first, stop - 1) for first, stop, goes_round in accesses if not goes_round])
    for ring in range(least, rows):
        if not len(straight) or (straight[:, 0] // ring == straight[:, 1] // ring).all():
            return ring
    return rows
