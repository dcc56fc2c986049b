"""Kernels that do one thing at every point of a loop nest: elementwise operators, and copies.

The outermost loop runs over the work items. Extents and strides are literals of the text.
"""

from collections.abc import Callable, Sequence
from functools import cache

from .....ir.core import Op
from .....ir.types import DType
from ...kernel import Kernel, kernel_name
from ...llvm.builder import FunctionBuilder
from ...llvm.module import module_text, optimized
from ...llvm.target import TargetDescription
from ...llvm.types import I32, I64, PTR, Register, Type, zero
from ...nest import Access, Nest
from ...tensors import dtypes_of
from .function import NumbaEntry, numba_text, origin, python_function, remembered

FEW_COPIES = 16
"""Up to so many copies stand in one function; LLVM takes time with the square of them."""


def element_kernel(op: Op, source: str, nest: Nest, target: TargetDescription) -> Kernel:
    """A kernel that calls a Python function at every point.
    ``source``: of ``kernel(x0, …, y, p0, …)``, which takes the tensors and the positions in them, and returns 0."""
    function, dtypes, nest = python_function(source), dtypes_of(op), nest.collapsed()
    name = kernel_name(op.name, origin(function), dtypes, nest, target)

    def make() -> Kernel:
        body, symbol = numba_text(op.name, function, dtypes, len(dtypes))
        entry = NumbaEntry(target, name, len(dtypes))
        _visit(entry.b, entry.begin, entry.end, nest, lambda at: entry.call(symbol, [*entry.tensors, *at]))
        return _finished(entry, nest, body)

    return remembered(name, make)


def copy_kernel(stem: str, dtype: DType, nest: Nest, target: TargetDescription) -> Kernel:
    """A kernel that copies elements from the first tensor of the nest to the second."""
    return copies_kernel(stem, dtype, 2, ((0, 1, nest.collapsed()),), target)


@cache
def copies_kernel(
    stem: str, dtype: DType, tensors: int, copies: tuple[tuple[int, int, Nest], ...], target: TargetDescription
) -> Kernel:
    """A kernel that copies elements of ``dtype`` between several tensors.
    ``tensors``: number of pointers that the kernel takes.
    ``copies``: source, destination and how elements are copied; all nests have the same first extent."""
    name = kernel_name(stem, "copies", dtype.bytes, tensors, copies, target)
    entry = NumbaEntry(target, name, tensors)
    bits = Type(f"i{8 * dtype.bytes}")

    def copy(
        b: FunctionBuilder, source: Register, destination: Register, begin: Register, end: Register, nest: Nest
    ) -> None:
        def element(positions: Sequence[Register]) -> None:
            first, second = (b.multiply(position, dtype.bytes) for position in positions)
            b.store(b.load(bits, source, first), destination, second)

        _visit(b, begin, end, nest, element)

    apart: dict[Nest, FunctionBuilder] = {}
    for source, destination, nest in copies:
        x, y = entry.tensors[source], entry.tensors[destination]
        if len(copies) <= FEW_COPIES:
            copy(entry.b, x, y, entry.begin, entry.end, nest)
            continue
        x, y = (
            entry.b.at(tensor, access.offset * dtype.bytes)
            for tensor, access in zip((x, y), nest.accesses, strict=True)
        )
        nest = Nest(nest.extents, tuple(Access(access.strides) for access in nest.accesses))
        if nest not in apart:
            parameters: list[tuple[str, Type]] = [("x", PTR), ("y", PTR), ("begin", I64), ("end", I64)]
            b = apart[nest] = FunctionBuilder(
                target, f"{name}_{len(apart)}", parameters, internal=True, exclusive=("x", "y"), chooses_width=True
            )
            source_pointer, target_pointer, begin, end = b.arguments
            copy(b, source_pointer, target_pointer, begin, end, nest)
            b.return_()
        entry.b.call(apart[nest].name, None, [x, y, entry.begin, entry.end])
    return _finished(entry, copies[0][2], apart=list(apart.values()))


def _finished(entry: NumbaEntry, nest: Nest, helpers: str = "", apart: Sequence[FunctionBuilder] = ()) -> Kernel:
    entry.b.return_(zero(I32))
    text = helpers + module_text([*apart, entry.b])
    text = optimized(text, entry.b.name, entry.b.target, [b.name for b in apart])
    return Kernel(entry.b.name, text, nest.extents[0])


def _visit(
    b: FunctionBuilder, begin: Register, end: Register, nest: Nest, element: Callable[[Sequence[Register]], object]
) -> None:
    """Loops over a nest around what happens at a point, given the positions in its tensors."""

    def dimension(d: int, positions: Sequence[Register]) -> None:
        if d == len(nest.extents):
            element(positions)
            return

        def step(index: Register) -> None:
            distances = (b.multiply(index, access.strides[d]) for access in nest.accesses)
            dimension(d + 1, [b.add(p, distance) for p, distance in zip(positions, distances, strict=True)])

        b.each(*((0, nest.extents[d]) if d else (begin, end)), step)

    dimension(0, [b.integer(access.offset) for access in nest.accesses])
