"""The order in which the stripes of a cascade are computed: of each op the next one when those behind it need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
