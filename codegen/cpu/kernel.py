"""What a kernel is: code for one computation on given shapes.

Every kernel is one function of LLVM IR,

    i32 name(ptr operand0, ..., ptr result0, ..., ptr scratch, i64 begin, i64 end)

with one pointer for each operand that is present and for each result. It executes the work items ``begin`` to ``end``
of ``units``; any split of [0, units) over calls, also at the same time with different scratch, gives the same results.
It returns 0, or another number if it refuses its data (an index out of range).

Pointers are aligned to their elements, no more. Results are written completely, padding lanes of blocked layouts as
zeros (of bytes as anything); nothing else is written. The code refers to nothing but the C library's mathematics and
memory functions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """A kernel, ready to be linked into a program.

    Attributes:
        name: symbol of the function; equal names mean equal code, so one of them is enough.
        text: LLVM IR that defines it; further functions in it are helpers of its own.
        units: work items that the range of a call counts.
        scratch_bytes: memory that one call needs at its own disposal, 64-byte aligned.
    """

    name: str
    text: str
    units: int = 1
    scratch_bytes: int = 0


def kernel_name(stem: str, *spec: object) -> str:
    """A symbol for a kernel: what it computes, and a digest of all that its code depends on.

    Args:
        stem: name of the family, letters and underscores.
        spec: values with an exact ``repr``: numbers, strings, tuples, operators, tensor types.
    """
    return f"{stem}_{hashlib.sha256(repr(spec).encode()).hexdigest()[:16]}"


def nothing(tensors: int) -> Kernel:
    """The kernel of so many operands and results that has nothing to do."""
    name = kernel_name("nothing", tensors)
    return Kernel(name, f"define i32 @{name}({'ptr, ' * (tensors + 1)}i64, i64) {{ ret i32 0 }}", units=0)
