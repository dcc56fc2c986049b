"""Kernels that do one thing at every point of a loop nest: elementwise operators, and copies.

The outermost loop runs over the work items. Extents and strides are literals of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from ....ir.types import DType
from ..kernel import Kernel, kernel_name
from ..llvm.module import module_text, optimized
from ..llvm.target import TargetDescription
from ..llvm.types import I32, Register, Type, zero
from ..nest import Nest
from .function import KernelFunction, NumbaEntry, numba_text, origin


def element_kernel(
    stem: str, function: KernelFunction, dtypes: Sequence[DType], nest: Nest, target: TargetDescription
) -> Kernel:
    """A kernel that calls a Python function at every point.

    Args:
        function: ``kernel(x0, …, y, p0, …)`` takes the tensors and the positions in them, and returns 0.
    """
    return _element_kernel(stem, function, tuple(dtypes), nest.collapsed(), target)


@cache
def _element_kernel(
    stem: str, function: KernelFunction, dtypes: tuple[DType, ...], nest: Nest, target: TargetDescription
) -> Kernel:
    body, symbol = numba_text(stem, function, dtypes, len(dtypes))
    name = kernel_name(stem, origin(function), dtypes, nest, target)
    entry = NumbaEntry(target, name, len(dtypes))
    _visit(entry, nest, lambda positions: entry.call(symbol, [*entry.tensors, *positions]))
    return _finished(entry, body, nest)


def copy_kernel(stem: str, dtype: DType, nest: Nest, target: TargetDescription) -> Kernel:
    """A kernel that copies elements from the first tensor of the nest to the second."""
    return copies_kernel(stem, dtype, 2, ((0, 1, nest.collapsed()),), target)


@cache
def copies_kernel(
    stem: str, dtype: DType, tensors: int, copies: tuple[tuple[int, int, Nest], ...], target: TargetDescription
) -> Kernel:
    """A kernel that copies elements of ``dtype`` between several tensors.

    Args:
        tensors: number of pointers that the kernel takes.
        copies: source, destination and how elements are copied; all nests have the same first extent.
    """
    name = kernel_name(stem, "copies", dtype.bytes, tensors, copies, target)
    entry = NumbaEntry(target, name, tensors)
    bits = Type(f"i{8 * dtype.bytes}")

    def copy(source: Register, destination: Register, nest: Nest) -> None:
        def element(positions: Sequence[Register]) -> None:
            start, end = (entry.b.multiply(position, dtype.bytes) for position in positions)
            entry.b.store(entry.b.load(bits, source, start), destination, end)

        _visit(entry, nest, element)

    for source, destination, nest in copies:
        copy(entry.tensors[source], entry.tensors[destination], nest)
    return _finished(entry, "", copies[0][2])


def _finished(entry: NumbaEntry, helpers: str, nest: Nest) -> Kernel:
    entry.b.return_(zero(I32))
    text = optimized(helpers + module_text([entry.b]), entry.b.name, entry.b.target)
    return Kernel(entry.b.name, text, nest.extents[0])


def _visit(entry: NumbaEntry, nest: Nest, element: Callable[[Sequence[Register]], object]) -> None:
    """Loops over a nest around what happens at a point, given the positions in its tensors."""
    b = entry.b

    def dimension(d: int, positions: Sequence[Register]) -> None:
        if d == len(nest.extents):
            element(positions)
            return

        def step(index: Register) -> None:
            distances = (b.multiply(index, access.strides[d]) for access in nest.accesses)
            dimension(d + 1, [b.add(p, distance) for p, distance in zip(positions, distances, strict=True)])

        b.each(*((0, nest.extents[d]) if d else (entry.begin, entry.end)), step)

    dimension(0, [b.integer(access.offset) for access in nest.accesses])
