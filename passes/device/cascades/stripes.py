"""The order in which the stripes of a cascade are computed, of each op the next one when those behind it need it; and
how many rows a ring then needs room for, so that none is written over that is still to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ....ir.annotations import CASCADE
from ....ir.core import Op
from ..fused_pairs import fused_convolution


def cascade_of(op: Op) -> int | None:
    """Number of the cascade that an op of a device function belongs to, ``None`` if it runs alone."""
    place = CASCADE.get(fused_convolution(op) or op)
    return place[0] if place is not None else None


class Stripe(NamedTuple):
    """Rows of the result of an op.

    Attributes:
        layer: number of the op.
        needs: numbers of the stripes of ops with lower numbers that it has to follow.
    """

    layer: int
    needs: tuple[int, ...]


def interleaved(stripes: Sequence[Stripe]) -> list[int]:
    """The numbers of stripes in the order in which they are computed.

    The stripes of the last op come one by one, and each of another op as late as the one behind it allows: one stripe
    of that ahead, so that the array has other work while the vector unit finishes what it made.

    Args:
        stripes: op by op, of each from the top down.
    """
    first: dict[int, int] = {}
    for number, stripe in enumerate(stripes):
        first.setdefault(stripe.layer, number)
    upcoming = dict(first)
    order: list[int] = []

    def advance(layer: int, last: int) -> None:
        while upcoming[layer] <= last:
            number = upcoming[layer]
            ahead = stripes[number : number + 2]
            for stripe in ahead:
                if stripe.layer == layer:
                    for each in stripe.needs:
                        advance(stripes[each].layer, each)
            order.append(number)
            upcoming[layer] += 1

    last = {stripe.layer: number for number, stripe in enumerate(stripes)}
    for layer in sorted(last, key=lambda layer: (layer != max(last), layer)):
        advance(layer, last[layer])
    return order


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
