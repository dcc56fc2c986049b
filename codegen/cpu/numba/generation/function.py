"""Kernels written as Python functions and compiled by numba when the network is compiled.

For the long tail of operators: what numba makes is LLVM IR like any other kernel's, linked into the same object, and
nothing of numba is needed at run time. A kernel function takes typed pointers, two tables of numbers, work memory and a
range of work items::

    def kernel(x, y, integers, floats, scratch, begin, end):
        for i in range(begin, end):
            y[i] = x[i * integers[0]]
        return 0

Shapes and attributes stand in the tables (i64 and f64), which are constants of each kernel: numba compiles a function
once for each combination of element types, and LLVM specialises the result to the numbers. A function must not allocate
or raise; it returns 0, or 1 to refuse its data. It may call what stands in :mod:`.scalar_functions` and
:mod:`.detection.box_functions`, and name ``np`` and ``math``. numba is imported when the first kernel needs it.
"""

import logging
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from tilewright.errors import CodegenError

from .....ir.core import Op
from .....ir.types import DType
from ...kernel import Kernel, kernel_name
from ...llvm.builder import FunctionBuilder
from ...llvm.module import module_text, optimized
from ...llvm.target import TargetDescription, forks_wait
from ...llvm.types import F64, I32, I64, PTR, Register, Type, zero
from ...tensors import dtypes_of
from ..detection import box_functions
from . import scalar_functions
from .frontend import llvm_text, pipeline

KernelFunction = Callable[..., int]


def compile_kernel(
    op: Op,
    function: KernelFunction | str,
    target: TargetDescription,
    *,
    units: int,
    dtypes: Sequence[DType] | None = None,
    integers: Sequence[int] = (),
    floats: Sequence[float] = (),
    scratch: tuple[DType, int] = (DType.U8, 0),
    fastmath: bool = False,
) -> Kernel:
    """A kernel from a Python function.

    Args:
        op: what it computes, by whose name reports call it.
        function: as described above; of a module, or made by :func:`python_function`, whose text may stand here.
        dtypes: element types of the operands and results, in order; those of the op unless said otherwise.
        integers, floats: the tables.
        scratch: what the work memory holds: an element type, and how many of them.
        fastmath: allow sums to be reordered, so that LLVM can vectorise them.

    Raises:
        CodegenError: numba cannot type the function, or LLVM rejects what numba made (bugs of the function).
    """
    function = python_function(function) if isinstance(function, str) else function
    dtypes = dtypes_of(op) if dtypes is None else tuple(dtypes)
    numbers = tuple(int(i) for i in integers), tuple(float(f) for f in floats)
    name = kernel_name(op.name, origin(function), dtypes, target, *numbers, units, scratch, fastmath)

    def make() -> Kernel:
        text, symbol = numba_text(op.name, function, (*dtypes, DType.I64, DType.F64, scratch[0]), 2, fastmath)
        entry = NumbaEntry(target, name, len(dtypes))
        tables = entry.b.table("integers", I64, numbers[0]), entry.b.table("floats", F64, numbers[1])
        status = entry.call(symbol, [*entry.tensors, *tables, entry.scratch, entry.begin, entry.end])
        entry.b.return_(status)
        whole = optimized(text + module_text([entry.b]), name, target)
        return Kernel(name, whole, units, scratch[0].bytes * scratch[1])

    return remembered(name, make)


_KERNELS: dict[str, Kernel] = {}


def remembered(name: str, make: Callable[[], Kernel]) -> Kernel:
    """The kernel of this name, made once: the name says all that its code depends on."""
    if name not in _KERNELS:
        _KERNELS[name] = make()
    return _KERNELS[name]


@cache
def python_function(source: str) -> KernelFunction:
    """The function ``kernel`` that a generated text defines."""
    scope = dict(_scope())
    exec(source, scope)
    function = scope["kernel"]
    function.source = source
    return function


def nested(loops: Sequence[str], body: Sequence[str]) -> list[str]:
    """Lines of Python: loops inside one another, given by their first lines, around a body."""
    lines = [f"{'    ' * depth}{loop}" for depth, loop in enumerate(loops)]
    return [*lines, *(f"{'    ' * len(loops)}{line}" for line in body)]


