"""What kernel generators have in common: a specification with shapes and attributes becomes a kernel for a target."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache

from tilewright.immutable import Immutable

from ...ir.types import DType
from .kernel import Kernel, kernel_name
from .llvm.builder import FunctionBuilder
from .llvm.module import module_text
from .llvm.target import TargetDescription
from .llvm.types import I32, I64, PTR, Register, Type, constant, type_of


class ConstantTable(Immutable):
    """Numbers that are part of a kernel, such as the scales of channels."""

    dtype: DType
    numbers: tuple[float, ...]

    def define(self, b: FunctionBuilder, symbol: str) -> Register:
        """The address of the numbers, which become part of the module of ``b``."""
        return b.table(symbol, type_of(self.dtype), self.numbers)


class KernelSpec(Immutable, ABC):
    """Base of all specifications: a computation on given shapes.

    The fields say everything that the code depends on but the target, so that equal kernels get one name."""

    @property
    def name(self) -> str:
        """Symbol of the kernel."""
        stem = "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__).lstrip("_")
        return kernel_name(stem, self)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the tensors that the kernel takes: operands that are present, then results."""
        return ("x", "y")

    @abstractmethod
    def generate(self, target: TargetDescription) -> Kernel:
        """The kernel for a target."""

    def kernel(self, target: TargetDescription) -> Kernel:
        """What :meth:`generate` makes, remembered for some time: networks repeat their layers."""
        # By name as well, because -0 equals 0.
        return _generated(self, self.name, target)

    def entry(self, target: TargetDescription, *, writes: Sequence[str]) -> tuple[FunctionBuilder, dict[str, Register]]:
        """A builder for the kernel's function, and its parameters by name.
        ``writes``: the arguments that it writes, and those that may lie at the same address."""
        parameters: list[tuple[str, Type]] = [(name, PTR) for name in (*self.arguments, "scratch")]
        parameters += [("begin", I64), ("end", I64)]
        read_only = [name for name in self.arguments if name not in writes]
        b = FunctionBuilder(target, self.name, parameters, I32, read_only=read_only)
        return b, self.bind(b)

    def bind(self, b: FunctionBuilder) -> dict[str, Register]:
        """The parameters of :meth:`entry` by name, and what goes with them."""
        return dict(zip((*self.arguments, "scratch", "begin", "end"), b.arguments, strict=True))

    def each_unit(self, b: FunctionBuilder, visit: Callable[[Register], None], *, units: int) -> Kernel:
        """The kernel whose function does nothing but ``visit`` its work items one after the other."""
        begin, end = b.arguments[-2:]
        b.each(begin, end, visit)
        return self.finish(b, units=units)

    def finish(
        self,
        entry: FunctionBuilder,
        helpers: Sequence[FunctionBuilder] = (),
        *,
        units: int,
        scratch_bytes: int = 0,
        common: int = 1,
    ) -> Kernel:
        """End the kernel's function with success, and put the functions together."""
        entry.return_(constant(I32, 0))
        return Kernel(self.name, module_text([*helpers, entry]), units, scratch_bytes, common)


@lru_cache(maxsize=512)
def _generated(spec: KernelSpec, name: str, target: TargetDescription) -> Kernel:
    return spec.generate(target)
