"""Kernels that do one thing at every point of a loop nest: elementwise operators, and copies from place to place.

The outermost loop runs over the work items. Extents and strides are literals of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from numba import types

from ...ir.types import DType
from .kernel import Kernel, kernel_name
from .loops import Nest
from .numba_kernel import KernelFunction, numba_text, optimized
from .target import TargetDescription

Element = Callable[[Sequence[str]], list[str]]
"""LLVM IR of what happens at a point; its argument are the names of the positions in the tensors."""


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

    def element(positions: Sequence[str]) -> list[str]:
        arguments = [*(f"ptr %t{i}" for i in range(len(dtypes))), *(f"i64 {p}" for p in positions)]
        return [f"call i32 @{symbol}(ptr %result, ptr %error, {', '.join(arguments)})"]

    origin = function.__module__, function.__qualname__, getattr(function, "source", "")
    name = kernel_name(stem, origin, dtypes, nest, target)
    return _kernel(name, body + nest_text(name, nest, element), nest, target)


@cache
def copy_kernel(stem: str, dtype: DType, nest: Nest, target: TargetDescription) -> Kernel:
    """A kernel that copies elements of ``dtype`` from the first tensor of the nest to the second."""
    nest = nest.collapsed()
    bits = f"i{8 * dtype.bytes}"

    def element(positions: Sequence[str]) -> list[str]:
        return [
            f"%from = getelementptr {bits}, ptr %t0, i64 {positions[0]}",
            f"%to = getelementptr {bits}, ptr %t1, i64 {positions[1]}",
            f"%element = load {bits}, ptr %from, align {dtype.bytes}",
            f"store {bits} %element, ptr %to, align {dtype.bytes}",
        ]

    name = kernel_name(stem, "copy", dtype.bytes, nest, target)
    return _kernel(name, nest_text(name, nest, element), nest, target)


def _kernel(name: str, text: str, nest: Nest, target: TargetDescription) -> Kernel:
    return Kernel(name, optimized(text, name, target), nest.extents[0], optimized=True)


def nest_text(name: str, nest: Nest, element: Element) -> str:
    """LLVM IR of a kernel function that runs through a nest."""
    tensors = range(len(nest.accesses))
    # No result overlaps with an operand, or else it replaces it element by element.
    parameters = [*(f"ptr noalias %t{i}" for i in tensors), "ptr %scratch", "i64 %begin", "i64 %end"]
    lines = [
        f"define i32 @{name}({', '.join(parameters)}) {{",
        "entry:",
        "%result = alloca i32, align 4",
        "%error = alloca ptr, align 8",
        "br label %head0",
    ]
    positions = [str(access.offset) for access in nest.accesses]
    last = len(nest.extents) - 1
    for d, extent in enumerate(nest.extents):
        first, before, end = ("%begin", "entry", "%end") if d == 0 else ("0", f"body{d - 1}", str(extent))
        lines += [
            f"head{d}:",
            f"%i{d} = phi i64 [ {first}, %{before} ], [ %next{d}, %latch{d} ]",
            f"%more{d} = icmp slt i64 %i{d}, {end}",
            f"br i1 %more{d}, label %body{d}, label %{f'latch{d - 1}' if d else 'done'}",
            f"body{d}:",
        ]
        for t in tensors:
            lines += [
                f"%d{d}.{t} = mul nsw i64 %i{d}, {nest.accesses[t].strides[d]}",
                f"%p{d}.{t} = add nsw i64 {positions[t]}, %d{d}.{t}",
            ]
        positions = [f"%p{d}.{t}" for t in tensors]
        lines += [*element(positions), f"br label %latch{d}"] if d == last else [f"br label %head{d + 1}"]
    for d in range(last, -1, -1):
        lines += [f"latch{d}:", f"%next{d} = add nsw i64 %i{d}, 1", f"br label %head{d}"]
    return "\n".join([*lines, "done:", "ret i32 0", "}", ""])
