"""Loop nests over strided tensors, as Python source for :mod:`tilewright.codegen.cpu.numba_kernel`.

A nest visits every point of a grid; each tensor has an offset and one stride a dimension, so broadcasting is stride 0
and a transposition another order of strides. The outermost loop runs over the work items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.core import Op
from ...ir.op import QuantizationRule
from ...ir.types import DType


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

    def of_rank(self, rank: int) -> Nest:
        """The same visits with dimensions of extent 1 added after the first one."""
        missing = rank - len(self.extents)
        strides = [[access.strides[d] for access in self.accesses] for d in range(len(self.extents))]
        absent = [[0] * len(self.accesses)] * missing
        return self._with((self.extents[0], *[1] * missing, *self.extents[1:]), [strides[0], *absent, *strides[1:]])

    def _with(self, extents: tuple[int, ...], strides: Sequence[Sequence[int]]) -> Nest:
        accesses = tuple(
            Access(tuple(s[i] for s in strides), access.offset) for i, access in enumerate(self.accesses)
        )
        return Nest(extents, accesses)

    def normalized(self) -> Nest:
        """Collapsed, and of a rank that few nests share, so that they share code."""
        nest = self.collapsed()
        rank = len(nest.extents)
        return nest if rank == 1 else nest.of_rank(rank if rank % 2 else rank + 1)

    @property
    def table(self) -> tuple[int, ...]:
        """The numbers that :func:`nest_source` reads: extents, then offset and strides of each tensor."""
        return (*self.extents, *(n for access in self.accesses for n in (access.offset, *access.strides)))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a contiguous tensor."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def broadcast(shape: Sequence[int], result: Sequence[int]) -> Access:
    """How a contiguous tensor of ``shape`` is visited along the larger shape ``result``."""
    missing = len(result) - len(shape)
    strides = [0 if e == 1 else s for e, s in zip(shape, row_major(shape), strict=True)]
    return Access((*[0] * missing, *strides))


def nest_source(rank: int, tensors: Sequence[str], statements: Sequence[str]) -> str:
    """Source of a kernel that executes ``statements`` at every point of a nest of this rank.

    In the statements, ``p0``, ``p1`` … are the positions in the tensors; ``n`` and ``f`` are the tables of integers
    and floats, the former starting with :attr:`Nest.table`.
    """
    lines = [f"def kernel({', '.join([*tensors, 'n', 'f', 'scratch', 'begin', 'end'])}):"]
    offsets = [rank + t * (rank + 1) for t in range(len(tensors))]
    position = [f"n[{offset}]" for offset in offsets]
    for d in range(rank):
        indent = "    " * (d + 1)
        lines.append(f"{indent}for i{d} in range({'begin, end' if d == 0 else f'n[{d}]'}):")
        name = "p" if d == rank - 1 else f"q{d}_"
        for t, offset in enumerate(offsets):
            lines.append(f"{indent}    {name}{t} = {position[t]} + i{d} * n[{offset + 1 + d}]")
            position[t] = f"{name}{t}"
    lines += ["    " * (rank + 1) + statement for statement in statements]
    return "\n".join([*lines, "    return 0", ""])


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
