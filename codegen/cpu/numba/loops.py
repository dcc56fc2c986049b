"""Loop nests over strided tensors, and what the generic lowerings ask about an op.

A nest visits every point of a grid; each tensor has an offset and one stride a dimension, so broadcasting is stride 0
and a transposition another order of strides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....ir.core import Op
from ....ir.op import QuantizationRule
from ....ir.types import DType


@dataclass(frozen=True)
class Access:
    """How a tensor is visited: the element of the grid's origin, and the distance in elements along each dimension."""

    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class Nest:
    """A grid and how tensors are visited along it."""

    extents: tuple[int, ...]
    accesses: tuple[Access, ...]

    def collapsed(self) -> Nest:
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
        return self._with(tuple(extents), strides)

    def _with(self, extents: tuple[int, ...], strides: Sequence[Sequence[int]]) -> Nest:
        accesses = tuple(Access(tuple(s[i] for s in strides), access.offset) for i, access in enumerate(self.accesses))
        return Nest(extents, accesses)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a contiguous tensor."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def broadcast(shape: Sequence[int], result: Sequence[int]) -> Access:
    """How a contiguous tensor of ``shape`` is visited along the larger shape ``result``."""
    missing = len(result) - len(shape)
    strides = [0 if e == 1 else s for e, s in zip(shape, row_major(shape), strict=True)]
    return Access((*[0] * missing, *strides))


def is_plain(op: Op) -> bool:
    """Whether every operand and result lies in row-major order."""
    return all(not value.type.layout for value in (*op.inputs, *op.results))


def has_real_meaning(op: Op) -> bool:
    """Whether no operand or result is quantised."""
    return all(value.type.quant is None for value in (*op.inputs, *op.results))


def is_movement(op: Op) -> bool:
    """Whether stored elements are moved or compared as they are, quantised or not."""
    return has_real_meaning(op) or op.operator.QUANTIZATION in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY)


_BITS = {1: DType.U8, 2: DType.U16, 4: DType.U32, 8: DType.U64}


def bits(dtype: DType) -> DType:
    """The unsigned integers that hold elements of ``dtype`` bit by bit, for kernels that only move them."""
    return _BITS[dtype.bytes]


def dtypes_of(op: Op) -> tuple[DType, ...]:
    """Element types of the pointers that a kernel for ``op`` takes."""
    return tuple(value.type.dtype for value in (*op.inputs, *op.results))
