"""What a kernel is: a frozen description of one computation on given shapes, and the code that LLVM makes of it.

Interface, for every family of kernels:

- A kernel is a frozen dataclass derived from :class:`Kernel`. Its fields say everything that the code depends on, so
  equal kernels are generated once, and its ``symbol`` is a digest of them.
- :meth:`Kernel.generate` returns :class:`KernelCode`: LLVM IR that defines a function called ``symbol``,

      void | i32 symbol(ptr argument0, ..., ptr argumentN, ptr scratch, i64 begin, i64 end)

  with one pointer for each name in ``ARGUMENTS`` that the kernel uses (operands, then results). It executes the work
  items ``begin`` to ``end`` of ``units``; any split of [0, units) over calls, also at the same time with different
  scratch, gives the same results. A kernel that can refuse its data (an index out of range) returns i32: 0, or 1 if it
  refused; all others return nothing.
- Arguments are aligned to their elements, no more. Results are written completely, padding lanes of blocked layouts
  as zeros; nothing else is written.
- The code refers to nothing but the C library's mathematics and memory functions.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .llvm_builder import FunctionBuilder
from .llvm_types import I32, I64, PTR, Type
from .target import TargetDescription


@dataclass(frozen=True)
class KernelCode:
    """Code of a kernel.

    Attributes:
        text: LLVM IR with the definition of the kernel's function and its helpers, all others internal.
        declarations: further functions that it calls, symbol to declaration.
        units: work items that the range of a call counts.
        scratch_bytes: memory that one call needs at its own disposal, 64-byte aligned.
        can_fail: whether the function returns i32.
    """

    text: str
    declarations: Mapping[str, str] = field(default_factory=dict)
    units: int = 1
    scratch_bytes: int = 0
    can_fail: bool = False


@dataclass(frozen=True)
class Kernel(ABC):
    """Base of all kernels: a computation on given shapes."""

    @property
    def symbol(self) -> str:
        """Name of the function: the kernel's class and a digest of its fields."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        name = "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__).lstrip("_")
        return f"{name}_{digest}"

    @property
    @abstractmethod
    def arguments(self) -> tuple[str, ...]:
        """Names of the pointers that the function takes before the scratch: operands, then results."""

    @abstractmethod
    def generate(self, target: TargetDescription) -> KernelCode:
        """The code for a target.

        Raises:
            CodegenError: the kernel cannot express this.
        """

    def entry(self, target: TargetDescription, *, writes: Sequence[str], can_fail: bool = False) -> FunctionBuilder:
        """A builder for the kernel's function.

        Args:
            writes: the arguments that it writes, and those that may overlap with them.
        """
        parameters: list[tuple[str, Type]] = [(name, PTR) for name in self.arguments]
        parameters += [("scratch", PTR), ("begin", I64), ("end", I64)]
        read_only = [name for name in self.arguments if name not in writes]
        return FunctionBuilder(
            target, self.symbol, parameters, I32 if can_fail else None, read_only=read_only
        )


def kernel_code(builders: Sequence[FunctionBuilder], units: int, scratch_bytes: int = 0, *, can_fail: bool = False) -> KernelCode:
    """The functions of a kernel, put together."""
    declarations: dict[str, str] = {}
    for builder in builders:
        declarations.update(builder.declarations)
    return KernelCode("\n".join(b.text() for b in builders), declarations, units, scratch_bytes, can_fail)
