"""Extents that the data decide: how many elements a tensor has along a dimension, known when the network runs.

Such an extent is a :class:`Count`: a value of the network, and the range that it is in. A tensor that has it lies in
memory for the most there can be, its *room*; what is behind the true extent is filler, of which nothing is known but
that it can be computed with. What operators make of such tensors stands in :mod:`.open_shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .....ir.core import Value
from .intervals import UNKNOWN


@dataclass(eq=False)
class Count:
    """A whole number that the data decide.

    Attributes:
        value: it, i64[].
        least, most: the range.
        factor, parts: the number is ``factor`` times those in ``parts``; itself where there are none.
        base, offset: the number is ``offset`` more than that, where there is one.
    """

    value: Value
    least: int
    most: int
    factor: int = 1
    parts: tuple[Count, ...] = ()
    base: Count | None = None
    offset: int = 0

    @property
    def is_bounded(self) -> bool:
        return self.most < UNKNOWN

    def __str__(self) -> str:
        return f"≤{self.most}" if self.is_bounded else "?"


Extent = int | Count
Shape = tuple[Extent, ...]


def room(extent: Extent) -> int:
    """What a dimension takes in memory; 2 at least for a count, since dimensions of extent 1 can be stretched."""
    return max(extent.most, 2) if isinstance(extent, Count) else extent


def span(extent: Extent) -> tuple[int, int]:
    """The least and the most."""
    return (extent.least, extent.most) if isinstance(extent, Count) else (extent, extent)


def known_difference(a: Extent, b: Extent) -> int | None:
    """How much ``a`` is more than ``b``, ``None`` where the data decide that."""
    (base, offset), (other, its) = ((x.base or x, x.offset) if isinstance(x, Count) else (None, x) for x in (a, b))
    return offset - its if base is other else None


def text_of(shape: Sequence[Extent]) -> str:
    """A shape as messages show it: ``[≤100, 4]``."""
    return f"[{', '.join(map(str, shape))}]"


def factors(extents: Sequence[Extent]) -> tuple[int, tuple[Count, ...]]:
    """A product as a number and counts that are no products themselves, in an order of their own."""
    factor, parts = 1, list[Count]()
    for extent in extents:
        if isinstance(extent, int):
            factor *= extent
        else:
            factor *= extent.factor
            parts += extent.parts or (extent,)
    return factor, tuple(sorted(parts, key=id))
