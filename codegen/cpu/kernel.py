"""What a kernel is: code for one computation on given shapes; and where lowerings of operators to kernels register.

Every kernel is one function of LLVM IR,

    i32 name(ptr operand0, ..., ptr result0, ..., ptr scratch, i64 begin, i64 end)

with one pointer for each operand that is present, for its own data, if it has any, and for each result. It executes
the work items ``begin`` to ``end`` of ``units``; any split of [0, units) over calls, also at the same time with
different scratch, gives the same results. It returns 0, or another number if it refuses its data (an index out of
range).

Pointers are aligned to their elements, no more. Results are written completely, padding lanes of blocked layouts as
zeros (of bytes as anything); nothing else is written. The code refers to nothing but the C library's mathematics and
memory functions.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from tilewright.immutable import Immutable

from ...ir.core import Op, OperatorT
from ...ir.op import Operator
from .llvm.target import TargetDescription


class Kernel(Immutable):
    """A kernel, ready to be linked into a program.

    Attributes:
        name: symbol of the function; equal names mean equal code, so one of them is enough.
        text: LLVM IR that defines it; further functions in it are helpers of its own.
        units: work items that the range of a call counts.
        scratch_bytes: memory that one call needs at its own disposal, 64-byte aligned.
        common: work items in a row for which a call makes something once that it keeps in this memory.
        calls: kernels that its code runs.
        shares: whether several threads share what it runs of these, by the pool of the program (:mod:`.parallel`).
        data: constants that follow the operands, if any: made of them for this kernel, 64-byte aligned. Its code does
            not depend on them.
    """

    name: str
    text: str
    units: int = 1
    scratch_bytes: int = 0
    common: int = 1
    calls: "tuple[Kernel, ...]" = ()
    shares: bool = False
    data: bytes = b""

    def reading(self, data: bytes) -> "Kernel":
        """The same, with data of its own."""
        return replace(self, data=data)


def kernel_name(stem: str, *spec: object) -> str:
    """A symbol for a kernel: what it computes, and a digest of all that its code depends on.
    ``stem``: name of the family, letters and underscores.
    ``spec``: values with an exact ``repr``: numbers, strings, tuples, operators, tensor types."""
    return f"{stem}_{hashlib.sha256(repr(spec).encode()).hexdigest()[:16]}"


def nothing(tensors: int) -> Kernel:
    """The kernel of so many operands and results that has nothing to do."""
    name = kernel_name("nothing", tensors)
    return Kernel(name, f"define i32 @{name}({'ptr, ' * (tensors + 1)}i64, i64) {{ ret i32 0 }}", units=0)


Lowering = Callable[[Op[OperatorT], TargetDescription], "Kernel | None"]

LOWERINGS: dict[type[Operator], list[Lowering[Any]]] = {}
"""Lowerings by operator class, the preferred one first."""


def lowers(
    *operators: type[OperatorT], needs: Sequence[Callable[[Op[OperatorT]], bool]] = ()
) -> Callable[[Lowering[OperatorT]], Lowering[OperatorT]]:
    """Register a function that makes kernels for these operators, after those registered before.

    The function may return ``None`` for an op that it does not cover (a layout, a dtype, a rank); the next one is
    asked then.
    ``needs``: what holds of each op that the function is asked for; see :mod:`.tensors`."""

    def register(function: Lowering[OperatorT]) -> Lowering[OperatorT]:
        @wraps(function)
        def lowering(op: Op[OperatorT], target: TargetDescription) -> Kernel | None:
            return function(op, target) if all(holds(op) for holds in needs) else None

        for cls in operators:
            LOWERINGS.setdefault(cls, []).append(lowering)
        return lowering

    return register
