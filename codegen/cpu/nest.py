"""Loop nests over strided tensors.

A nest visits every point of a grid; each tensor has an offset and one stride a dimension, so broadcasting is stride 0
and a transposition another order of strides.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from tilewright.immutable import Immutable

from ...ir.layout import joined_loops, row_major


class Access(Immutable):
    """How a tensor is visited: the element of the grid's origin, and the distance in elements along each dimension."""

    strides: tuple[int, ...]
    offset: int = 0


class Nest(Immutable):
    """A grid and how tensors are visited along it."""

    extents: tuple[int, ...]
    accesses: tuple[Access, ...]

    def collapsed(self) -> "Nest":
        """The same visits in the same order with as few dimensions as possible, one at least."""
        extents: list[int] = []
        strides: list[list[int]] = []
        for d, extent in enumerate(self.extents):
            current = [access.strides[d] for access in self.accesses]
            if extent == 1:
                continue
            if extents and all(outer == inner * extent for outer, inner in zip(strides[-1], current, strict=True)):
                extents[-1] *= extent
                strides[-1] = current
            else:
                extents.append(extent)
                strides.append(current)
        if not extents:
            extents, strides = [1], [[1] * len(self.accesses)]
        accesses = tuple(Access(tuple(s[i] for s in strides), access.offset) for i, access in enumerate(self.accesses))
        return Nest(tuple(extents), accesses)


def broadcast(shape: Sequence[int], result: Sequence[int]) -> Access:
    """How a contiguous tensor of ``shape`` is visited along the larger shape ``result``."""
    missing = len(result) - len(shape)
    strides = [0 if e == 1 else s for e, s in zip(shape, row_major(shape), strict=True)]
    return Access((*[0] * missing, *strides))


def around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """Extents before, of and after a dimension."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


class Dimensions(NamedTuple):
    """Dimensions of one kind: extents and strides in x, neighbours merged."""

    extents: tuple[int, ...]
    strides: tuple[int, ...]


def kept_and_reduced(shape: Sequence[int], axes: Sequence[int]) -> tuple[Dimensions, Dimensions]:
    """The kept and the reduced dimensions; one of each at least, but no more than needed."""

    def dimensions(reduced: bool) -> Dimensions:
        numbers = zip(shape, row_major(shape), strict=True)
        loops = joined_loops(loop for d, loop in enumerate(numbers) if (d in axes) == reduced) or [(1, 1)]
        return Dimensions(tuple(extent for extent, _ in loops), tuple(stride for _, stride in loops))

    return dimensions(False), dimensions(True)
