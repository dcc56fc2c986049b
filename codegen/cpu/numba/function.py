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
or raise; it returns 0, or 1 to refuse its data.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core import config

from tilewright.errors import CodegenError

from ....ir.types import DType
from ..kernel import Kernel, kernel_name
from ..llvm.target import TargetDescription

KernelFunction = Callable[..., int]

_TYPES = {
    DType.F32: types.float32,
    DType.F64: types.float64,
    DType.I8: types.int8,
    DType.I16: types.int16,
    DType.I32: types.int32,
    DType.I64: types.int64,
    DType.U8: types.uint8,
    DType.U16: types.uint16,
    DType.U32: types.uint32,
    DType.U64: types.uint64,
    # As stored: truth values as bytes 0 and 1, half floats as their bits.
    DType.BOOL: types.uint8,
    DType.F16: types.uint16,
}

_RELAXED = ("reassoc", "contract", "nsz")
"""Of the fast-math relaxations those that keep infinities and NaNs right."""


def compile_kernel(
    stem: str,
    function: KernelFunction,
    dtypes: Sequence[DType],
    target: TargetDescription,
    *,
    units: int,
    integers: Sequence[int] = (),
    floats: Sequence[float] = (),
    scratch: tuple[DType, int] = (DType.U8, 0),
    fastmath: bool = False,
) -> Kernel:
    """A kernel from a Python function.

    Args:
        stem: what the function is called in reports; letters and underscores.
        function: as described above; of a module, or made by :func:`python_function`.
        dtypes: element types of the operands and results, in order.
        integers, floats: the tables.
        scratch: what the work memory holds: an element type, and how many of them.
        fastmath: allow sums to be reordered, so that LLVM can vectorise them.

    Raises:
        CodegenError: LLVM rejects what numba made (our own bug).
    """
    numbers = tuple(int(i) for i in integers), tuple(float(f) for f in floats)
    return _kernel(stem, function, tuple(dtypes), target, *numbers, units, scratch, fastmath)


@cache
def python_function(source: str, namespace: tuple[tuple[str, object], ...] = ()) -> KernelFunction:
    """The function ``kernel`` that a generated text defines.

    Args:
        source: Python, written by this package.
        namespace: further names that it may use.
    """
    scope: dict[str, Any] = dict(namespace)
    exec(source, scope)
    function = scope["kernel"]
    function.source = source
    return function


@cache
def _kernel(
    stem: str,
    function: KernelFunction,
    dtypes: tuple[DType, ...],
    target: TargetDescription,
    integers: tuple[int, ...],
    floats: tuple[float, ...],
    units: int,
    scratch: tuple[DType, int],
    fastmath: bool,
) -> Kernel:
    origin = function.__module__, function.__qualname__, getattr(function, "source", "")
    name = kernel_name(stem, origin, dtypes, target, integers, floats, units, scratch, fastmath)
    memory = types.CPointer(types.int64), types.CPointer(types.float64), types.CPointer(_TYPES[scratch[0]])
    body, symbol = numba_text(function, dtypes, (*memory, types.int64, types.int64), fastmath)
    text = body + _wrapper(symbol, name, len(dtypes), integers, floats)
    return Kernel(name, optimized(text, name, target), units, scratch[0].bytes * scratch[1], optimized=True)


@contextmanager
def _unoptimized() -> Iterator[None]:
    # LLVM must meet the body first where the tables are known: loops vectorised for unknown strides stay that way.
    settings: Any = config
    level = settings.OPT
    settings.OPT = type(level)(0)
    try:
        yield
    finally:
        settings.OPT = level


@cache
def numba_text(
    function: KernelFunction, dtypes: tuple[DType, ...], others: tuple[types.Type, ...], fastmath: bool = False
) -> tuple[str, str]:
    """LLVM IR of a function, not optimised, and its symbol.

    Its LLVM parameters are a pointer to an i32 result, a pointer to nothing that matters, then its own: pointers to
    elements of ``dtypes``, and ``others``. It returns i32, not 0 if it raises.
    """
    pointers = [types.CPointer(_TYPES[dtype]) for dtype in dtypes]
    signature = types.int32(*pointers, *others)
    options: dict[str, Any] = {
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "error_model": "numpy",
        "boundscheck": False,
        "fastmath": set(_RELAXED) if fastmath else False,
    }
    with _unoptimized():
        dispatcher = numba.njit(signature, **options)(function)
    compiled = dispatcher.overloads[dispatcher.signatures[0]]
    text = compiled.library.get_llvm_str()
    # numba may pin functions to this machine's features; the target decides for which processor code is made.
    text = re.sub(r'"target-(cpu|features)"="[^"]*"', "", text)
    return text, compiled.fndesc.llvm_func_name


def _table(name: str, kind: str, elements: Sequence[str]) -> str:
    initializer = ", ".join(f"{kind} {element}" for element in elements)
    return f"@{name} = internal constant [{len(elements)} x {kind}] [{initializer}], align 8"


def _wrapper(symbol: str, name: str, tensors: int, integers: tuple[int, ...], floats: tuple[float, ...]) -> str:
    """A function with the kernel signature: numba passes results and errors by pointer."""
    bits = [f"0x{struct.unpack('<Q', struct.pack('<d', f))[0]:016X}" for f in floats]
    pointers = [f"%t{i}" for i in range(tensors)]
    # No result overlaps with an operand, or else it replaces it element by element.
    parameters = ", ".join([*(f"ptr noalias {p}" for p in pointers), "ptr noalias %scratch", "i64 %begin", "i64 %end"])
    plain = ", ".join([*(f"ptr {p}" for p in pointers), "ptr @integers", "ptr @floats", "ptr %scratch"])
    return f"""
{_table("integers", "i64", [str(i) for i in integers])}
{_table("floats", "double", bits)}
define i32 @{name}({parameters}) {{
  %result = alloca i32, align 4
  %error = alloca ptr, align 8
  store i32 0, ptr %result, align 4
  %raised = call i32 @{symbol}(ptr %result, ptr %error, {plain}, i64 %begin, i64 %end)
  %value = load i32, ptr %result, align 4
  %failed = or i32 %raised, %value
  ret i32 %failed
}}
"""


@cache
def _machine(target: TargetDescription) -> llvm.TargetMachine:
    return target.machine()


def optimized(text: str, name: str, target: TargetDescription) -> str:
    """A kernel's text after LLVM's passes, vectorisers included, with nothing visible but the kernel.

    Raises:
        CodegenError: LLVM rejects it (our own bug).
    """
    machine = _machine(target)
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise CodegenError(f"LLVM rejects the text of {name}: {error}") from error
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    for function in module.functions:
        if not function.is_declaration and function.name != name:
            function.linkage = "internal"
            function.add_function_attribute("alwaysinline")
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return str(module)
