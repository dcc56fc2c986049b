"""Kernels that do one thing at every point of a loop nest: elementwise operators, and copies from place to place.

The outermost loop runs over the work items. Extents and strides are literals of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from numba import types

from ....ir.types import DType
from ..kernel import Kernel, kernel_name
from ..llvm.target import TargetDescription
from ..nest import Nest
from .function import KernelFunction, numba_text, optimized


@dataclass(frozen=True)
class Part:
    """One nest of a kernel.

    Attributes:
        nest: its first extent is that of every part of the kernel.
        tensors: which of the kernel's pointers the nest's tensors are.
        element: LLVM IR of what happens at a point, given the names of the positions and a suffix for its own names.
    """

    nest: Nest
    tensors: tuple[int, ...]
    element: Callable[[Sequence[str], str], list[str]]


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
    body, symbol = numba_text(function, dtypes, (types.int64,) * len(dtypes))

    def element(positions: Sequence[str], suffix: str) -> list[str]:
        arguments = [*(f"ptr %t{i}" for i in range(len(dtypes))), *(f"i64 {p}" for p in positions)]
        return [f"%called{suffix} = call i32 @{symbol}(ptr %result, ptr %error, {', '.join(arguments)})"]

    origin = function.__module__, function.__qualname__, getattr(function, "source", "")
    name = kernel_name(stem, origin, dtypes, nest, target)
    parts = [Part(nest, tuple(range(len(dtypes))), element)]
    return _kernel(name, body + nest_text(name, len(dtypes), parts), nest, target)


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
    bits = f"i{8 * dtype.bytes}"

    def part(source: int, destination: int, nest: Nest) -> Part:
        def element(positions: Sequence[str], suffix: str) -> list[str]:
            return [
                f"%from{suffix} = getelementptr {bits}, ptr %t{source}, i64 {positions[0]}",
                f"%to{suffix} = getelementptr {bits}, ptr %t{destination}, i64 {positions[1]}",
                f"%element{suffix} = load {bits}, ptr %from{suffix}, align {dtype.bytes}",
                f"store {bits} %element{suffix}, ptr %to{suffix}, align {dtype.bytes}",
            ]

        return Part(nest, (source, destination), element)

    name = kernel_name(stem, "copies", dtype.bytes, tensors, copies, target)
    text = nest_text(name, tensors, [part(*copy) for copy in copies])
    return _kernel(name, text, copies[0][2], target)


def _kernel(name: str, text: str, nest: Nest, target: TargetDescription) -> Kernel:
    return Kernel(name, optimized(text, name, target), nest.extents[0], optimized=True)


def nest_text(name: str, tensors: int, parts: Sequence[Part]) -> str:
    """LLVM IR of a kernel function that runs through nests, one after the other."""
    # No result overlaps with an operand, or else it replaces it element by element.
    parameters = [*(f"ptr noalias %t{i}" for i in range(tensors)), "ptr %scratch", "i64 %begin", "i64 %end"]
    lines = [f"define i32 @{name}({', '.join(parameters)}) {{", "%result = alloca i32, align 4"]
    lines += ["%error = alloca ptr, align 8", "br label %start0"]
    for index, part in enumerate(parts):
        lines += [f"start{index}:", *_loops(part, index, f"start{index + 1}")]
    return "\n".join([*lines, f"start{len(parts)}:", "ret i32 0", "}", ""])


def _loops(part: Part, index: int, following: str) -> list[str]:
    """The loops of one part, from its start to the label that follows; names end with the number of the part."""
    lines = [f"br label %head0.{index}"]
    nest = part.nest
    positions = [str(access.offset) for access in nest.accesses]
    last = len(nest.extents) - 1
    for d, extent in enumerate(nest.extents):
        s = f"{d}.{index}"
        first, before, end = ("%begin", f"start{index}", "%end") if d == 0 else ("0", f"body{d - 1}.{index}", extent)
        lines += [
            f"head{s}:",
            f"%i{s} = phi i64 [ {first}, %{before} ], [ %next{s}, %latch{s} ]",
            f"%more{s} = icmp slt i64 %i{s}, {end}",
            f"br i1 %more{s}, label %body{s}, label %{f'latch{d - 1}.{index}' if d else following}",
            f"body{s}:",
        ]
        for t, access in enumerate(nest.accesses):
            lines += [
                f"%d{s}.{t} = mul nsw i64 %i{s}, {access.strides[d]}",
                f"%p{s}.{t} = add nsw i64 {positions[t]}, %d{s}.{t}",
            ]
        positions = [f"%p{s}.{t}" for t in range(len(nest.accesses))]
        if d == last:
            lines += [*part.element(positions, f".{index}"), f"br label %latch{s}"]
        else:
            lines.append(f"br label %head{d + 1}.{index}")
    for d in range(last, -1, -1):
        s = f"{d}.{index}"
        lines += [f"latch{s}:", f"%next{s} = add nsw i64 %i{s}, 1", f"br label %head{s}"]
    return lines