def loop_function(tensors: str, head: Sequence[str], loops: Sequence[str], body: Sequence[str]) -> KernelFunction:
    """A kernel that is some statements, then :func:`nested` loops."""
    lines = ("    " + line for line in (*head, *nested(loops, body)))
    return python_function(
        "\n".join([f"def kernel({tensors}, n, f, scratch, begin, end):", *lines, "    return 0", ""])
    )


@cache
def library() -> dict[str, FunctionType]:
    """The functions that kernels may call, by name, as they are written."""
    return {
        name: value
        for module in (scalar_functions, box_functions)
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__
    }


@cache
def _scope() -> dict[str, Any]:
    """What kernels may name: compiled functions, ``np`` and ``math``."""
    import numba

    log = logging.getLogger(numba.__name__)
    if log.level == logging.NOTSET:
        # Programs that log all that others say would read hundreds of lines about each kernel.
        log.setLevel(logging.WARNING)
    # Kernels alone call them: neither Python nor C does.
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled = numba.njit(error_model="numpy", pipeline_class=pipeline(), **options)
    scope: dict[str, Any] = {"np": np, "math": math}
    of_modules: dict[str, dict[str, Any]] = {}
    for name, function in library().items():
        own = of_modules.setdefault(function.__module__, dict(function.__globals__))
        scope[name] = compiled(FunctionType(function.__code__, own, name))
    # Each keeps the constants of its module; what it calls is looked up when numba compiles it.
    for own in of_modules.values():
        own.update(scope)
    return scope


def origin(function: KernelFunction) -> tuple[str, str, str]:
    """What tells the code of kernel functions apart."""
    return function.__module__, function.__qualname__, getattr(function, "source", "")


class NumbaEntry:
    """The function of a kernel that calls what numba made. ``tensors``: its pointers to operands and results."""

    def __init__(self, target: TargetDescription, name: str, tensors: int) -> None:
        pointers = [*(f"t{i}" for i in range(tensors)), "scratch"]
        parameters: list[tuple[str, Type]] = [*((p, PTR) for p in pointers), ("begin", I64), ("end", I64)]
        # No result overlaps with an operand, or else it replaces it element by element.
        self.b = FunctionBuilder(target, name, parameters, I32, exclusive=pointers, chooses_width=True)
        *self.tensors, self.scratch, self.begin, self.end = self.b.arguments
        self._result, self._error = self.b.allocate(I32), self.b.allocate(PTR)
        self.b.store(zero(I32), self._result)

    def call(self, symbol: str, arguments: Sequence[Register]) -> Register:
        """Call a function of :func:`numba_text`; not 0 if it refuses its data."""
        # numba passes results and errors by pointer.
        raised = self.b.call(symbol, I32, [self._result, self._error, *arguments])
        return self.b.binary("or", raised, self.b.load(I32, self._result))


def numba_text(
    stem: str, function: KernelFunction, pointers: tuple[DType, ...], indices: int, fastmath: bool = False
) -> tuple[str, str]:
    """LLVM IR of a function, not optimised, and its symbol.

    Its LLVM parameters are a pointer to an i32 result, a pointer to nothing that matters, then its own: pointers to
    elements of these types, and so many i64. It returns i32, not 0 if it raises.
    ``stem``: what error messages call it.
    Raises CodegenError: numba finds no types for what the function does, or cannot compile it."""
    from numba.core.errors import NumbaError

    try:
        return _compiled(function, pointers, indices, fastmath)
    except (NumbaError, TypeError) as error:
        raise CodegenError(
            f"numba cannot compile the kernel's function {function.__qualname__}",
            stage="cpu code",
            op=stem,
            found=_problem(str(error)),
            hint="This is a fault of Tilewright, not of the model.",
        ) from error


def _problem(message: str) -> str:
    """What numba's message says is wrong and in which line, without the code around it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message).removeprefix(
        "Failed in nopython mode pipeline (step: nopython frontend)"
    )
    where = re.search(r'File "(?:[^"]*/)?([^"]*)", line (\d+)', plain)
    what = textwrap.shorten(re.split('File "|During: ', plain)[0], 300)
    return f"{what} ({where[1]}, line {where[2]})" if where else what


@cache
@forks_wait()
def _compiled(function: KernelFunction, pointers: tuple[DType, ...], indices: int, fastmath: bool) -> tuple[str, str]:
    return llvm_text(function, {**function.__globals__, **_scope()}, pointers, indices, fastmath)
